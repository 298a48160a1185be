"""Costs, delays and instrument rules: what stands between an order and its fill."""

from decimal import Decimal
from functools import lru_cache

import msgspec

from engine.money import DEFAULT_LOT, ZERO, money

ORDER_LATENCY_NS = 50_000_000
"""50 ms from decision to matching engine: a home connection to a venue on another continent."""


class ExecutionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What trading costs and how long it takes.

    maker_bps, taker_bps:  fee in basis points of notional, for orders that rested and that crossed.
    slippage_bps:          moves a market order's price against it, beyond the touch.
    latency_ns:            from the decision to the order's (or the cancel's) arrival at the venue.
    """

    maker_bps: Decimal = ZERO
    taker_bps: Decimal = ZERO
    slippage_bps: Decimal = ZERO
    latency_ns: int = ORDER_LATENCY_NS


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
