"""Frames as Kraken's spot WebSocket v2 server prints them, for markets that are simulated or served again."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias
from zlib import crc32

import msgspec

from engine.ticks import BUY
from recorder.venues.rfc3339 import format_us

Levels: TypeAlias = Sequence[tuple[int, int]]
"""Levels as (price in ticks, size in lots), best first; in an update in any order, 0 lots to remove."""

LevelTexts: TypeAlias = Sequence[tuple[str, str]]
"""Levels as (price, size) in the text that stands in the frame; a size of zero removes."""

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


def text_checksum(asks: LevelTexts, bids: LevelTexts) -> int:
    """Kraken's CRC32 of a book whose numbers are text already: no point, no leading zeros, asks first."""
    best = (*asks[:_CHECKSUM_LEVELS], *bids[:_CHECKSUM_LEVELS])
    return crc32("".join(number.replace(".", "").lstrip("0") for level in best for number in level).encode())


def status(system: str = "online", connection_id: int = 1) -> bytes:
    """The first frame of a connection."""
    data = [{"version": "2.0.10", "system": system, "api_version": "v2", "connection_id": connection_id}]
    return msgspec.json.encode({"channel": "status", "type": "update", "data": data})


def subscribed(channel: str, ts: int, symbol: str | None = None, **params: object) -> bytes:
    """The answer to a subscription; `params` are repeated from the request (depth, event_trigger)."""
    result = {"channel": channel, "snapshot": True, **params, **({} if symbol is None else {"symbol": symbol})}
    return msgspec.json.encode({"method": "subscribe", "result": result, "success": True, **_times(ts)})


def done(method: str, ts: int, result: Mapping[str, object], req_id: int | None) -> bytes:
    """The answer to a request that was granted, for one channel and symbol, with its keys as the venue sorts them."""
    asked = {} if req_id is None else {"req_id": req_id}
    result = dict(sorted(result.items()))
    return msgspec.json.encode({"method": method, **asked, "result": result, "success": True, **_times(ts)})


def refused(error: str, method: str | None, ts: int, req_id: int | None, symbol: str | None = None) -> bytes:
    """The answer to a request that was not: the symbol stands at the top, and there is no result."""
    facts = {"error": error, "method": method, "req_id": req_id, "success": False, "symbol": symbol}
    return msgspec.json.encode({key: fact for key, fact in facts.items() if fact is not None} | _times(ts))


def pong(ts: int, req_id: int | None) -> bytes:
    """The answer to a ping."""
    asked = {} if req_id is None else {"req_id": req_id}
    return msgspec.json.encode({"method": "pong", **asked, **_times(ts)})


def _times(ts: int) -> dict[str, str]:
    return {"time_in": format_us(ts), "time_out": format_us(ts + 40_000)}


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


def text_book(symbol: str, kind: str, bids: LevelTexts, asks: LevelTexts, crc: int, time: str) -> bytes:
    """A book message made of texts; `time` is RFC 3339."""
    bids_text, asks_text = (",".join(f'{{"price":{p},"qty":{q}}}' for p, q in side) for side in (bids, asks))
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":{_quoted(symbol)},"bids":[{bids_text}],'
        f'"asks":[{asks_text}],"checksum":{crc},"timestamp":"{time}"}}]}}'
    ).encode()


def text_quote(symbol: str, bid: tuple[str, str], ask: tuple[str, str], day: Mapping[str, str], time: str) -> bytes:
    """What a ticker message says of one symbol; `day` holds the numbers of the day so far, by their keys."""
    rest = "".join(f'"{key}":{number},' for key, number in day.items())
    return (
        f'{{"symbol":{_quoted(symbol)},"bid":{bid[0]},"bid_qty":{bid[1]},"ask":{ask[0]},"ask_qty":{ask[1]},'
        f'{rest}"timestamp":"{time}"}}'
    ).encode()


def text_trade(symbol: str, side: str, price: str, qty: str, trade_id: int, time: str) -> bytes:
    """What a trade message says of one match."""
    return (
        f'{{"symbol":{_quoted(symbol)},"side":"{side}","price":{price},"qty":{qty},"ord_type":"market",'
        f'"trade_id":{trade_id},"timestamp":"{time}"}}'
    ).encode()


def text_pair(symbol: str, price_decimals: int, qty_decimals: int, rules: Mapping[str, str]) -> bytes:
    """What the instrument channel says of one pair; `rules` holds the steps and minimums that are known."""
    rest = "".join(f',"{key}":{number}' for key, number in rules.items())
    return (
        f'{{"symbol":{_quoted(symbol)},"status":"online","price_precision":{price_decimals},'
        f'"qty_precision":{qty_decimals}{rest}}}'
    ).encode()


def message(channel: str, kind: str, items: Iterable[bytes]) -> bytes:
    """A message about several things, each of them JSON already."""
    return b'{"channel":"%s","type":"%s","data":[%s]}' % (channel.encode(), kind.encode(), b",".join(items))


def pairs_message(kind: str, pairs: Iterable[bytes]) -> bytes:
    """A message of the instrument channel, whose data is an object."""
    body = b",".join(pairs)
    return b'{"channel":"instrument","type":"%s","data":{"assets":[],"pairs":[%s]}}' % (kind.encode(), body)


def _quoted(symbol: str) -> str:
    return msgspec.json.encode(symbol).decode()
