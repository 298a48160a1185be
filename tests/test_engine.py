"""The order of things at the engine: arrivals before the tick, the market, rests and exits, then the strategy."""

from decimal import Decimal
from typing import Any

import pytest

from engine.engine import Engine
from engine.events import (
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderRested,
    OrderSubmitted,
    PortfolioMarked,
    SignalRejected,
)
from tests.builders import (
    BTC,
    ETH,
    MS,
    SECOND,
    Message,
    a_desk,
    a_strategy,
    batches,
    book,
    book_snapshot,
    buy,
    cancel,
    clock,
    close,
    desk_of,
    feed,
    fills,
    instrument,
    lines,
    names_of,
    only,
    other,
    quote,
    replay,
    sell,
    tape_of,
    the,
    trade,
    trades,
)

# -- arrival -----------------------------------------------------------------------------------------------------


def test_market_buy_meets_the_ask_that_stood_when_it_arrived() -> None:
    desk = a_desk(latency_ns=50, signals=[buy("10 USD")])
    desk.on(quote(0, "49990", "50000"))
    desk.on(quote(40, "50090", "50100"))

    [filled] = desk.on(quote(60, "1", "2"))

    assert isinstance(filled, OrderFilled)
    assert (filled.price, filled.ts, filled.tick_seq) == (Decimal("50100"), 50, 2)


@pytest.mark.parametrize("message", [clock(60), other(60), other(60, ETH), trade(60, "7", ETH), feed(60, "connected")])
def test_any_tick_moves_the_clock(message: Message) -> None:
    desk = a_desk(latency_ns=50, signals=[buy("10 USD")], symbols=[BTC])
    desk.on(quote(0, "99", "101"))

    assert the(desk.on(message), OrderFilled).ts == 50


def test_an_order_that_arrives_at_the_very_time_of_a_tick_meets_the_market_before_it() -> None:
    desk = a_desk(latency_ns=50, signals=[buy("10 USD")])
    desk.on(quote(0, "99", "101"))

    assert the(desk.on(quote(50, "199", "201")), OrderFilled).price == Decimal(101)


def test_an_order_without_latency_meets_the_market_of_its_own_tick() -> None:
    desk = a_desk(signals=[None, buy("10 USD")])
    desk.on(quote(0, "99", "101"))

    filled = the(desk.on(quote(5, "199", "201")), OrderFilled)

    assert (filled.price, filled.ts, filled.tick_seq) == (Decimal(201), 5, 1)


def test_an_order_that_arrives_after_the_last_tick_stays_on_its_way() -> None:
    desk = a_desk(latency_ns=50, signals=[buy("10 USD")])
    desk.on(quote(0, "99", "101"), quote(49, "99", "101"))

    assert names_of(desk.finish()) == ["PortfolioMarked"]
    assert list(desk.portfolio.in_flight) == ["alice-1"]


def test_orders_sent_at_different_times_arrive_in_order_before_one_tick() -> None:
    desk = a_desk(latency_ns=50, signals=[buy("10 USD"), buy("20 USD")])
    desk.on(quote(0, "99", "101"), quote(10, "99", "101"))

    assert [filled.ts for filled in fills(desk.on(clock(100)))] == [50, 60]


# -- limit orders ------------------------------------------------------------------------------------------------


def test_a_limit_order_away_from_the_market_rests_and_fills_at_its_price_as_maker() -> None:
    desk = a_desk(signals=[buy("98 USD", limit="98")], maker_bps="1", taker_bps="9", cash="200")
    rested = desk.on(quote(0, "99", "101"))
    touched = desk.on(trade(1, "98"))
    filled = the(desk.on(trade(2, "97.9")), OrderFilled)

    assert the(rested, OrderRested)
    assert touched == []
    assert (filled.price, filled.liquidity, filled.fee) == (Decimal(98), "maker", Decimal("0.0098"))


def test_a_limit_order_fills_when_the_opposite_touch_reaches_it() -> None:
    desk = a_desk(signals=[buy("10 USD", limit="98")])
    desk.on(quote(0, "99", "101"))

    assert the(desk.on(quote(1, "97", "98")), OrderFilled).price == Decimal(98)


