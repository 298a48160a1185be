"""Plain orders take a short way through the engine: the same history as by the general one, on whatever market."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.broker
from engine.desk import Desk
from engine.events import OrderFilled
from engine.execution import Instrument
from engine.money import money
from engine.plain import plain_fill
from engine.signals import Signal
from tests.builders import BTC, ETH, ETH_BTC, MS, SECOND, Tape, a_strategy, desk_of, lines, replay, tape_of, trade
from tests.random_markets import Move, market_of, moves

_ACTIONS = ("turn",) * 6 + ("buy", "close", "sell", "short", "cover", None)
"""To turn is to buy where nothing is held, and to close what is."""
_SIZES = (40.0, 7.3, 60.0, 99.9, 100.0, 1.0, 0.004, 1e9, 3, float("nan"))
_SYMBOLS = (BTC, None, None, ETH, ETH_BTC, "XRP/USD")
_TERMS: dict[str, tuple[Any, ...]] = {
    "cash": ("100", "7.77", "1000000"),
    "latency_ns": (50 * MS, 0, 1, 3 * SECOND),
    "jitter_ns": (0, 0, 40 * MS, SECOND),
    "fill_model": ("depth", "touch"),
    "fee_in": ("quote", "quote", "quote", "received"),
    "slippage_bps": ("3", "0", "120", "9999"),
    "taker_bps": ("7.5", "40", "-0.7", "0"),
    "maker_bps": ("5", "25", "-3", "0"),
    "instruments": (
        {},
        {BTC: Instrument(lot_size=money("0.001"), min_notional=money("39.99"))},
        {BTC: Instrument(lot_size=money("0.01"), min_quantity=money("0.05"))},
    ),
}
_TRIGGERS = ("tick", "trade", "every:500ms")
wishes = st.lists(st.tuples(*map(st.sampled_from, (_ACTIONS, _SIZES, _SYMBOLS))), min_size=1, max_size=6)
terms = st.fixed_dictionaries({name: st.sampled_from(choices) for name, choices in _TERMS.items()})
triggers = st.sampled_from(_TRIGGERS)

TRADES, TRADES_AND_QUOTES = range(7), range(13)
"""What a market talks of, as numbers of `random_markets`."""


def decide(data: Any, config: dict[str, Any], state: dict[str, Any], portfolio: Any) -> Signal | None:
    """Wish by wish in a circle."""
    asked = state["asked"] = state.get("asked", -1) + 1
    action, size, symbol = config["wishes"][asked % len(config["wishes"])]
    symbol = symbol or data.symbol
    if action == "turn":
        action = "close" if portfolio.position(symbol) else "buy"
    return None if action is None else Signal(action, symbol, size, reason=f"wish {asked}")


def told(fill: dict[str, Any], state: dict[str, Any]) -> None:
    """What a strategy hears of its fills goes into the ledger with its next signal."""
    state["indicators"] = {"price": fill["price"], "reason": fill["reason"], "cash": fill["cash"]}


def desks_of(wishes: list[Any], terms: dict[str, Any], trigger: str) -> list[Desk]:
    """One desk that wishes these things on these terms."""
    wants = ("data", "config", "state", "portfolio")
    strategy = a_strategy(decide, wants=wants, config={"wishes": wishes}, trigger=trigger, on_fill=told)
    return [desk_of(strategy, **terms)]


def tape_without_book(moves: list[Move], talks: range, *, is_of_one_symbol: bool) -> Tape:
    """A market that talks of these things only."""
    bookless = moves[: len(moves) // 8 * 8 - 1]  # the length for which a random market begins without books
    return market_of(
        [
            move._replace(talk=talks[move.talk % len(talks)], symbol=0 if is_of_one_symbol else move.symbol)
            for move in bookless
        ]
    )


@given(moves, st.sampled_from((TRADES, TRADES, TRADES_AND_QUOTES)), st.booleans(), wishes, terms, triggers)
def test_the_short_way_gives_the_same_history_as_the_general_one(
    moves: list[Move], talks: range, is_of_one_symbol: bool, wishes: list[Any], terms: dict[str, Any], trigger: str
) -> None:
    tape = tape_without_book(moves, talks, is_of_one_symbol=is_of_one_symbol)

    short = replay(desks_of(wishes, terms, trigger), tape, rows_at_once=1 + len(moves) % 7)

    assert lines(short) == lines(replay(desks_of(wishes, terms, trigger), tape, walk_every_row=True))


@given(moves, wishes, terms, triggers)
def test_on_markets_with_books_too(moves: list[Move], wishes: list[Any], terms: dict[str, Any], trigger: str) -> None:
    tape = market_of(moves)

    short = replay(desks_of(wishes, terms, trigger), tape)

    assert lines(short) == lines(replay(desks_of(wishes, terms, trigger), tape, walk_every_row=True))


@pytest.mark.parametrize("seed", range(30))
def test_over_a_longer_time_too(seed: int) -> None:
    chance = random.Random(seed)
    talks = (TRADES, TRADES, TRADES_AND_QUOTES)[seed % 3]
    numbers = [Move(*(chance.randrange(count) for count in (8, len(talks), 3, 13, 8))) for _ in range(400)]
    tape = tape_without_book(numbers, talks, is_of_one_symbol=seed % 2 == 0)
    wishes = [tuple(map(chance.choice, (_ACTIONS, _SIZES, _SYMBOLS))) for _ in range(50)]
    terms = {name: chance.choice(choices) for name, choices in _TERMS.items()} | {"fee_in": "quote"}

    short = replay(desks_of(wishes, terms, _TRIGGERS[seed % 2]), tape)

    assert lines(short) == lines(replay(desks_of(wishes, terms, _TRIGGERS[seed % 2]), tape, walk_every_row=True))


def test_a_plain_buy_and_its_sale_do_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[OrderFilled | None] = []

    def overheard(*given: Any) -> OrderFilled | None:
        filled.append(plain_fill(*given))
        return filled[-1]

    monkeypatch.setattr(engine.broker, "plain_fill", overheard)
    tape = tape_of(*(trade(row * SECOND, 100.0 + row) for row in range(1, 6)))
    wishes = [("buy", 40.0, None), ("close", 0.0, None)]

    events = replay(desks_of(wishes, {}, "trade"), tape)

    assert filled == [event for event in events if isinstance(event, OrderFilled)]
    assert [fill.side for fill in filled if fill is not None] == ["buy", "sell", "buy", "sell", "buy"]
