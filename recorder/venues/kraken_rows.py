"""Rows of a tape as the Kraken decoder makes them: about a symbol with its touch, or about the feed."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from engine.ticks import LAST_OF_MESSAGE, NAN, NO_SIDE, SNAPSHOT, FeedNote, Kind, Tick
from recorder.venues.kraken_book import Level
from recorder.venues.kraken_wire import Pair, decimal_text

Touch: TypeAlias = tuple[float, float, float, float]
"""Best bid, its size, best ask, its size; NaN where unknown."""

UNKNOWN_TOUCH: Touch = (NAN, NAN, NAN, NAN)

# Plain names: reading a member of an enum costs as much as making a row's number.
OTHER, TRADE, QUOTE, BOOK, FEED = (int(kind) for kind in (Kind.OTHER, Kind.TRADE, Kind.QUOTE, Kind.BOOK, Kind.FEED))


class KrakenNote(FeedNote, kw_only=True, omit_defaults=True):
    """A feed row's note with what Kraken adds to it.

    method, channel, depth, warnings, error:  of a request, and of the answer to it.
    status, system:       of a pair, of the matching engine.
    expected, computed:   the venue's checksum, and that of our book.
    missed:               number of trades between the last id seen and this one.
    """

    method: str | None = None
    channel: str | None = None
    depth: int | None = None
    warnings: list[str] | None = None
    error: str | None = None
    status: str | None = None
    system: str | None = None
    expected: int | None = None
    computed: int | None = None
    missed: int | None = None


def level_rows(
    symbol: str,
    levels: Sequence[Level],
    touch: Touch,
    ts_event: int | None,
    is_snapshot: bool,
) -> list[Tick]:
    """A row for each level, with the touch from before the message.

    A snapshot of an empty book is one row without side and price: it clears, and sets nothing.
    """
    bid, bid_size, ask, ask_size = touch
    flags = SNAPSHOT if is_snapshot else 0
    if is_snapshot and not levels:
        levels = [Level(NO_SIDE, NAN, 0.0, b"")]
    return [
        Tick(
            kind=BOOK,
            symbol=symbol,
            side=level.side,
            price=level.price,
            size=level.size,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            ts_event=ts_event,
            flags=flags,
        )
        for level in levels
    ]


def about(
    kind: int,
    symbol: str | None,
    touch: Touch,
    ts_event: int | None = None,
    *,
    trade_id: str | None = None,
    note: str | None = None,
) -> Tick:
    """A row about `symbol`, with its touch as it is known now."""
    bid, bid_size, ask, ask_size = touch
    return Tick(
        kind=kind,
        symbol=symbol,
        bid=bid,
        bid_size=bid_size,
        ask=ask,
        ask_size=ask_size,
        ts_event=ts_event,
        trade_id=trade_id,
        note=note,
    )


def feed(
    note: KrakenNote, symbol: str | None = None, touch: Touch = UNKNOWN_TOUCH, ts_event: int | None = None
) -> Tick:
    """A row about something that the feed did."""
    return about(FEED, symbol, touch, ts_event, note=msgspec.json.encode(note).decode())


def instrument_note(pair: Pair) -> KrakenNote:
    """Steps and minimums of a pair, as fixed-point text."""
    return KrakenNote(
        event="instrument",
        status=pair.status,
        tick_size=decimal_text(pair.price_increment),
        lot_size=decimal_text(pair.qty_increment),
        min_quantity=decimal_text(pair.qty_min),
        min_notional=decimal_text(pair.cost_min),
    )


def one_message(rows: list[Tick]) -> list[Tick]:
    """Flags only the last of `rows` as the last of its message."""
    if len(rows) > 1:
        for row in rows[:-1]:
            row.flags &= ~LAST_OF_MESSAGE
    return rows
