"""Same ticks, same history: whatever the shortcuts, the batches and the neighbors."""

from hypothesis import given
from hypothesis import strategies as st

from engine.engine import Engine
from tests.builders import batches, ledgers, lines, replay
from tests.random_desks import TRIGGERS, Cast, casts, desks_of
from tests.random_markets import SYMBOLS, Move, market_of, moves

TRADE = TRIGGERS.index("trade")
TIMED = frozenset({"candle:1s", "every:7s"})
cuts = st.lists(st.integers(0, 60), max_size=6)


@given(moves, casts)
def test_the_shortcuts_give_the_same_events_as_walking_every_row(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of(moves)

    short = replay(desks_of(casts), tape)

    assert lines(short) == lines(replay(desks_of(casts), tape, walk_every_row=True))


@given(moves, casts)
def test_the_shortcuts_for_trades_of_one_symbol_give_the_same_events_too(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of([move._replace(symbol=0, detail=move.detail // 2 * 2) for move in moves])
    casts = [cast._replace(trigger=cast.trigger if TRIGGERS[cast.trigger] in TIMED else TRADE) for cast in casts]

    short = replay(desks_of(casts), tape)

    assert lines(short) == lines(replay(desks_of(casts), tape, walk_every_row=True))


@given(moves, casts, st.integers(1, 9))
def test_how_many_rows_are_walked_together_changes_nothing(
    moves: list[Move], casts: list[Cast], rows_at_once: int
) -> None:
    tape = market_of(moves)

    few_at_once = replay(desks_of(casts), tape, rows_at_once=rows_at_once)

    assert lines(few_at_once) == lines(replay(desks_of(casts), tape))


@given(moves, casts, cuts, st.booleans())
def test_where_a_tape_is_cut_into_batches_changes_nothing(
    moves: list[Move], casts: list[Cast], cuts: list[int], walk_every_row: bool
) -> None:
    tape = market_of(moves)

    whole = replay(desks_of(casts), tape)

    assert lines(replay(desks_of(casts), tape, cuts, walk_every_row=walk_every_row)) == lines(whole)


@given(moves, casts)
def test_batches_of_one_two_and_seven_rows_give_the_same_events(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of(moves)

    whole = lines(replay(desks_of(casts), tape))

    for rows in (1, 2, 7):
        assert lines(replay(desks_of(casts), tape, range(0, len(tape), rows))) == whole


@given(moves, casts)
def test_nothing_comes_of_rows_that_may_wait_for_later_ones(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of(moves)
    engine = Engine(desks_of(casts))

    for row, batch in enumerate(batches(tape, range(len(tape)))):
        may_wait = engine.can_wait([tape.ticks[row]], tape.ts[row])
        events = engine.process(batch)
        assert not (may_wait and events)


@given(moves, casts)
def test_a_desk_has_the_same_history_alone_as_among_neighbors(moves: list[Move], casts: list[Cast]) -> None:
    tape = market_of(moves)

    together = ledgers(replay(desks_of(casts), tape))

    for i in range(len(casts)):
        alone = desks_of(casts)[i]
        assert ledgers(replay([alone], tape)) == {alone.name: together[alone.name]}


@given(moves, casts, st.integers(1, 60))
def test_a_prefix_of_a_tape_gives_a_prefix_of_the_ledger(moves: list[Move], casts: list[Cast], row: int) -> None:
    tape = market_of(moves)

    whole = ledgers(replay(desks_of(casts), tape, is_finished=False))
    begun = ledgers(replay(desks_of(casts), tape.upto(row), is_finished=False))

    for name, ledger in begun.items():
        assert whole[name].startswith(ledger)


@given(moves, casts, cuts)
def test_symbols_named_before_they_are_seen_change_nothing(
    moves: list[Move], casts: list[Cast], cuts: list[int]
) -> None:
    tape = market_of(moves)

    unnamed = replay(desks_of(casts), tape, range(len(tape)))

    assert lines(replay(desks_of(casts), tape, cuts, names=[*reversed(SYMBOLS), "XRP/USD"])) == lines(unnamed)
