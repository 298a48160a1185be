"""A strategy that fails harms nobody but itself; orders live as the table of their life says."""

import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal, FloatOperation, Inexact, getcontext, localcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given

from engine.digest import canonical_lines
from engine.events import (
    CancelSubmitted,
    Event,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderSubmitted,
    SignalRaised,
    SignalRejected,
    StrategyFailed,
)
from engine.orders import ORDER_LIFE
from engine.signals import Signal
from tests.builders import (
    BTC,
    SECOND,
    Bench,
    Message,
    a_desk,
    a_strategy,
    buy,
    clock,
    close,
    desk_of,
    fills,
    ledgers,
    lines,
    names_of,
    only,
    other,
    quote,
    replay,
    sell,
    short,
    tape_of,
    the,
    trade,
)
from tests.random_desks import Cast, casts, desks_of
from tests.random_markets import Move, market_of, moves

ROOT = Path(__file__).resolve().parents[1]


def a_market(bench: Bench) -> list[Event]:
    return bench.on(quote(0, "99", "101"))


# -- what fails, and how it is told -------------------------------------------------------------------------------


def raising(error: BaseException) -> Any:
    def generate_signal(data: object, config: object, state: object) -> None:
        raise error

    return generate_signal


def answering(answer: Any) -> Any:
    return lambda data, config, state: answer


@pytest.mark.parametrize(
    "error", [ValueError("at 0x7f"), SystemExit(3), RecursionError(), MemoryError(), ExceptionGroup("", [OSError()])]
)
def test_a_strategy_that_raises_is_a_fact_and_is_not_asked_again(error: BaseException) -> None:
    bench = a_desk(raising(error), path=__file__)

    failed = the(a_market(bench), StrategyFailed)

    assert (failed.where, failed.exception, failed.file) == ("generate_signal", type(error).__name__, "test_desk.py")
    assert failed.line > 0
    assert "0x7f" not in lines([failed])[0]
    assert bench.on(quote(1, "99", "101")) == []


@pytest.mark.parametrize(
    "answer", ["buy", b"buy", 5, 1.5, True, {"action": "buy"}, ["buy"], [None], [buy("1 USD"), "x"], object(), Signal]
)
def test_an_answer_that_is_no_signal_fails_the_strategy(answer: Any) -> None:
    events = a_market(a_desk(answering(answer)))

    assert names_of(events) == ["StrategyFailed"]
    assert "returned" in the(events, StrategyFailed).detail
    assert "0x" not in lines(events)[0]


@pytest.mark.parametrize("order_id", [0, False, [], b"", 5])
@pytest.mark.parametrize("action", ["buy", "cancel", "replace"])
def test_an_order_id_that_is_no_text_fails_the_strategy(order_id: Any, action: str) -> None:
    events = a_market(a_desk(answering(Signal(action, "BTC/USD", 1.0, order_id=order_id))))

    assert names_of(events) == ["StrategyFailed"]
    assert "not text" in the(events, StrategyFailed).detail


@pytest.mark.parametrize("expires_at", [2**63, 2**70, -(2**63) - 1, 10**400, 5.0, "soon"])
def test_an_end_that_is_no_time_is_refused(expires_at: Any) -> None:
    signal = Signal(
        "buy", "BTC/USD", 1.0, order_type="limit", limit_price=1.0, time_in_force="gtd", expires_at=expires_at
    )
    events = a_market(a_desk(answering(signal)))

    assert names_of(events) == ["SignalRaised", "SignalRejected"]
    assert the(events, SignalRaised).expires_at is None
    assert the(events, SignalRejected).reason == "gtd order without expires_at"


def test_a_signal_of_a_strategys_own_kind_is_a_signal() -> None:
    class Mine(Signal, frozen=True):
        mood: str = "good"

    [raised, *_] = a_market(a_desk(answering(Mine("buy", "BTC/USD", 1.0, reason="mine"))))

    assert isinstance(raised, SignalRaised)
    assert raised.reason == "mine"


@pytest.mark.parametrize("answer", [(), [], iter(()), None])
def test_an_answer_without_signals_is_no_signal(answer: Any) -> None:
    assert a_market(a_desk(answering(answer))) == []


def test_a_set_of_signals_fails_the_strategy_because_its_order_is_chance() -> None:
    assert names_of(a_market(a_desk(answering({buy("1 USD"), buy("2 USD")})))) == ["StrategyFailed"]