def test_a_limit_order_that_crosses_on_arrival_takes_the_touch() -> None:
    filled = the(a_desk(signals=[buy("10 USD", limit="105")]).on(quote(0, "99", "101")), OrderFilled)

    assert (filled.price, filled.liquidity) == (Decimal(101), "taker")


def test_every_trade_of_one_message_is_held_against_resting_orders() -> None:
    desk = a_desk(signals=[buy("10 USD", limit="98")])
    desk.on(quote(0, "99", "101"))

    assert the(desk.on(trades(1, "97", "100")), OrderFilled).price == Decimal(98)


def test_a_trade_at_the_limit_fills_nothing_on_a_feed_without_quotes_either() -> None:
    desk = a_desk(signals=[buy("10 USD", limit="98")])
    desk.on(trade(0, "100"))

    assert desk.on(trade(1, "98")) == []


def test_a_limit_order_whose_price_rounds_to_nothing_is_no_order() -> None:
    desk = a_desk(signals=[None, buy("10 USD", limit="0.05")])
    desk.on(instrument(0, tick_size="0.1"), quote(1, "99", "101"))

    assert the(desk.on(quote(2, "99", "101")), SignalRejected)


def test_post_only_is_rejected_where_it_would_take() -> None:
    events = a_desk(signals=[buy("10 USD", limit="101", post_only=True)]).on(quote(0, "99", "101"))

    assert the(events, OrderRejected).reason == "would take liquidity"


@pytest.mark.parametrize("time_in_force", ["ioc", "fok"])
def test_an_order_that_may_not_rest_expires(time_in_force: str) -> None:
    events = a_desk(signals=[buy("10 USD", limit="98", time_in_force=time_in_force)]).on(quote(0, "99", "101"))

    assert the(events, OrderExpired)


def test_a_cancel_takes_its_time_and_may_come_too_late() -> None:
    in_time = a_desk(signals=[buy("10 USD", limit="98"), cancel()], latency_ns=5)
    late = a_desk(signals=[buy("10 USD", limit="98"), cancel()], latency_ns=5)
    before = [quote(0, "99", "101"), quote(10, "99", "101")]

    assert the(in_time.on(*before, trade(16, "90")), OrderCanceled).ts == 15
    assert the(late.on(*before, trade(14, "90"), trade(16, "90")), OrderFilled).ts == 14


# -- costs and the venue's rules -------------------------------------------------------------------------------------


def test_slippage_moves_a_market_order_against_us_and_a_limit_never_past_its_price() -> None:
    desk = a_desk(signals=[buy("10 USD"), sell("5 USD"), buy("10 USD", limit="101.5")], slippage_bps="100")

    bought, sold, limited = fills(desk.on(*(quote(ts, "99", "101") for ts in range(3))))

    assert [fill.price for fill in (bought, sold, limited)] == [Decimal("102.01"), Decimal("98.01"), Decimal("101.5")]


def test_a_fee_is_paid_out_of_cash_and_an_all_in_order_leaves_room_for_it() -> None:
    filled = the(a_desk(signals=[buy("100 USD")], taker_bps="50").on(quote(0, "99", "100")), OrderFilled)

    assert filled.quantity == Decimal("0.99502487")
    assert filled.fee == Decimal("0.4975124350")
    assert filled.cash == Decimal(100) - Decimal("99.502487") - filled.fee >= 0


def test_quantity_is_cut_to_the_lot() -> None:
    desk = a_desk(signals=[buy("50 USD")])

    filled = the(desk.on(instrument(0, lot_size="0.1"), quote(1, "99", "101")), OrderFilled)

    assert filled.quantity == Decimal("0.4")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [({"min_notional": "60"}, "below minimum notional"), ({"min_quantity": "0.6"}, "below minimum quantity")],
)
def test_what_the_venue_would_not_take_is_rejected(rule: dict[str, str], reason: str) -> None:
    desk = a_desk(signals=[buy("50 USD")])

    assert the(desk.on(instrument(0, **rule), quote(1, "99", "101")), SignalRejected).reason == reason


# -- the feed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["disconnected", "gap", "checksum", "stale"])
def test_a_loss_stops_fills_and_calls_until_the_venue_speaks_again(event: str) -> None:
    desk = a_desk(signals=[buy("10 USD", limit="98"), buy("1 USD"), buy("2 USD")])
    desk.on(quote(0, "99", "101"))
    lost = desk.on(feed(1, event), trade(2, "90"))  # the trade carries no touch: the quote is not known yet
    heard = desk.on(quote(3, "99", "101"))

    assert lost == []
    assert [filled.quantity * filled.price for filled in fills(heard)] == [Decimal("0.99999999")]


