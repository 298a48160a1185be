"""The defects that the predecessor of this engine had: each is shown not to be here."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given

from engine.digest import canonical_lines
from engine.events import OrderFilled, OrderRested, OrderSubmitted, PortfolioMarked, SignalRaised, SignalRejected
from tests.builders import (
    BTC,
    ETH,
    ETH_BTC,
    MINUTE,
    SECOND,
    a_desk,
    a_strategy,
    buy,
    clock,
    close,
    desk_of,
    feed,
    fills,
    lines,
    names_of,
    only,
    other,
    quote,
    replay,
    short,
    tape_of,
    the,
    trade,
)
from tests.random_desks import Cast, casts, desks_of
from tests.random_markets import Move, market_of, moves


def test_shorting_50_dollars_does_not_raise_equity_by_50() -> None:
    desk = a_desk(signals=[short("50 USD")])

    filled = the(desk.on(quote(0, "100", "100.01")), OrderFilled)

    assert filled.cash == Decimal(150)
    assert the(desk.finish(), PortfolioMarked).equity == Decimal("99.9975")


def test_zero_trades_are_zero_profit() -> None:
    desk = a_desk()
    desk.on(*(quote(i * SECOND, 100 + i, 101 + i) for i in range(50)))

    assert the(desk.finish(), PortfolioMarked).equity == Decimal(100)


def test_ten_dollars_of_a_market_quoted_in_bitcoin_buys_nothing_without_bitcoin() -> None:
    desk = a_desk(signals=[None, buy("10 BTC", symbol="XRP/BTC")])

    events = desk.on(quote(0, "50000", "50001"), quote(1, "0.00002", "0.0000201", "XRP/BTC"))

    assert the(events, SignalRejected).reason == "insufficient cash"
    assert not fills(events)


def test_a_limit_order_does_not_execute_at_once_as_a_market_order() -> None:
    events = a_desk(signals=[buy("10 USD", limit="90")]).on(quote(0, "99", "101"))

    assert names_of(events) == ["SignalRaised", "OrderSubmitted", "OrderRested"]
    assert the(events, OrderRested).order_id == "alice-1"


def test_buying_while_short_does_not_overwrite_the_position() -> None:
    desk = a_desk(signals=[short("0.5 BTC"), buy("0.2 BTC")])

    _, bought = fills(desk.on(quote(0, "100", "101"), quote(1, "100", "101")))

    assert (bought.position, bought.cost, bought.realized) == (Decimal("-0.3"), Decimal(-30), Decimal("-0.2"))


def test_every_closing_fill_carries_what_the_round_trip_realized() -> None:
    desk = a_desk(signals=[buy("1 BTC"), close()], taker_bps="10", cash="200")

    bought, sold = fills(desk.on(quote(0, "99", "100"), quote(1, "110", "111")))

    assert (bought.realized, sold.realized) == (Decimal("-0.1"), Decimal("9.89"))
    assert (bought.position, sold.position) == (1, 0)


def test_the_fill_of_a_stop_loss_reaches_on_fill_and_the_ledger() -> None:
    told: list[dict[str, Any]] = []
    desk = a_desk(signals=[buy("10 USD", stop_loss=95.0)], on_fill=lambda fill, state: told.append(fill))
    desk.on(quote(0, "99", "100"))

    events = desk.on(trade(1, "94"))

    assert told[-1]["reason"] == "stop_loss" and told[-1]["order_id"] == the(events, OrderFilled).order_id
    assert the(events, OrderSubmitted).purpose == "stop_loss"


def test_metadata_of_a_signal_survives_to_its_fills_and_to_those_of_its_exits() -> None:
    told: list[Any] = []
    signal = buy("10 USD", take_profit=105.0, metadata={"z": 2.5, "why": ["a"]})
    desk = a_desk(signals=[signal], on_fill=lambda fill, state: told.append(fill["metadata"]), latency_ns=5)

    desk.on(quote(0, "99", "100"), trade(10, "106"), clock(20))

    assert told == [{"z": 2.5, "why": ["a"]}] * 2
    assert the(desk.events, SignalRaised).metadata == '{"why":["a"],"z":2.5}'


def test_nothing_fills_on_a_crossed_book() -> None:
    desk = a_desk(signals=[None, buy("10 USD")])

    events = desk.on(quote(0, "99", "100"), quote(1, "101", "100"), feed(1, "crossed", BTC), trade(2, "50"))

    assert not fills(events)


def test_a_minute_without_trades_keeps_its_candle() -> None:
    seen: list[Any] = []
    desk = a_desk(lambda data, config, state: seen.append(data.candles(interval="1m")), trigger="candle:1m")

    desk.on(trade(0, "100"), trade(1, "101"), clock(2 * MINUTE), clock(3 * MINUTE))

    assert [(bar.ts // MINUTE, bar.close, bar.volume) for bar in seen[-1]] == [(0, 101, 2), (1, 101, 0), (2, 101, 0)]


def test_rows_that_are_no_news_are_not_counted_as_trades() -> None:
    seen: list[int] = []
    desk = a_desk(lambda data, config, state: seen.append(len(data.recent_trades())))

    desk.on(trade(0, "100"), feed(1, "disconnected"), feed(2, "connected"), other(3, BTC), trade(4, "101"))

    assert seen == [1, 2]


@given(moves, casts)
def test_ids_never_repeat_within_a_run_and_are_the_same_in_the_next(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of(moves)

    first, second = (replay(desks_of(casts), tape) for _ in range(2))

    signals = [event.correlation_id for event in only(first, SignalRaised)]
    orders = [event.order_id for event in only(first, OrderSubmitted)]
    assert len(set(signals)) == len(signals) and len(set(orders)) == len(orders)
    assert lines(first) == lines(second)


def test_a_ledger_is_strict_json_even_where_a_strategy_hands_over_what_is_not() -> None:
    signal = buy("10 USD", metadata={"nan": float("nan"), "inf": float("inf")}, price=float("nan"), reason='"\n\x00')
    tape = tape_of(quote(0, "99", "101"), quote(1, None, "101"), trade(2, "9", ETH), trade(3, "9", ETH_BTC))

    written = canonical_lines(replay([desk_of(a_strategy(signals=[signal]))], tape))

    for line in written.splitlines():
        assert b"NaN" not in line and b"Infinity" not in line
        msgspec.json.decode(line)