def test_a_generator_of_signals_is_taken_in_its_order() -> None:
    def generate_signal(data: Any, config: Any, state: Any) -> Iterable[Signal]:
        yield buy("1 USD")
        yield buy("2 USD")

    raised = only(a_market(a_desk(generate_signal)), SignalRaised)

    assert [signal.size for signal in raised] == [1.0, 2.0]


def test_a_generator_that_raises_fails_the_strategy_and_raises_no_signal() -> None:
    def generate_signal(data: Any, config: Any, state: Any) -> Iterable[Signal]:
        yield buy("1 USD")
        raise KeyError("x")

    assert names_of(a_market(a_desk(generate_signal))) == ["StrategyFailed"]


def test_a_strategy_that_recurses_without_end_fails() -> None:
    def generate_signal(data: Any, config: Any, state: Any) -> Any:
        return generate_signal(data, config, state)

    assert the(a_market(a_desk(generate_signal)), StrategyFailed).exception == "RecursionError"


def test_nothing_follows_a_failure_among_several_signals() -> None:
    junk = Signal("buy", BTC, 1.0, metadata={"x": object()})

    events = a_market(a_desk(answering([junk, buy("1 USD"), junk])))

    assert names_of(events) == ["StrategyFailed"]


MUTATIONS = """
data.price = 1.0
object.__setattr__(data, 'ts', 1)
data.mid = 1
del data.ts
data.new = 1
data.prices['BTC/USD'] = 1.0
portfolio.cash = 1e9
portfolio.balances['USD'] = 1e9
portfolio.positions.clear()
"""


@pytest.mark.parametrize("attempt", MUTATIONS.split("\n")[1:-1])
def test_what_a_strategy_is_shown_cannot_be_changed(attempt: str) -> None:
    def generate_signal(data: Any, portfolio: Any) -> None:
        exec(attempt, {}, {"data": data, "portfolio": portfolio})

    events = a_market(a_desk(generate_signal, wants=("data", "portfolio")))

    assert names_of(events) == ["StrategyFailed"]


@pytest.mark.parametrize("metadata", [{"x": object()}, {"x": {1, "a"}}, {"x": lambda: 0}])
def test_metadata_that_is_no_json_fails_the_strategy(metadata: Any) -> None:
    assert names_of(a_market(a_desk(signals=[buy("1 USD", metadata=metadata)]))) == ["StrategyFailed"]


@pytest.mark.parametrize("metadata", [["a"], "text", 5, [("a", 1)]])
def test_metadata_that_is_no_mapping_does_not_stop_the_engine(metadata: Any) -> None:
    told: list[Any] = []
    bench = a_desk(signals=[buy("1 USD", metadata=metadata)], on_fill=lambda fill, state: told.append(fill))

    events = a_market(bench)

    assert names_of(events) == ["StrategyFailed"] or told


@pytest.mark.parametrize("field", ["reason", "symbol", "action"])
def test_text_that_no_file_can_hold_does_not_stop_the_engine(field: str) -> None:
    signal = msgspec.structs.replace(buy("1 USD"), **{field: "\ud800"})

    assert canonical_lines(a_market(a_desk(signals=[signal])))


@pytest.mark.parametrize("field", ["order_type", "size_in", "time_in_force", "post_only"])
def test_an_object_in_place_of_a_word_leaves_no_address_in_the_ledger(field: str) -> None:
    signal = msgspec.structs.replace(buy("1 USD"), **{field: object()})

    assert "0x" not in "".join(lines(a_market(a_desk(signals=[signal]))))


@pytest.mark.parametrize(
    "size",
    ["10", None, float("nan"), float("inf"), -1.0, 0.0, 1e300, 10**400, Decimal("NaN"), Decimal("sNaN"), True, [1]],
)
def test_a_size_that_is_no_amount_buys_nothing(size: Any) -> None:
    events = a_market(a_desk(signals=[Signal("buy", BTC, size)]))

    assert names_of(events) == ["SignalRaised", "SignalRejected"]


@pytest.mark.parametrize(
    "size", [10, Decimal("10"), 10.0, np.float64(10), np.float32(10), np.int64(10), np.uint8(10), Fraction(10)]
)
def test_a_size_may_be_any_number(size: Any) -> None:
    assert the(a_market(a_desk(signals=[Signal("buy", BTC, size)])), OrderFilled)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_every_number_of_a_signal_may_be_numpys(kind: Any) -> None:
    terms = {"limit_price": 1, "stop_loss": 1, "take_profit": 1000, "expires_at": 5}

    def raised(signal: Signal) -> SignalRaised:
        return the(a_market(a_desk(signals=[signal])), SignalRaised)

    ours = Signal("buy", BTC, 10.0, order_type="limit", time_in_force="gtd", **terms)
    theirs = msgspec.structs.replace(
        ours, size=kind(10), expires_at=np.int64(5), **{name: kind(terms[name]) for name in list(terms)[:3]}
    )
    assert raised(theirs) == raised(ours)


