"""Frames as Kraken's spot WebSocket v2 server prints them, for markets that are simulated or served again."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeAlias
from zlib import crc32

import msgspec

from engine.ticks import BUY
from recorder.venues.rfc3339 import format_us

Levels: TypeAlias = Sequence[tuple[int, int]]
"""Levels as (price in ticks, size in lots), best first; in an update in any order, 0 lots to remove."""

_CHECKSUM_LEVELS = 10


class PairRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a pair is printed, and what may be ordered of it.

    price_decimals, qty_decimals:  a tick and a lot are one unit of the last digit.
    qty_min:   smallest order, in lots.
    cost_min:  smallest order in quote currency.
    """

    symbol: str
    price_decimals: int
    qty_decimals: int
    qty_min: int
    cost_min: Decimal

    def price(self, ticks: int) -> str:
        """Fixed-point text of a price."""
        return fixed(ticks, self.price_decimals)

    def qty(self, lots: int) -> str:
        """Fixed-point text of a size."""
        return fixed(lots, self.qty_decimals)

    @property
    def name(self) -> str:
        """The symbol as a JSON string."""
        return msgspec.json.encode(self.symbol).decode()


class Deal(msgspec.Struct, frozen=True, gc=False):
    """One match: the taker's side, price in ticks, size in lots, and the venue's time in ns UTC."""

    trade_id: int
    side: int
    price: int
    qty: int
    ts: int


class Day(msgspec.Struct, frozen=True, gc=False):
    """What a ticker adds to the touch: the day so far, in ticks and lots."""

    open: int
    last: int
    low: int
    high: int
    volume: int
    turnover: int


def fixed(units: int, decimals: int) -> str:
    """`units` of the last of `decimals` digits as fixed-point text: `fixed(1050, 2)` is `10.50`."""
    if decimals == 0:
        return str(units)
    sign, digits = "-" if units < 0 else "", str(abs(units)).zfill(decimals + 1)
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def checksum(asks: Levels, bids: Levels) -> int:
    """Kraken's CRC32 of a book. Its rule (drop the point and leading zeros) leaves the bare ticks and lots."""
    best = (*asks[:_CHECKSUM_LEVELS], *bids[:_CHECKSUM_LEVELS])
    return crc32("".join(f"{price}{qty or ''}" for price, qty in best).encode())


def status(system: str = "online", connection_id: int = 1) -> bytes:
    """The first frame of a connection."""
    data = [{"version": "2.0.10", "system": system, "api_version": "v2", "connection_id": connection_id}]
    return msgspec.json.encode({"channel": "status", "type": "update", "data": data})


def subscribed(channel: str, ts: int, symbol: str | None = None, **params: object) -> bytes:
    """The answer to a subscription; `params` are repeated from the request (depth, event_trigger)."""
    result = {"channel": channel, "snapshot": True, **params, **({} if symbol is None else {"symbol": symbol})}
    times = {"time_in": format_us(ts), "time_out": format_us(ts + 40_000)}
    return msgspec.json.encode({"method": "subscribe", "result": result, "success": True, **times})


def heartbeat() -> bytes:
    """Sent about once a second after the first subscription."""
    return b'{"channel":"heartbeat"}'


def instruments(pairs: Iterable[PairRules]) -> bytes:
    """The snapshot of the instrument channel, with these pairs only."""
    return f'{{"channel":"instrument","type":"snapshot","data":{{"assets":[],"pairs":[{_joined(pairs)}]}}}}'.encode()


def _joined(pairs: Iterable[PairRules]) -> str:
    return ",".join(
        f'{{"symbol":{pair.name},"status":"online",'
        f'"price_precision":{pair.price_decimals},"qty_precision":{pair.qty_decimals},'
        f'"price_increment":{pair.price(1)},"qty_increment":{pair.qty(1)},'
        f'"qty_min":{pair.qty(pair.qty_min)},"cost_min":{pair.cost_min:f}}}'
        for pair in pairs
    )


def book(pair: PairRules, kind: str, bids: Levels, asks: Levels, crc: int, ts: int) -> bytes:
    """A book message: `kind` is snapshot or update, `crc` the checksum of the book after it."""
    sides = (",".join(f'{{"price":{pair.price(p)},"qty":{pair.qty(q)}}}' for p, q in side) for side in (bids, asks))
    bids_text, asks_text = sides
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":{pair.name},"bids":[{bids_text}],"asks":[{asks_text}],'
        f'"checksum":{crc},"timestamp":"{format_us(ts)}"}}]}}'
    ).encode()


def ticker(pair: PairRules, kind: str, bid: tuple[int, int], ask: tuple[int, int], day: Day, ts: int) -> bytes:
    """The touch, each side as (ticks, lots), and the day so far."""
    vwap = day.turnover // day.volume if day.volume else day.last
    change_bps = (day.last - day.open) * 10_000 // day.open
    return (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":{pair.name},'
        f'"bid":{pair.price(bid[0])},"bid_qty":{pair.qty(bid[1])},"ask":{pair.price(ask[0])},"ask_qty":{pair.qty(ask[1])},'
        f'"last":{pair.price(day.last)},"volume":{pair.qty(day.volume)},"vwap":{pair.price(vwap)},'
        f'"low":{pair.price(day.low)},"high":{pair.price(day.high)},"change":{pair.price(day.last - day.open)},'
        f'"change_pct":{fixed(change_bps, 2)},"timestamp":"{format_us(ts)}"}}]}}'
    ).encode()


def trades(pair: PairRules, kind: str, deals: Iterable[Deal]) -> bytes:
    """The matches of one moment, or with `kind` snapshot the last ones before subscribing, oldest first."""
    facts = ",".join(
        f'{{"symbol":{pair.name},"side":"{"buy" if deal.side == BUY else "sell"}","price":{pair.price(deal.price)},'
        f'"qty":{pair.qty(deal.qty)},"ord_type":"market","trade_id":{deal.trade_id},"timestamp":"{format_us(deal.ts)}"}}'
        for deal in deals
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{facts}]}}'.encode()
