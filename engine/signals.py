"""What a strategy wants, and the shape of a strategy."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

ACTIONS = frozenset({"buy", "sell", "short", "cover", "close", "cancel", "replace"})
ORDER_TYPES = frozenset({"market", "limit", "stop", "stop_limit", "take_profit", "trailing_stop"})
TIMES_IN_FORCE = frozenset({"gtc", "ioc", "fok", "gtd"})
SIZES_IN = frozenset({"quote", "base"})


class Signal(msgspec.Struct, frozen=True):
    """A strategy's wish; the desk makes an order of it, or says why not.

    action:         buy (opens or adds long), sell (reduces or closes long, never short), short (opens or
                    adds short), cover (reduces or closes short), close (whatever is open), cancel (one
                    order, or all that rest in the symbol), replace (one order by another of these terms).
    symbol:         canonical BASE/QUOTE.
    size:           in quote currency, or in base units with size_in="base". Not needed to close, to cancel,
                    or to replace, where 0 means what is left of the old order.
    price:          a reference for the log; it prices nothing.
    order_type:     market; limit (at `limit_price` or better); stop (a market order once the price has
                    gone against it to `stop_price`); stop_limit (a limit order then); take_profit (a market
                    order once the price has come in its favor to `stop_price`); trailing_stop (a stop that
                    follows the best price at a distance of `trail_bps` basis points).
    limit_price, stop_price:  quote currency per base unit.
    stop_loss, take_profit:  prices at which the position is closed; they replace those of earlier signals,
                    and one of them cancels the other.
    metadata:       JSON-able; kept with the signal and handed back with its fills.
    time_in_force:  gtc rests until filled or canceled; gtd until `expires_at` (ns of tape time); ioc trades
                    on arrival what it can and nothing later; fok all of it on arrival or nothing.
    post_only:      reject the order if it would take liquidity on arrival.
    reduce_only:    never opens or turns a position: buy then means cover, short means sell.
    order_id:       the order to cancel or to replace, as `portfolio.open_orders` shows it.
    """

    action: str
    symbol: str
    size: float = 0.0
    price: float | None = None
    reason: str = ""
    order_type: str = "market"
    limit_price: float | None = None
    stop_price: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    metadata: Mapping[str, Any] | None = None
    size_in: str = "quote"
    time_in_force: str = "gtc"
    post_only: bool = False
    reduce_only: bool = False
    trail_bps: float | None = None
    expires_at: int | None = None
    order_id: str | None = None


_PLAIN = msgspec.structs.astuple(Signal("", ""))[5:]


def is_plain(signal: Signal) -> bool:
    """Whether it is for a market order and no more, sized in quote currency: what most signals are.

    Asked for speed: what is plain needs none of the questions about the rest.
    """
    return signal.price is None and msgspec.structs.astuple(signal)[5:] == _PLAIN


class Trigger(msgspec.Struct, frozen=True):
    """When a strategy is asked.

    kind:         tick, trade, quote, book: on such a tick of a symbol it watches (a book, once its message
                  is complete); candle: when an interval ends; every: each interval of tape time.
    interval_ns:  of candle and every; else 0.
    """

    kind: str
    interval_ns: int = 0

    @property
    def is_timed(self) -> bool:
        """Whether time rather than a tick of its own kind fires it."""
        return self.interval_ns > 0


_UNITS_NS = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}


def interval_ns(text: str) -> int:
    """Nanoseconds of "500ms", "30s", "1m", "4h" or "1d". Raises ValueError for anything else."""
    for unit in ("ms", "s", "m", "h", "d"):
        digits = text.removesuffix(unit)
        if digits != text and digits.isascii() and digits.isdigit() and int(digits) > 0:
            return int(digits) * _UNITS_NS[unit]
    raise ValueError(f"expected an interval such as 500ms, 30s, 1m, 4h or 1d, found {text!r}")


def trigger_of(text: str) -> Trigger:
    """The trigger that a strategy's TRIGGER names. Raises ValueError where it names none."""
    if text in ("tick", "trade", "quote", "book"):
        return Trigger(text)
    kind, _, interval = text.partition(":")
    if kind in ("candle", "every") and interval:
        return Trigger(kind, interval_ns(interval))
    raise ValueError(f"expected tick, trade, quote, book, candle:INTERVAL or every:INTERVAL, found {text!r}")


def spelled(trigger: Trigger) -> str:
    """The text that `trigger_of` makes this trigger of, in the largest unit that needs no fraction."""
    if not trigger.is_timed:
        return trigger.kind
    unit = [unit for unit, ns in _UNITS_NS.items() if trigger.interval_ns % ns == 0][-1]
    return f"{trigger.kind}:{trigger.interval_ns // _UNITS_NS[unit]}{unit}"


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy as the loader found it: plain functions and their settings, without any state.

    symbols:          those it watches, or None for every symbol on the feed.
    generate_signal:  called by the parameter names in `wants`, a choice of data, config, state, portfolio.
    path:             the file its code objects name, to tell its lines from ours in a traceback.
    first_line:       where `generate_signal` begins in it.
    """

    name: str
    version: str
    symbols: tuple[str, ...] | None
    config: Mapping[str, Any]
    trigger: Trigger
    generate_signal: Callable[..., Any]
    wants: tuple[str, ...] = ("data", "config", "state")
    on_start: Callable[..., Any] | None = None
    on_fill: Callable[..., Any] | None = None
    on_stop: Callable[..., Any] | None = None
    path: str = ""
    first_line: int = 0