def shown(indicators: object) -> list[Event]:
    """What comes of a signal with these indicators."""

    def generate_signal(data: Any, config: Any, state: dict[str, Any]) -> Signal:
        state["indicators"] = indicators
        return buy("10 USD")

    return a_market(a_desk(generate_signal))


@pytest.mark.parametrize(
    ("indicators", "text"),
    [
        ({"b": 1.5, "a": None}, '{"a":null,"b":1.5}'),
        ({50: 2.5, 20: 1.5}, '{"20":1.5,"50":2.5}'),
        ({"ema": {20: np.float64(1.5)}}, '{"ema":{"20":1.5}}'),
        ({"gap": float("nan")}, '{"gap":null}'),
        ([1, 2], "[1,2]"),
        ({}, None),
    ],
)
def test_indicators_are_json_whose_keys_are_text(indicators: object, text: str | None) -> None:
    assert [event.indicators for event in only(shown(indicators), SignalRaised)][:1] == [text]


@pytest.mark.parametrize("indicators", [{"a": object()}, {"a": print}, {(1, 2): 3}, {"\ud800": 1}])
def test_indicators_that_json_cannot_hold_are_told_as_such(indicators: object) -> None:
    failed = the(shown(indicators), StrategyFailed)

    assert failed.detail.startswith("state['indicators'] that JSON cannot hold: ")


# -- hooks ------------------------------------------------------------------------------------------------------


def fails(*arguments: Any) -> None:
    raise ZeroDivisionError


def test_a_failing_on_start_stops_the_strategy_before_it_is_asked() -> None:
    events = a_market(a_desk(signals=[buy("10 USD")], on_start=fails))

    assert [the(events, StrategyFailed).where, *names_of(events)] == ["on_start", "StrategyFailed"]


def test_a_failing_on_stop_is_the_last_fact() -> None:
    bench = a_desk(on_stop=fails)
    a_market(bench)

    assert names_of(bench.finish()) == ["PortfolioMarked", "StrategyFailed"]


@pytest.mark.parametrize("latency_ns", [0, 5])
def test_a_strategy_whose_on_fill_failed_is_not_asked_again(latency_ns: int) -> None:
    bench = a_desk(signals=[buy("1 USD")] * 9, on_fill=fails, latency_ns=latency_ns)
    tape = [quote(ts, "99", "101") for ts in range(0, 100, 10)]

    events = bench.on(*tape)

    assert names_of(events)[-1] == "StrategyFailed"


@pytest.mark.parametrize("trigger", ["tick", "trade"])
@pytest.mark.parametrize("between", [clock(5), trade(5, "100"), other(5)])
@pytest.mark.parametrize("has_timer_beside", [False, True])
def test_an_on_fill_that_fails_gives_the_same_events_with_and_without_shortcuts(
    trigger: str, between: Message, has_timer_beside: bool
) -> None:
    messages = [quote(0, "99", "101"), trade(0, "100"), between]
    tape = tape_of(*messages, *(trade(ts, "100") for ts in range(10, 60, 10)))

    def run(walk_every_row: bool) -> list[str]:
        desk = desk_of(a_strategy(signals=[buy("1 USD")] * 9, on_fill=fails, trigger=trigger), latency_ns=5)
        timer = desk_of(a_strategy(name="timer", trigger="every:500ms"))
        return lines(replay([desk, timer] if has_timer_beside else [desk], tape, walk_every_row=walk_every_row))

    assert run(False) == run(True)


def test_an_on_fill_that_fails_while_two_orders_are_hit_stops_the_strategy_and_not_the_engine() -> None:
    bench = a_desk(signals=[[buy("10 USD", limit="98"), buy("10 USD", limit="97")]], on_fill=fails)
    a_market(bench)

    events = bench.on(trade(1, "90"))

    assert names_of(events) == ["OrderFilled", "StrategyFailed", "OrderCanceled"]


def test_an_order_on_its_way_when_the_strategy_fails_does_not_rest_for_good() -> None:
    def generate_signal(data: Any, config: Any, state: Any) -> Any:
        if state.setdefault("asked", False):
            raise ValueError
        state["asked"] = True
        return buy("10 USD", limit="98")

    bench = a_desk(generate_signal, latency_ns=50)
    a_market(bench)
    bench.on(quote(10, "99", "101"), quote(60, "99", "101"))

    assert not bench.portfolio.resting