@pytest.mark.parametrize("event", ["connected", "subscribed", "clock", "crossed", "instrument", "unheard of"])
def test_other_feed_rows_lose_nothing(event: str) -> None:
    desk = a_desk(signals=[None, buy("10 USD")])

    desk.on(quote(0, "99", "101"), feed(1, event))

    assert fills(desk.on(trade(2, "100")))


def test_a_loss_of_one_symbol_leaves_the_other() -> None:
    asked: list[str] = []
    desk = a_desk(lambda data, config, state: asked.append(data.symbol))
    desk.on(quote(0, "99", "101"), quote(1, "9", "10", ETH), feed(2, "gap", BTC))
    asked.clear()

    desk.on(trade(3, "100"), trade(4, "9", ETH), quote(5, "99", "101"))

    assert asked == [ETH, BTC]


def test_an_order_that_arrives_while_the_market_is_lost_is_rejected() -> None:
    desk = a_desk(signals=[buy("10 USD")], latency_ns=50)
    desk.on(quote(0, "99", "101"), feed(10, "disconnected"))

    assert the(desk.on(quote(60, "99", "101")), OrderRejected).reason == "stale market"


def test_a_loss_between_two_batches_or_within_one_is_the_same_to_symbols_not_yet_seen() -> None:
    rows = tape_of(feed(0, "disconnected"), other(1, ETH), trade(2, "100"))

    def asked(cuts: range) -> list[str]:
        return lines(replay([desk_of(a_strategy(signals=[buy("1 USD", symbol=ETH)]))], rows, cuts))

    assert asked(range(0)) == asked(range(3))


def test_nothing_fills_on_a_crossed_market() -> None:
    desk = a_desk(signals=[buy("10 USD", limit="98"), buy("10 USD")])
    desk.on(quote(0, "99", "101"))

    events = desk.on(quote(1, "97", "96"))

    assert the(events, SignalRejected).reason == "crossed market"
    assert not fills(events)


# -- marks -----------------------------------------------------------------------------------------------------------


def marks(messages: list[Message], **rest: Any) -> list[PortfolioMarked]:
    desk = a_desk(**rest)
    desk.on(*messages)
    desk.finish()
    return only(desk.events, PortfolioMarked)


def test_equity_is_marked_each_second_in_which_it_moved() -> None:
    half_seconds = [quote(i * 500 * MS, 99 + (i == 3), 101 + (i == 3)) for i in range(8)]

    found = marks(half_seconds, signals=[buy("10.1 USD")])

    assert [(mark.ts, mark.equity) for mark in found] == [
        (1 * SECOND, Decimal("10.000") + Decimal("89.9")),
        (2 * SECOND, Decimal("10.1") + Decimal("89.9")),
        (3 * SECOND, Decimal("10.0") + Decimal("89.9")),
        (3 * SECOND + 500 * MS, Decimal("10.0") + Decimal("89.9")),
    ]


def test_a_desk_that_never_traded_is_marked_once_at_the_end() -> None:
    found = marks([quote(i * SECOND, 99 + i, 101 + i) for i in range(5)])

    assert [(mark.ts, mark.equity) for mark in found] == [(4 * SECOND, Decimal(100))]


def test_a_desk_that_closed_is_marked_once_more_and_then_rests() -> None:
    found = marks([quote(i * SECOND, 99 + 3 * i, 101 + 3 * i) for i in range(1, 7)], signals=[buy("10 USD"), close()])

    assert [mark.ts for mark in found] == [2 * SECOND, 3 * SECOND, 6 * SECOND]


# -- triggers --------------------------------------------------------------------------------------------------------


def asked_at(trigger: str, messages: list[Message], **rest: Any) -> list[tuple[int, str, str]]:
    asked: list[tuple[int, str, str]] = []
    desk = a_desk(lambda data, config, state: asked.append((data.ts, data.kind, data.symbol)), trigger=trigger, **rest)
    desk.on(*messages)
    return asked


