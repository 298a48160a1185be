"""A snapshot is a moment: it cannot be changed, and asked later it refuses instead of showing the future."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.market import LookAhead
from engine.snapshot import Snapshot
from tests.builders import (
    BTC,
    ETH,
    MINUTE,
    Bench,
    a_desk,
    a_strategy,
    book_snapshot,
    buy,
    clock,
    desk_of,
    lines,
    quote,
    replay,
    tape_of,
    trade,
    trades,
)


def keeping(**rest: Any) -> tuple[Bench, list[Snapshot]]:
    """A desk whose strategy keeps what it is shown."""
    kept: list[Snapshot] = []
    return a_desk(lambda data, config, state: kept.append(data), **rest), kept


METHODS: dict[str, Callable[[Any], Any]] = {
    "quote": lambda data: data.quote(),
    "book": lambda data: data.book(),
    "recent_trades": lambda data: data.recent_trades(),
    "candles": lambda data: data.candles(),
    "vwap": lambda data: data.vwap(),
    "stale": lambda data: data.stale,
    "prices": lambda data: dict(data.prices),
    "orderbooks": lambda data: data.orderbooks[BTC],
    "trades": lambda data: list(data.trades),
    "candles_1m": lambda data: len(data.candles_1m),
    "candles_5m": lambda data: data.candles_5m.get(BTC),
    "spreads": lambda data: data.spreads,
    "mids": lambda data: data.mids,
    "get_vwap": lambda data: data.get_vwap(BTC),
    "get_trade_imbalance": lambda data: data.get_trade_imbalance(BTC),
}


@pytest.mark.parametrize("ask", METHODS.values(), ids=METHODS)
def test_what_is_asked_after_its_moment_raises(ask: Callable[[Any], Any]) -> None:
    desk, kept = keeping()
    desk.on(quote(0, "99", "101"), quote(1, "199", "201"))

    with pytest.raises(LookAhead):
        ask(kept[0])


@pytest.mark.parametrize("ask", METHODS.values(), ids=METHODS)
def test_what_is_asked_after_its_moment_raises_within_one_batch_too(ask: Callable[[Any], Any]) -> None:
    def decide(data: Any, config: Any, state: Any) -> None:
        if "kept" in state:
            with pytest.raises(LookAhead):
                ask(state["kept"])
            state["is_checked"] = True
        state["kept"] = data

    desk = desk_of(a_strategy(decide))
    replay([desk], tape_of(quote(0, "99", "101"), quote(1, "199", "201")))

    assert desk.state["is_checked"]


@pytest.mark.parametrize("name", ["prices", "orderbooks", "trades", "candles_1m", "candles_5m"])
def test_a_mapping_kept_from_before_raises_instead_of_looking_ahead(name: str) -> None:
    kept: list[Any] = []

    def decide(data: Any, config: Any, state: Any) -> None:
        mapping = getattr(data, name)
        kept.append((mapping, iter(mapping)))

    a_desk(decide).on(trade(0, "100"), quote(5 * MINUTE, "99", "101"), quote(5 * MINUTE + 1, "199", "201"))
    mapping, iterator = kept[1]

    for late in (lambda: mapping.get(BTC), lambda: len(mapping), lambda: list(mapping), lambda: next(iterator)):
        with pytest.raises(LookAhead):
            late()


def test_the_tick_in_hand_stays_true_for_good() -> None:
    desk, kept = keeping()
    desk.on(trade(5, "100", size=2, side=-1), quote(6, "1", "2"))
    data = kept[0]

    assert (data.ts, data.symbol, data.kind, data.price, data.size, data.side) == (5, BTC, "trade", 100.0, 2.0, -1)


def test_the_properties_of_a_quote_stay_true_for_good() -> None:
    desk, kept = keeping()
    desk.on(quote(5, "99", "101"), quote(6, "1", "2"))

    assert (kept[0].bid, kept[0].ask, kept[0].mid, kept[0].spread) == (99.0, 101.0, 100.0, 2.0)


def test_a_snapshot_cannot_be_changed() -> None:
    desk, kept = keeping()
    desk.on(trade(0, "100"), quote(1, "99", "101"))

    for data in kept:
        for name in ("ts", "price", "bid", "stale", "other"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(data, name, 1)
            with pytest.raises((AttributeError, TypeError)):
                object.__setattr__(data, name, 1)


# -- what on_fill may see ---------------------------------------------------------------------------------------------


def nosy(ask: Callable[[Any], Any], wants: tuple[str, ...]) -> Any:
    """A desk that asks what it kept while it is told of a fill, and puts the answer into its next signal."""

    def decide(**given: Any) -> Any:
        state = given["state"]
        if "kept" not in state:
            state["kept"] = given[wants[0]]
            return buy("10 USD", symbol=BTC)
        if "answer" not in state:
            return None
        return buy("10 USD", symbol=BTC, metadata={"answer": state.pop("answer")})

    def on_fill(fill: Any, state: Any) -> None:
        try:
            state["answer"] = ask(state["kept"])
        except LookAhead:
            state["answer"] = "late"

    def called(*arguments: Any) -> Any:
        return decide(**dict(zip(wants, arguments, strict=True)))

    strategy = a_strategy(called, wants=wants, trigger="trade", symbols=[BTC], on_fill=on_fill, name="nosy")
    return desk_of(strategy, latency_ns=25)


NOISE = tape_of(
    quote(0, "99", "101"),
    trade(1, "100"),
    quote(10, "109", "111"),
    quote(20, "119", "121"),
    quote(30, "129", "131"),
    trade(40, "130"),
    trade(80, "130"),
)


@pytest.mark.parametrize("what", ["data", "portfolio"])
def test_what_on_fill_sees_of_the_market_is_the_same_with_and_without_shortcuts(what: str) -> None:
    def ask(kept: Any) -> Any:
        return kept.quote().bid if what == "data" else kept.equity

    def run(walk_every_row: bool, cuts: range) -> list[str]:
        return lines(replay([nosy(ask, (what, "state"))], NOISE, cuts, walk_every_row=walk_every_row))

    assert run(False, range(0)) == run(True, range(0)) == run(False, range(7)) == run(True, range(7))


# -- the predecessor's view -------------------------------------------------------------------------------------------


def test_the_predecessors_view_has_its_words() -> None:
    desk, kept = keeping()
    seen: list[Any] = []
    desk = a_desk(lambda data, config, state: seen.append(view_of(data)))

    desk.on(
        trade(0, "10", ETH, side=-1),
        trade(MINUTE, "100"),
        trade(2 * MINUTE, "104", size=3),
        book_snapshot(2 * MINUTE + 1, [("99", 1), ("98", 3)], [("101", 2)]),
    )

    assert kept == []
    assert seen[-1] == {
        "timestamp": datetime(1970, 1, 1, 0, 2, tzinfo=UTC),
        "prices": {BTC: 104.0, ETH: 10.0},
        "sides": {BTC: ["buy", "buy"], ETH: ["sell"]},
        "value": 312.0,
        "closes": {BTC: [100.0], ETH: [10.0, 10.0]},
        "book": [99.0, 101.0, 2.0, 2.0, 100.0, 4.0, 2.0, 1 / 3],
        "mids": {BTC: 100.0},
        "vwap": 103.0,
        "no_vwap": None,
        "imbalance": (1.0, -1.0),
    }


BOOK_WORDS = ("best_bid", "best_ask", "spread", "spread_pct", "mid", "bid_depth", "ask_depth", "imbalance")


def view_of(data: Any) -> dict[str, Any]:
    book = data.orderbooks.get(BTC)
    return {
        "timestamp": data.timestamp,
        "prices": dict(data.prices),
        "sides": {symbol: [one.side for one in data.trades[symbol]] for symbol in data.trades},
        "value": data.trades[BTC][-1].value if BTC in data.trades else 0,
        "closes": {symbol: [bar.close for bar in bars] for symbol, bars in data.candles_1m.items()},
        "book": book and [getattr(book, name) for name in BOOK_WORDS],
        "mids": data.mids,
        "vwap": data.get_vwap(BTC),
        "no_vwap": data.get_vwap("DOGE/USD"),
        "imbalance": (data.get_trade_imbalance(BTC), data.get_trade_imbalance(ETH)),
    }


def test_each_trade_of_a_message_is_a_moment_of_its_own() -> None:
    desk, kept = keeping()
    desk.on(trades(0, "1", "2", "3"), clock(1))

    assert [data.price for data in kept] == [1.0, 2.0, 3.0]