def test_resting_orders_of_a_failed_strategy_are_taken_back_and_its_exits_stay() -> None:
    def generate_signal(data: Any, config: Any, state: Any) -> Any:
        state["asked"] = state.get("asked", 0) + 1
        if state["asked"] == 2:
            raise ValueError
        return [buy("10 USD", stop_loss=90.0), buy("10 USD", limit="98")]

    bench = a_desk(generate_signal)
    a_market(bench)
    failing = bench.on(quote(1, "99", "101"))
    stopping = bench.on(trade(2, "89"))

    assert names_of(failing) == ["StrategyFailed", "OrderCanceled"]
    assert names_of(stopping) == ["StopTriggered", "OrderSubmitted", "OrderFilled"]


def test_on_fill_hears_price_reason_and_metadata_of_the_signal() -> None:
    told: list[dict[str, Any]] = []
    bench = a_desk(
        signals=[buy("10 USD", reason="dip", metadata={"z": 3})], on_fill=lambda fill, state: told.append(fill)
    )

    a_market(bench)

    [fill] = told
    assert (fill["side"], fill["price"], fill["reason"], fill["metadata"]) == ("buy", 101.0, "dip", {"z": 3})


def test_on_stop_and_on_start_are_given_config_and_state() -> None:
    heard: list[Any] = []
    bench = a_desk(config={"n": 1}, on_start=lambda config, state: state.update(config), on_stop=heard.append)

    a_market(bench)
    bench.finish()

    assert heard == [{"n": 1}] or heard[0]["n"] == 1


# -- one strategy cannot reach another -----------------------------------------------------------------------------


def test_a_failing_neighbor_changes_nothing() -> None:
    tape = tape_of(*(quote(ts * SECOND, "99", "101") for ts in range(5)))

    def alice() -> Any:
        return desk_of(a_strategy(signals=[buy("10 USD"), sell("5 USD")]))

    alone = ledgers(replay([alice()], tape))
    beside = ledgers(replay([desk_of(a_strategy(raising(ValueError()), name="aaron")), alice()], tape))

    assert beside["alice"] == alone["alice"]


def test_config_is_each_desks_own() -> None:
    config = {"levels": [1]}

    def generate_signal(config: Any) -> None:
        config["levels"].append(2)

    bench = a_desk(generate_signal, wants=("config",), config=config)
    a_market(bench)

    assert config == {"levels": [1]}


@pytest.mark.parametrize("trap", [None, Inexact, FloatOperation])
def test_a_strategy_that_changes_the_decimal_context_changes_nothing(trap: Any) -> None:
    def generate_signal(data: Any, config: Any, state: Any) -> Any:
        if config["is_rude"]:
            getcontext().prec = 2
            if trap is not None:
                getcontext().traps[trap] = True
        asked = state["asked"] = state.get("asked", 0) + 1
        answers = [
            buy("33.333333 USD", stop_loss=90.0),
            sell("7.77 USD"),
            Signal("buy", BTC, Decimal("3.3333")),
            close(),
            short("9.99 USD"),
        ]
        return answers[asked % 5]

    def run(is_rude: bool) -> list[str]:
        with localcontext():
            strategy = a_strategy(generate_signal, config={"is_rude": is_rude})
            desk = desk_of(strategy, taker_bps="7.7", slippage_bps="3.3")
            tape = tape_of(*(quote(ts * SECOND, 99.123456 + ts, 101.654321 + ts) for ts in range(20)))
            return lines(replay([desk], tape))

    assert run(True) == run(False)


HASHING = """
from engine.signals import Signal
from tests.builders import *
signal = Signal("buy", BTC, 1.0, metadata={"seen": {"a", "b", "c", "d", "e"}, "k": {"z": 1, "y": frozenset("qwerty")}})
print("\\n".join(lines(a_desk(signals=[signal]).on(quote(0, 99, 101)))))
"""


def test_metadata_with_a_set_has_the_same_bytes_under_every_hash_seed() -> None:
    def run(seed: str) -> bytes:
        command = [sys.executable, "-c", HASHING]
        return subprocess.run(
            command, cwd=ROOT, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True
        ).stdout

    assert b"qwerty" not in run("1") and run("1") == run("2") == run("3")


# -- the life of an order ------------------------------------------------------------------------------------------


def lives_of(events: Iterable[Event]) -> dict[str, list[str]]:
    lives: dict[str, list[str]] = {}
    for event in events:
        order_id = getattr(event, "order_id", None)
        if order_id is not None and not isinstance(event, SignalRaised | CancelSubmitted):
            lives.setdefault(order_id, [""]).append(type(event).__name__)
    return lives