MIXED = [
    trade(1, "100"),
    quote(2, "99", "101"),
    book_snapshot(3, [("99", 1), ("98", 1)], [("101", 1)]),
    book(4, [("98", 0)]),
    feed(5, "connected"),
    clock(6),
    other(7, BTC),
]


@pytest.mark.parametrize(
    ("trigger", "times"), [("tick", [1, 2, 3, 4]), ("trade", [1]), ("quote", [2]), ("book", [3, 4])]
)
def test_a_trigger_fires_on_its_own_kind_and_on_a_book_once_a_message(trigger: str, times: list[int]) -> None:
    assert [ts for ts, _, _ in asked_at(trigger, MIXED)] == times


def test_every_trade_of_one_message_is_asked_about_with_and_without_resting_orders() -> None:
    prices: list[float] = []

    def decide(data: Any, config: Any, state: Any) -> Any:
        prices.append(data.price)
        return buy("10 USD", limit="50") if len(prices) == 2 else None

    a_desk(decide, trigger="trade").on(trades(1, "100", "101"), trades(2, "102", "103"))

    assert prices == [100.0, 101.0, 102.0, 103.0]


def test_a_strategy_is_asked_only_about_symbols_it_watches() -> None:
    assert asked_at("tick", [trade(1, "1", ETH), trade(2, "1", BTC)], symbols=[BTC]) == [(2, "trade", BTC)]


def test_an_interval_fires_at_the_first_tick_in_each_that_has_one() -> None:
    times = [100, 400, 500, 700, 999, 1_700, 1_800, 4_000]
    ticks = [clock(ts * MS) if ts == 700 else quote(ts * MS, "99", "101") for ts in times]

    assert [ts // MS for ts, _, _ in asked_at("every:500ms", ticks)] == [500, 1_700, 4_000]


def test_a_candle_fires_when_it_has_ended_whatever_tick_says_so() -> None:
    ticks = [trade(59 * SECOND, "100"), other(60 * SECOND), clock(61 * SECOND), clock(180 * SECOND)]

    assert asked_at("candle:1m", ticks) == [(60 * SECOND, "other", BTC), (180 * SECOND, "feed", BTC)]


def test_a_timed_strategy_is_asked_about_each_symbol_in_the_order_of_their_names() -> None:
    ticks = [trade(1, "9", ETH), trade(2, "100"), clock(SECOND)]

    assert [symbol for _, _, symbol in asked_at("every:1s", ticks)] == [BTC, ETH]


# -- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wants",
    [("data",), ("state", "data"), ("portfolio", "config"), ("portfolio", "data", "state", "config"), ()],
)
def test_parameters_are_given_by_name_in_any_order(wants: tuple[str, ...]) -> None:
    given: list[Any] = []
    desk = a_desk(lambda *arguments: given.extend(arguments), wants=wants, config={"is": "config"})
    desk.desk.state["is"] = "state"

    desk.on(quote(0, "99", "101"))

    kinds = {"Snapshot": "data", "Account": "portfolio"}
    names = [kinds.get(type(one).__name__) or one["is"] for one in given]
    assert tuple(names) == wants


def test_the_portfolio_is_as_of_the_tick_in_hand() -> None:
    seen: list[tuple[float, float, int, float]] = []

    def decide(data: Any, portfolio: Any) -> Any:
        seen.append((portfolio.cash, portfolio.equity, len(portfolio.open_orders), portfolio.position(BTC)))
        return [buy("10 USD"), buy("10 USD", limit="50")] if len(seen) == 1 else None

    a_desk(decide, wants=("data", "portfolio")).on(quote(0, "99", "100"), quote(1, "109", "111"))

    assert seen == [(100.0, 100.0, 0, 0.0), (90.0, 101.0, 1, 0.1)]


def test_an_empty_batch_and_a_finish_without_ticks_make_nothing_true() -> None:
    engine = Engine([a_desk().desk])
    [batch] = batches(tape_of())

    assert engine.process(batch) == [] and engine.finish() == []


def test_the_last_order_of_a_run_is_submitted_with_its_arrival_time() -> None:
    submitted = the(a_desk(signals=[buy("1 USD")], latency_ns=7).on(quote(3, "99", "101")), OrderSubmitted)

    assert (submitted.ts, submitted.arrives_at) == (3, 10)
