"""An explanation is the run again: what the strategy saw and answered, and the arithmetic to the last digit."""

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apps.explain import Explanation, explain_event, explain_moment
from apps.importing import simulated_tape
from apps.ingredients import ingredients
from apps.problems import UserProblem
from apps.retracing import retrace
from engine import events
from engine.ticks import LAST_OF_MESSAGE, Kind, Tick
from recorder.ledger import read_events
from recorder.runs import read_manifest, segment_paths
from recorder.tape_writer import TapeWriter
from tests.commands import EAGER, Place

BTC, XRP = "BTC/USD", "XRP/USD"
CURIOUS = '''"""Asks for everything there is, now and then, and trades on some of it, with an exit that is met."""

from collections import defaultdict, deque

from engine import Signal

TRIGGER = "trade"
CONFIG = {"size": 10.0}


def generate_signal(data, config, state, portfolio):
    """Looks at a lot; opens and closes in turn."""
    state.setdefault("prices", deque(maxlen=5)).append(data.price)
    state.setdefault("seen", defaultdict(int))[data.symbol] += 1
    if state["seen"][data.symbol] % 9:
        return None
    data.book(), data.quote(data.symbol), data.recent_trades(n=3), data.candles(interval="5s", n=2), data.vwap(n=10)
    data.mids, data.spreads, data.prices.get("BTC/USD"), data.prices.get("DOGE/USD"), data.orderbooks[data.symbol]
    data.get_vwap(data.symbol, 7), data.get_trade_imbalance(data.symbol), data.candles_1m.get(data.symbol)
    if any(position.symbol == data.symbol for position in portfolio.positions.values()):
        return [Signal("close", data.symbol, reason="enough")]
    return (Signal("buy", data.symbol, config["size"], stop_loss=data.price * 0.9999) for _ in range(1))
'''
MAKER = '''"""Quotes below the market and waits; cancels now and then."""

from engine import Signal

TRIGGER = "every:2s"


def generate_signal(data, state):
    """A limit order or its cancel in turn."""
    state["n"] = state.get("n", 0) + 1
    if state["n"] % 5 == 0:
        return Signal("cancel", data.symbol)
    return Signal("buy", data.symbol, 5.0, order_type="limit", limit_price=data.bid, reason="at the bid")
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three strategies on a minute of the simulated market, with slippage."""
    place = Place(tmp_path_factory.mktemp("place"))
    simulated_tape(7, 1, place.folder / "tape.parquet")
    for name, source in {"curious": CURIOUS, "maker": MAKER, "eager": EAGER}.items():
        place.strategy(name, source)
    place.file("wspt.toml", "[execution.kraken]\nslippage_bps = 1.5\n")
    assert place.wspt("replay", "tape.parquet", "--out", "run").code == 0
    return place


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.folder / "run"


def recorded(run: Path, strategy: str) -> list[events.Event]:
    return read_events(segment_paths(run, read_manifest(run)), strategy)[strategy]


# -- fills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["curious", "maker", "eager"])
def test_the_arithmetic_of_every_fill_gives_what_the_ledger_has(strategy: str, run: Path) -> None:
    fills = [event for event in recorded(run, strategy) if isinstance(event, events.OrderFilled)][:12]
    assert fills

    for fill in fills:
        explanation = explain_event(run, f"{strategy}-{fill.seq}", is_event=True)

        assert explanation.is_same
        assert explanation.settlement is not None and explanation.settlement.is_accounted_for, explanation
        assert explanation.after["balances"]["USD"] == f"{fill.cash:f}".rstrip("0").rstrip(".")
        assert Decimal(explanation.after["positions"].get(fill.symbol, {}).get("quantity", "0")) == fill.position


def test_a_fill_is_followed_back_to_what_the_strategy_asked_and_answered(run: Path) -> None:
    [fill, *_] = [event for event in recorded(run, "curious") if isinstance(event, events.OrderFilled)]

    explanation = explain_event(run, f"curious-{fill.seq}")

    decision = explanation.decision
    assert decision is not None
    assert decision.seen["symbol"] == fill.symbol and decision.seen["kind"] == "trade"
    assert decision.answer == [
        {"action": "buy", "symbol": fill.symbol, "size": 10.0, "stop_loss": decision.seen["price"] * 0.9999}
    ]
    asked = {question.asked: question.answer for question in decision.asked}
    assert {"book()", "recent_trades(n=3)", "candles(interval='5s', n=2)", "mids", "prices['BTC/USD']"} <= set(asked)
    assert asked[f"quote({fill.symbol!r})"]["bid"] == decision.seen["bid"]
    assert len(asked["recent_trades(n=3)"]) == 3
    assert decision.config == {"size": 10.0}
    assert decision.state_before["seen"][fill.symbol] + 1 == decision.state_after["seen"][fill.symbol] == 9
    assert [step.type for step in explanation.life][:3] == ["SignalRaised", "OrderSubmitted", "OrderFilled"]
    assert explanation.life[2].after_ns == 50_000_000
    ticks = [tick["seq"] for tick in explanation.neighbors]
    assert fill.tick_seq in ticks and ticks == list(range(ticks[0], ticks[0] + len(ticks)))


def test_an_exit_is_followed_back_to_the_signal_that_set_it(run: Path) -> None:
    history = recorded(run, "curious")
    orders = [event for event in history if isinstance(event, events.OrderSubmitted)]
    exits = {order.order_id for order in orders if order.purpose == "stop_loss"}
    fill = next(event for event in history if isinstance(event, events.OrderFilled) and event.order_id in exits)

    explanation = explain_event(run, f"curious-{fill.seq}", is_event=True)

    assert "stop_loss that its signal to buy had set" in explanation.answer
    assert "StopTriggered" in [step.type for step in explanation.life]


def test_an_order_and_a_signal_stand_for_what_became_of_them(run: Path) -> None:
    fill = next(event for event in recorded(run, "eager") if isinstance(event, events.OrderFilled))

    assert explain_event(run, "eager-s1").question == f"eager-{fill.seq} OrderFilled"
    assert explain_event(run, "eager-0").question == "eager-0 PortfolioOpened"
    assert explain_event(run, "eager-1").question == f"eager-{fill.seq} OrderFilled"
    assert explain_event(run, "eager-1", is_event=True).question == "eager-1 SignalRaised"


def test_an_order_can_be_named_where_a_fill_has_its_number(run: Path) -> None:
    history = recorded(run, "eager")
    fills = {event.seq: event for event in history if isinstance(event, events.OrderFilled)}
    last = {fill.order_id: seq for seq, fill in fills.items()}
    seq = next(seq for seq in fills if f"eager-{seq}" in last)

    assert explain_event(run, f"eager-{seq}").question == f"eager-{seq} OrderFilled"
    assert explain_event(run, f"eager-{seq}", is_order=True).question == f"eager-{last[f'eager-{seq}']} OrderFilled"


def test_the_levels_that_an_order_reaches_add_up_to_it(run: Path) -> None:
    fill = next(event for event in recorded(run, "eager") if isinstance(event, events.OrderFilled))

    settlement = explain_event(run, f"eager-{fill.seq}", is_event=True).settlement

    assert settlement is not None
    assert sum(level.taken for level in settlement.levels) == fill.quantity
    assert settlement.met is not None
    touch = settlement.met["ask"] if fill.side == "buy" else settlement.met["bid"]
    assert float(settlement.levels[0].price) == touch


@pytest.mark.parametrize("strategy", ["curious", "maker"])
def test_watching_every_decision_changes_none(strategy: str, run: Path) -> None:
    manifest = read_manifest(run)
    made_of = ingredients(run, manifest, only=strategy)

    watched = retrace(made_of, manifest.tape.stop_seq, range(manifest.tape.stop_seq))

    history = recorded(run, strategy)
    assert len(watched.decisions) == watched.calls > 20
    assert watched.events == history[: len(watched.events)]
    assert len(watched.events) >= len(history) - 1  # the last mark comes when the tape is over


def test_a_run_that_goes_on_is_explained_as_far_as_it_has_come(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    manifest = json.loads((folder / "run.json").read_text())
    manifest["tape"] |= {"stop_seq": 0, "identity": "", "paths": [{"given": str(run.parent / "tape.parquet")}]}
    (folder / "run.json").write_text(json.dumps(manifest | {"status": "running", "digest": None}))
    fill = next(event for event in recorded(run, "eager") if isinstance(event, events.OrderFilled))

    assert explain_event(folder, f"eager-{fill.seq}", is_event=True).is_same
    assert explain_moment(folder, "eager", fill.ts).is_same


# -- moments without a fill ----------------------------------------------------------------------------------

SECOND = 1_000_000_000


class Stage(Place):
    """A tape of one's own, a strategy on it, and moments of it."""

    def moment(self, source: str, at: int, *rows: tuple[int, Tick]) -> Explanation:
        """What is said of a strategy at second `at` of a tape of these ticks."""
        with TapeWriter(self.folder / "tape.parquet", "kraken", source="a test") as writer:
            for second, tick in rows:
                writer.append_feed(second * SECOND, [tick])
        self.strategy("it", source)
        assert self.wspt("replay", "tape.parquet", "--out", "run").code == 0
        return explain_moment(self.folder / "run", "it", at * SECOND)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def touch(bid: float, ask: float, symbol: str = BTC) -> Tick:
    return Tick(kind=Kind.QUOTE, symbol=symbol, bid=bid, bid_size=1.0, ask=ask, ask_size=1.0, flags=LAST_OF_MESSAGE)


def lost() -> Tick:
    return Tick(kind=Kind.FEED, note='{"event":"disconnected"}', flags=LAST_OF_MESSAGE)


def a_strategy(body: str, **names: Any) -> str:
    """A module with these names and this body of generate_signal."""
    settings = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return f"from engine import Signal\n{settings}\ndef generate_signal(data, config, state):\n    {body}\n"


QUOTES = [(second, touch(99.0, 101.0)) for second in range(1, 6)]
TALKS_OF_TWO = [*QUOTES[:2], (3, touch(1.0, 2.0, XRP)), *QUOTES[3:]]
LOSES = [*QUOTES[:2], (3, lost()), (4, Tick(kind=Kind.TRADE, symbol=BTC, side=1, price=100.0, size=1.0)), QUOTES[4]]


@pytest.mark.parametrize(
    ("source", "rows", "at", "answer"),
    [
        (a_strategy("return None"), QUOTES, 3, "was asked and answered None."),
        (a_strategy("return None", TRIGGER="trade"), QUOTES, 3, "its trigger is trade, the tick is of kind quote."),
        (a_strategy("return None", TRIGGER="trade"), QUOTES, 3, "It had not been asked before."),
        (
            a_strategy("return None", TRIGGER="every:10s"),
            QUOTES,
            3,
            "every 10 s, and did not fire",
        ),
        (a_strategy("return None", SYMBOLS=[BTC]), TALKS_OF_TWO, 3, "it watches BTC/USD, the tick is of XRP/USD."),
        (a_strategy("return None", SYMBOLS=[BTC]), TALKS_OF_TWO, 3, "It was last asked at tick 1."),
        (a_strategy("return None"), LOSES, 3, "the tick is of kind feed, which triggers nobody."),
        (a_strategy("return None"), LOSES, 4, "the market of BTC/USD was stale"),
        (a_strategy("1 / 0"), QUOTES, 1, "was asked and failed: ZeroDivisionError at line 4."),
        (a_strategy("1 / 0"), QUOTES, 3, "it failed at tick 0 (ZeroDivisionError) and is not asked again"),
        (a_strategy("return Signal('sell', data.symbol, 5)"), QUOTES, 2, "rejected: no long position."),
        (a_strategy("return Signal('buy', data.symbol, 5)"), QUOTES, 2, "was asked and signaled: buy BTC/USD."),
    ],
)
def test_why_nothing_happened_is_told(
    source: str, rows: list[tuple[int, Tick]], at: int, answer: str, stage: Stage
) -> None:
    explanation = stage.moment(source, at, *rows)

    assert answer in explanation.answer
    assert explanation.is_same
    assert explanation.tick_seq == at - 1


def test_a_failure_shows_the_line_that_raised(stage: Stage) -> None:
    decision = stage.moment(a_strategy("state['x'] = 1; return state['y']"), 1, *QUOTES).decision

    assert decision is not None
    assert "KeyError: 'y'" in decision.failure
    assert (decision.state_before, decision.state_after) == ({}, {"x": 1})


def test_a_moment_between_two_ticks_is_that_of_the_one_before(stage: Stage) -> None:
    stage.moment(a_strategy("return None"), 1, *QUOTES)

    assert explain_moment(stage.folder / "run", "it", 3 * SECOND + 5).tick_seq == 2
    assert explain_moment(stage.folder / "run", "it", 4 * SECOND - 1).tick_seq == 2


# -- the command ---------------------------------------------------------------------------------------------


def test_people_read_the_story_and_machines_the_whole(place: Place) -> None:
    told = place.wspt("explain", "run", "eager-1")
    said = place.wspt("explain", "run", "eager-1", "--json")

    assert (told.code, said.code) == (0, 0), told.err
    for heading in ("what it saw at tick", "what became of it", "what the order met", "before ", "ticks around"):
        assert heading in told.out
    assert said.json["settlement"]["is_accounted_for"] is True
    assert said.json["answer"] in told.out


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no question": (["run"], "expected a fill such as NAME-12, or --at TIME"),
    "two questions": (["run", "eager-1", "--at", "5"], "expected a fill such as NAME-12, or --at TIME"),
    "no such strategy": (["run", "eagre-1"], "expected a strategy of the run, curious, eager, maker; did you mean"),
    "no number": (["run", "eager"], "eager: expected STRATEGY-NUMBER, such as curious-12"),
    "no such event": (["run", "eager-999999"], "eager-999999: expected an event of eager up to eager-"),
    "no such signal": (["run", "eager-s999999"], "eager-s999999: expected an order or signal of eager"),
    "too early": (
        ["run", "--at", "5", "--strategy", "eager"],
        "--at 1970-01-01T00:00:00.000000005: expected a time of the run, ",
    ),
    "no time": (["run", "--at", "noon", "--strategy", "eager"], "--at noon: expected a time such as"),
    "whose": (["run", "--at", "5"], "expected --strategy with one of curious, eager, maker"),
    "not theirs": (["run", "--at", "5", "--strategy", "eagr"], "--strategy eagr: expected one of"),
    "no such order": (["run", "eager-999999", "--order"], "eager-999999: expected an order or signal of eager"),
    "both": (["run", "eager-1", "--order", "--event"], "explain: expected --event or --order, found both"),
    "no run": (["nowhere", "eager-1"], "nowhere: expected a run's folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str, place: Place, run: Path) -> None:
    words, sentence = MISTAKES[mistake]

    answer = place.wspt("explain", *words)

    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err and answer.err.count("\n") == 1


def test_a_run_whose_code_was_changed_is_not_explained(tmp_path: Path, stage: Stage) -> None:
    stage.moment(a_strategy("return None"), 1, *QUOTES)
    saved = stage.folder / "run" / "strategies" / "it.py"
    saved.write_text(saved.read_text() + "\n")

    with pytest.raises(UserProblem, match="expected the code that ran"):
        explain_moment(stage.folder / "run", "it", SECOND)