@given(moves, casts)
def test_every_order_walks_the_table_of_its_life(moves: list[Move], casts: list[Cast]) -> None:
    events = replay(desks_of(casts), market_of(moves))

    for life in lives_of(events).values():
        for before, after in pairwise(life):
            assert after in ORDER_LIFE[before]


@given(moves, casts)
def test_ids_and_seqs_count_without_gaps_and_times_never_fall(moves: list[Move], casts: list[Cast]) -> None:
    for ledger in ledgers_by_desk(replay(desks_of(casts), market_of(moves))).values():
        assert [event.seq for event in ledger] == list(range(len(ledger)))
        assert [event.tick_seq for event in ledger] == sorted(event.tick_seq for event in ledger)
        assert [event.ts for event in ledger] == sorted(event.ts for event in ledger)
        orders = [order.order_id for order in only(ledger, OrderSubmitted)]
        assert orders == [f"{ledger[0].strategy}-{n}" for n in range(1, len(orders) + 1)]


def ledgers_by_desk(events: Iterable[Event]) -> dict[str, list[Event]]:
    by_desk: dict[str, list[Event]] = {}
    for event in events:
        by_desk.setdefault(event.strategy, []).append(event)
    return by_desk


# -- exits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("price", "kind"), [("94", "stop_loss"), ("112", "take_profit")])
def test_an_exit_of_a_long_is_reached_by_the_last_trade_and_heard_by_on_fill(price: str, kind: str) -> None:
    told: list[Any] = []
    signal = buy("10 USD", stop_loss=95.0, take_profit=110.0)
    bench = a_desk(signals=[signal], on_fill=lambda fill, state: told.append(fill["reason"]))
    a_market(bench)

    events = bench.on(trade(1, price))

    assert names_of(events) == ["StopTriggered", "OrderSubmitted", "OrderFilled"]
    assert (the(events, OrderSubmitted).purpose, told[-1]) == (kind, kind)
    assert not bench.portfolio.positions and not bench.portfolio.exits


def test_an_exit_that_was_rejected_is_tried_again() -> None:
    bench = a_desk(signals=[buy("10 USD", stop_loss=95.0)], latency_ns=5)
    bench.on(quote(0, "99", "101"), quote(10, "99", "101"), trade(20, "94"), quote(22, "101", "99"))

    rejected = bench.on(quote(30, "93", "94"))
    again = bench.on(trade(40, "93"), quote(50, "93", "94"))

    assert the(rejected, OrderRejected).reason == "crossed market"
    assert names_of(again) == ["StopTriggered", "OrderSubmitted", "OrderFilled"]


def test_the_exit_of_a_long_is_not_given_to_the_short_that_followed_it() -> None:
    bench = a_desk(signals=[buy("10 USD", stop_loss=95.0), short("40 USD")], latency_ns=5)
    bench.on(quote(0, "99", "101"))  # buys at 5
    bench.on(quote(8, "99", "101"))  # asks to short, which arrives at 13
    bench.on(trade(11, "94"))  # reaches the stop; its order arrives at 16 and finds a short

    events = bench.on(quote(20, "93", "94"), trade(21, "96"))

    assert the(events, OrderRejected).reason == "no long position"
    assert bench.portfolio.position(BTC).quantity < 0
    assert not bench.portfolio.exits
    assert not only(events, OrderSubmitted)


# -- an order that arrives where nothing can be had ------------------------------------------------------------------


def test_an_order_that_meets_a_price_of_zero_is_rejected() -> None:
    bench = a_desk(signals=[buy("10 USD"), sell("5 USD")], latency_ns=5)
    bench.on(quote(0, "99", "101"), quote(10, "99", "101"), quote(12, "0", "101"))

    events = bench.on(quote(20, "99", "101"))

    assert the(events, OrderRejected)


def test_a_canceled_order_never_fills() -> None:
    bench = a_desk(signals=[buy("10 USD", limit="98"), Signal("cancel", BTC)], latency_ns=5)
    bench.on(quote(0, "99", "101"), quote(10, "99", "101"), trade(20, "99"))

    events = bench.on(trade(30, "90"))

    assert only(bench.events, OrderCanceled)
    assert not fills(events)


def test_a_cancel_with_nothing_open_is_rejected() -> None:
    bench = a_desk(signals=[Signal("cancel", BTC)])

    assert the(a_market(bench), SignalRejected).reason == "nothing to cancel"
