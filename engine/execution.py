"""Costs, delays and instrument rules: what stands between an order and its fill."""

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b

import msgspec

from engine.money import DEFAULT_LOT, ONE, ZERO, money

ORDER_LATENCY_NS = 50_000_000
"""50 ms from decision to matching engine: a home connection to a venue on another continent."""


MAINTENANCE_RATIO = Decimal("0.300000000000")
"""What a short account must keep of the shorts' market value: FINRA rule 4210(c)(3), 30 %, read in 2026."""
FILL_MODELS = ("depth", "touch")
QUEUE_MODELS = ("conservative", "proportional", "power", "log", "none")
STOP_TRIGGERS = ("last", "touch", "mid")
JITTERS = ("uniform", "exponential")
FEES_IN = ("quote", "received")


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """What the venue accepts for a symbol, from the tape's instrument rows.

    tick_size:     smallest step of price, or None where unknown.
    lot_size:      smallest step of quantity, base units.
    min_quantity:  smallest order in base units.
    min_notional:  smallest order in quote currency.
    """

    tick_size: Decimal | None = None
    lot_size: Decimal = DEFAULT_LOT
    min_quantity: Decimal = ZERO
    min_notional: Decimal = ZERO


class ExecutionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What trading costs, how long it takes, and how an order meets the market.

    maker_bps, taker_bps:  fee in basis points of notional, for orders that rested and that crossed; negative
                           where the venue pays a rebate.
    fee_in:                quote: every fee is paid in quote currency; received: that of a buy is kept back from the
                           base units received. Covering a short pays it in quote currency either way: what was
                           borrowed is given back whole.
    slippage_bps:          moves a taker's price against it, beyond the levels it takes.
    latency_ns:            from the decision to the order's arrival at the venue.
    cancel_latency_ns:     the same for a cancel; None for as long as an order's.
    jitter_ns, jitter:     added to either by chance: up to `jitter_ns` where uniform, `jitter_ns` on average where
                           exponential. Drawn from `jitter_seed` and the order's id, so that it is the same in
                           every replay, whoever else trades.
    fill_model:            depth walks the visible levels, and is touch where no book is known; touch trades the
                           whole order at the best price.
    queue_model:           who leaves a level that shrinks without a trade: those behind us (conservative), everybody
                           alike (proportional), by a probability (power with `queue_power`, log); none: nobody is
                           ahead of us.
    stop_trigger:          the price that reaches a stop: the last trade's, the touch it would trade at, or the mid.
    max_short_leverage:    shorts may be worth this many times the equity when they are opened.
    maintenance_ratio:     shorts are bought back when the equity falls below this part of their value.
    instruments:           rules by symbol, in place of those that the tape states.
    """

    maker_bps: Decimal = ZERO
    taker_bps: Decimal = ZERO
    fee_in: str = "quote"
    slippage_bps: Decimal = ZERO
    latency_ns: int = ORDER_LATENCY_NS
    cancel_latency_ns: int | None = None
    jitter_ns: int = 0
    jitter: str = "uniform"
    jitter_seed: int = 0
    fill_model: str = "depth"
    queue_model: str = "conservative"
    queue_power: float = 3.0
    stop_trigger: str = "last"
    max_short_leverage: Decimal = ONE
    maintenance_ratio: Decimal = MAINTENANCE_RATIO
    instruments: Mapping[str, Instrument] = {}


def latency_ns(config: ExecutionConfig, request: str, *, is_cancel: bool = False) -> int:
    """How long the request of this name is under way: nanoseconds, whole microseconds of them by chance."""
    base = config.latency_ns
    if is_cancel and config.cancel_latency_ns is not None:
        base = config.cancel_latency_ns
    if not config.jitter_ns:
        return base
    key = f"{config.jitter_seed} {request}".encode()
    draw = (int.from_bytes(blake2b(key, digest_size=8).digest(), "big") + 1) / 2**64  # in (0, 1]
    part = draw if config.jitter == "uniform" else -math.log(draw)
    return base + int(part * config.jitter_ns) // 1_000 * 1_000


def cash_fee_bps(config: ExecutionConfig) -> Decimal:
    """The highest fee that a buy pays in quote currency, on top of its notional."""
    return ZERO if config.fee_in == "received" else max(config.taker_bps, config.maker_bps, ZERO)


UNKNOWN_INSTRUMENT = Instrument()


def instrument_of(
    tick_size: str | None, lot_size: str | None, min_quantity: str | None, min_notional: str | None
) -> Instrument:
    """The rules an instrument row states; what is missing or not above zero falls back to no rule."""
    tick, lot, quantity, notional = (_positive(text) for text in (tick_size, lot_size, min_quantity, min_notional))
    return Instrument(
        tick_size=tick,
        lot_size=lot or DEFAULT_LOT,
        min_quantity=quantity or ZERO,
        min_notional=notional or ZERO,
    )


def _positive(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = money(text)
    except ValueError:
        return None
    return amount if amount > ZERO else None


@lru_cache(maxsize=4_096)
def assets(symbol: str) -> tuple[str, str]:
    """Base and quote of `BASE/QUOTE`; a symbol without a slash is its own base, with an unnamed quote."""
    base, _, quote = symbol.partition("/")
    return base, quote
