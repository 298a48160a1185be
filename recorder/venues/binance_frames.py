"""Frames as Binance's spot server prints them, for markets that are served again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from engine.ticks import FeedNote

LevelTexts: TypeAlias = Sequence[tuple[str, str]]
"""Levels as (price, size) in the text that stands in the frame; a size of zero removes."""


def combined(stream: str, data: bytes) -> bytes:
    """A message as a combined stream wraps it."""
    return b'{"stream":%s,"data":%s}' % (msgspec.json.encode(stream), data)


def trade(name: str, trade_id: int, price: str, size: str, time_ms: int, *, is_buyer_maker: bool) -> bytes:
    """One match."""
    return (
        f'{{"e":"trade","E":{time_ms},"s":"{name}","t":{trade_id},"p":"{price}","q":"{size}","T":{time_ms},'
        f'"m":{_truth(is_buyer_maker)},"M":true}}'
    ).encode()


def aggregate_trade(name: str, trade_id: int, price: str, size: str, time_ms: int, *, is_buyer_maker: bool) -> bytes:
    """A match that is an aggregate of itself alone, under its own id."""
    return (
        f'{{"e":"aggTrade","E":{time_ms},"s":"{name}","a":{trade_id},"p":"{price}","q":"{size}","f":{trade_id},'
        f'"l":{trade_id},"T":{time_ms},"m":{_truth(is_buyer_maker)},"M":true}}'
    ).encode()


def quote(name: str, update: int, bid: tuple[str, str], ask: tuple[str, str]) -> bytes:
    """A bookTicker: the best bid and ask, each with its size."""
    return (f'{{"u":{update},"s":"{name}","b":"{bid[0]}","B":"{bid[1]}","a":"{ask[0]}","A":"{ask[1]}"}}').encode()


def diff(name: str, first: int, last: int, bids: LevelTexts, asks: LevelTexts, time_ms: int) -> bytes:
    """The levels that changed from update `first` to `last`, both included."""
    return (
        f'{{"e":"depthUpdate","E":{time_ms},"s":"{name}","U":{first},"u":{last},'
        f'"b":{_levels(bids)},"a":{_levels(asks)}}}'
    ).encode()


def depth(last: int, bids: LevelTexts, asks: LevelTexts) -> bytes:
    """The REST answer: the book after update `last`."""
    return f'{{"lastUpdateId":{last},"bids":{_levels(bids)},"asks":{_levels(asks)}}}'.encode()


def exchange_info(symbols: Mapping[str, str], rules: Mapping[str, FeedNote]) -> bytes:
    """The REST answer about symbols (the venue's spelling to the canonical one), with the rules that are known."""
    listed = []
    for name, symbol in symbols.items():
        base, _, quoted = symbol.partition("/")
        filters = _filters(rules[name]) if name in rules else []
        listed.append(
            {"symbol": name, "status": "TRADING", "baseAsset": base, "quoteAsset": quoted, "filters": filters}
        )
    return msgspec.json.encode({"timezone": "UTC", "symbols": listed})


def _filters(rules: FeedNote) -> list[dict[str, str]]:
    facts = {
        "PRICE_FILTER": {"tickSize": rules.tick_size},
        "LOT_SIZE": {"minQty": rules.min_quantity, "stepSize": rules.lot_size},
        "NOTIONAL": {"minNotional": rules.min_notional},
    }
    known = {kind: {key: text for key, text in parts.items() if text is not None} for kind, parts in facts.items()}
    return [{"filterType": kind, **parts} for kind, parts in known.items() if parts]


def result(value: bool | list[str] | None, request: int | str | None) -> bytes:
    """The answer to a request that was granted."""
    return msgspec.json.encode({"result": value, "id": request})


def refused(code: int, message: str, request: int | str | None = None) -> bytes:
    """The answer to a request that was not; on the REST side without an id."""
    asked = {} if request is None else {"id": request}
    return msgspec.json.encode({"code": code, "msg": message, **asked})


def _levels(levels: Iterable[tuple[str, str]]) -> str:
    return "[" + ",".join(f'["{price}","{size}"]' for price, size in levels) + "]"


def _truth(claim: bool) -> str:
    return "true" if claim else "false"
