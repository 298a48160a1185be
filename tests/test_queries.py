"""The views over a run say what its events say, and the console reads and never writes."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apps.queries import ALL_VIEWS, Connection, QueryProblem, open_run, rows, table
from engine import events
from engine.events import Event
from engine.money import money
from engine.ticks import Kind, Tick
from recorder.ledger import LedgerWriter
from recorder.runs import Manifest, RunProblem, TapeReference, create_run, tape_path, write_manifest
from recorder.tape import TapeWriter

SECOND = 1_000_000_000
BTC = "BTC/USD"


class History:
    """Writes down what a desk did, a second a fact; amounts are text."""

    def __init__(self, name: str = "ema", cash: str = "100") -> None:
        self.name = name
        self.events: list[Event] = []
        self._id = ""
        self._add(events.PortfolioOpened, currency="USD", cash=money(cash))

    def signal(self, action: str = "buy", **rest: Any) -> None:
        self._id = str(len(self.events))
        known: dict[str, Any] = {"size": 20.0, "size_in": "quote", "order_type": "market", "reason": "a hunch"}
        known["time_in_force"] = "gtc"
        self._add(events.SignalRaised, action=action, **self._about(), **known | rest)

    def reject(self, reason: str) -> None:
        self._add(events.SignalRejected, reason=reason, **self._about())

    def order(self, side: str = "buy", **rest: Any) -> None:
        known: dict[str, Any] = {"order_type": "market", "time_in_force": "gtc", "purpose": "signal"}
        known["arrives_at"] = len(self.events) * SECOND
        self._add(events.OrderSubmitted, order_id=self._id, side=side, **self._about(), **known | rest)

    def fill(self, position: str, realized: str = "0", *, symbol: str = BTC, **rest: Any) -> None:
        """A fill that left `position`; without a signal of its own where none is given."""
        known: dict[str, str] = {"price": "50000", "quantity": "1", "fee": "0", "cash": "80", "cost": "20"} | rest
        amounts = {name: money(text) for name, text in known.items() if name != "side"}
        self._add(
            events.OrderFilled,
            order_id=self._id,
            correlation_id=self._id,
            symbol=symbol,
            side=rest.get("side", "buy"),
            liquidity="taker",
            realized=money(realized),
            position=money(position),
            **amounts,
        )

    def order_fact(self, kind: type[Any], **rest: Any) -> None:
        self._add(kind, order_id=self._id, **self._about(), **rest)

    def triggered(self) -> None:
        self._add(
            events.StopTriggered, order_id=self._id, **self._about(), kind="stop", level=money("2"), price=money("2")
        )

    def mark(self, equity: str | None, cash: str = "80") -> None:
        self._add(events.PortfolioMarked, cash=money(cash), equity=None if equity is None else money(equity))

    def fail(self) -> None:
        self._add(
            events.StrategyFailed, where="generate_signal", exception="ValueError", file="strategies/ema.py", line=12
        )

    def halt(self, reason: str) -> None:
        self._add(events.DeskHalted, reason=reason)

    def _about(self) -> dict[str, Any]:
        return {"correlation_id": self._id, "symbol": BTC}

    def _add(self, kind: type[Any], /, **fields: Any) -> None:
        seq = len(self.events)
        self.events.append(kind(strategy=self.name, seq=seq, tick_seq=seq, ts=seq * SECOND, **fields))


class Console:
    """Opens a run that desks with these histories have left behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[Connection] = []

    def close(self) -> None:
        for con in self._open:
            con.close()

    def over(self, *desks: History, tape: Path | None = None, stop_seq: int = 1 << 62) -> Connection:
        run = create_run(self._folder / "it's a run")
        with LedgerWriter(run / "ledger") as writer:
            for desk in desks:
                writer.append(desk.events)
        manifest = Manifest(
            status="finished",
            kind="replay",
            simulated=False,
            created="2026-01-01T00:00:00Z",
            configuration={},
            strategies={},
            libraries={},
            tape=TapeReference(
                paths=[tape_path(str(tape), run)] if tape else [],
                venue="kraken",
                identity="",
                first_seq=0,
                stop_seq=stop_seq,
            ),
            segments=["seg-000000.parquet"],
        )
        write_manifest(run, manifest)
        self._open.append(open_run(run))
        return self._open[-1]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path)
    yield console
    console.close()


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A quote every half second, a trade, and a feed row."""
    path = tmp_path / "btc.parquet"
    with TapeWriter(path, "kraken", source="a test") as writer:
        for half in range(1, 11):
            quote = Tick(kind=Kind.QUOTE, symbol=BTC, bid=float(half), bid_size=1.0, ask=half + 0.5, ask_size=1.0)
            writer.append_feed(half * SECOND // 2, [quote])
        writer.append_feed(6 * SECOND, [Tick(kind=Kind.TRADE, symbol=BTC, side=-1, price=9.5, size=2.0)])
        writer.append_feed(7 * SECOND, [Tick(kind=Kind.FEED, note='{"event":"gap"}')])
    return path


def test_a_signal_knows_whether_it_was_rejected(console: Console) -> None:
    desk = History()
    desk.signal(stop_loss=49000.5)
    desk.signal()
    desk.reject("below minimum notional")

    con = console.over(desk)

    _, found = table(con, "SELECT seq, size, stop_loss, rejected, rejection FROM signals ORDER BY seq")
    assert found == [(1, 20.0, 49000.5, False, None), (2, 20.0, None, True, "below minimum notional")]


def test_an_order_knows_what_became_of_it(console: Console) -> None:
    desk = History()
    for end in (None, events.OrderRested, events.OrderCanceled, events.OrderExpired, events.OrderRejected):
        desk.signal()
        desk.order(notional=money("20"))
        if end is not None:
            reasons = {"reason": "because"} if "reason" in end.__struct_fields__ else {}
            desk.order_fact(end, **reasons)
    desk.signal()
    desk.order(quantity=money("3"))
    desk.fill("1")
    desk.fill("2", left="1")
    desk.signal()
    desk.order(quantity=money("3"))
    desk.fill("1", left="2")
    desk.fill("2")  # less than it wanted, and over: a sell was cut to what was held
    desk.signal()
    desk.order(quantity=money("1"), stop_price=money("2"))
    desk.order_fact(events.OrderRested)
    desk.signal()
    desk.order(quantity=money("1"), stop_price=money("2"))
    desk.order_fact(events.OrderRested)
    desk.triggered()

    con = console.over(desk)

    _, found = table(con, "SELECT status, reason, fills, filled FROM orders ORDER BY seq")
    assert found == [
        ("submitted", None, 0, 0),
        ("resting", None, 0, 0),
        ("canceled", "because", 0, 0),
        ("expired", None, 0, 0),
        ("rejected", "because", 0, 0),
        ("partially filled", None, 2, 2),
        ("filled", None, 2, 2),
        ("waiting", None, 0, 0),
        ("triggered", None, 0, 0),
    ]


def test_a_fill_has_the_reason_and_metadata_of_its_signal(console: Console) -> None:
    desk = History()
    desk.signal(reason="fast over slow", metadata='{"fast":1.5}')
    desk.order()
    desk.fill("1", "-0.05", fee="0.05")

    con = console.over(desk)

    [fill] = rows(con, "FROM fills")
    assert fill == {
        "strategy": "ema",
        "seq": 3,
        "tick_seq": 3,
        "ts": 3 * SECOND,
        "symbol": BTC,
        "side": "buy",
        "price": "50000",
        "quantity": "1",
        "fee": "0.05",
        "liquidity": "taker",
        "order_id": "1",
        "correlation_id": "1",
        "realized": "-0.05",
        "reason": "fast over slow",
        "position": "1",
        "cost": "20",
        "cash": "80",
        "rate": None,
        "remaining": None,
        "fee_base": None,
        "mid_at_decision": None,
        "mid_at_arrival": None,
        "spread_cost": None,
        "slippage_cost": None,
        "metadata": '{"fast":1.5}',
    }


def test_the_fill_of_an_exit_has_the_exit_as_its_reason(console: Console) -> None:
    desk = History()
    desk.signal()
    desk.order(purpose="stop_loss")
    desk.fill("0")

    con = console.over(desk)

    assert rows(con, "SELECT reason FROM fills") == [{"reason": "stop_loss"}]


def test_the_same_id_of_another_desk_is_another_order(console: Console) -> None:
    ours, theirs = History("a"), History("b")
    for desk, reason in ((ours, "ours"), (theirs, "theirs")):
        desk.signal(reason=reason)
        desk.order()
        desk.fill("1")

    con = console.over(ours, theirs)

    _, found = table(con, "SELECT strategy, reason FROM fills ORDER BY strategy")
    assert found == [("a", "ours"), ("b", "theirs")]


def test_positions_are_what_each_fill_left(console: Console) -> None:
    desk = History()
    desk.fill("2", "-0.1", cost="100")
    desk.fill("1", "5", cost="50")
    desk.fill("-3", symbol="ETH/USD", cost="-30")

    con = console.over(desk)

    _, found = table(con, "SELECT symbol, position, entry_price, realized FROM positions ORDER BY seq")
    assert found == [
        (BTC, 2, 50.0, Decimal("-0.1")),
        (BTC, 1, 50.0, Decimal("4.9")),
        ("ETH/USD", -3, 10.0, 0),
    ]
    assert table(con, "SELECT symbol, position FROM positions_now")[1] == [(BTC, 1), ("ETH/USD", -3)]


def test_equity_begins_with_the_opening_cash(console: Console) -> None:
    desk = History()
    desk.mark("101.5")
    desk.mark(None)

    con = console.over(desk)

    assert table(con, "SELECT strategy, ts, cash, equity FROM equity ORDER BY seq")[1] == [
        ("ema", 0, 100, 100),
        ("ema", SECOND, 80, Decimal("101.5")),
        ("ema", 2 * SECOND, 80, None),
    ]


ROUND_TRIPS = """
SELECT opened // 1000000000, closed // 1000000000, side, quantity, pnl, fees, fills FROM round_trips ORDER BY opened
"""


def test_a_round_trip_goes_from_flat_to_flat(console: Console) -> None:
    desk = History()
    desk.fill("1", "-1", fee="1")
    desk.fill("3", "-1", fee="1")
    desk.fill("0", "10", fee="1")
    desk.fill("-2", "-1", fee="1")
    desk.fill("0", "-4", fee="1")
    desk.fill("1", "-1", fee="1")

    con = console.over(desk)

    assert table(con, ROUND_TRIPS)[1] == [(1, 3, "long", 3, 8, 3, 3), (4, 5, "short", 2, -5, 2, 2)]


def test_a_fill_through_zero_ends_one_round_trip_and_begins_the_next(console: Console) -> None:
    desk = History()
    desk.fill("2", "-1", fee="1")
    desk.fill("-5", "7", fee="1")
    desk.fill("0", "3", fee="1")

    con = console.over(desk)

    assert table(con, ROUND_TRIPS)[1] == [(1, 2, "long", 2, 6, 2, 2), (2, 3, "short", 5, 3, 1, 1)]


def test_a_round_trip_has_the_average_prices_of_its_way_in_and_out(console: Console) -> None:
    desk = History()
    desk.fill("1", price="100")
    desk.fill("4", price="104")
    desk.fill("1", price="110")
    desk.fill("-2", price="106")  # ends it, and begins a short one of two
    desk.fill("-3", price="103")
    desk.fill("0", price="90")

    con = console.over(desk)

    assert table(con, "SELECT side, entry_price, exit_price FROM round_trips ORDER BY opened")[1] == [
        ("long", 103, 109),
        ("short", 105, 90),
    ]


def test_round_trips_of_desks_and_symbols_do_not_mix(console: Console) -> None:
    ours, theirs = History("a"), History("b")
    ours.fill("1")
    ours.fill("1", symbol="ETH/USD")
    theirs.fill("1")
    ours.fill("0", "1")

    con = console.over(ours, theirs)

    assert table(con, "SELECT strategy, symbol, pnl FROM round_trips")[1] == [("a", BTC, 1)]


def test_profit_in_another_currency_counts_in_the_desks(console: Console) -> None:
    desk = History()
    desk.fill("1", "-0.001", symbol="XRP/BTC", fee="0.001", rate="50000")
    desk.fill("0", "0.003", symbol="XRP/BTC", fee="0.001", rate="60000")

    con = console.over(desk)

    assert rows(con, "SELECT pnl, fees FROM round_trips") == [{"pnl": "130", "fees": "110"}]
    assert rows(con, "SELECT fees FROM leaderboard") == [{"fees": "110"}]


def test_the_leaderboard_sums_up_a_desk(console: Console) -> None:
    desk = History()
    desk.signal()
    desk.fill("1", "-1", fee="1")
    desk.mark("80")
    desk.fill("0", "5", fee="1")
    desk.mark("110")
    desk.signal()
    desk.reject("insufficient cash")
    desk.fill("1", "-1", fee="1")
    desk.fill("0", "-1", fee="1")
    desk.mark("99")
    desk.fill("1", "-1", fee="0.5")
    desk.mark("101")

    con = console.over(desk)

    assert rows(con, "FROM leaderboard") == [
        {
            "name": "ema",
            "equity": "101",
            "pnl": "1",
            "roi_pct": 1.0,
            "fees": "4.5",
            "fills": 5,
            "round_trips": 2,
            "win_rate": 0.5,
            "profit_factor": 2.0,
            "max_drawdown_pct": 20.0,
            "open_positions": 1,
            "signals": 2,
            "rejected": 1,
            "status": "ok",
        }
    ]


def test_zero_trades_means_zero_profit(console: Console) -> None:
    desk = History()
    desk.mark("100", cash="100")

    con = console.over(desk)

    [row] = rows(con, "FROM leaderboard")
    assert (row["pnl"], row["roi_pct"], row["fees"], row["fills"], row["max_drawdown_pct"]) == ("0", 0.0, "0", 0, 0.0)
    assert (row["win_rate"], row["profit_factor"]) == (None, None)


def test_a_desk_without_a_loss_has_no_profit_factor(console: Console) -> None:
    desk = History()
    desk.fill("1")
    desk.fill("0", "5")

    con = console.over(desk)

    assert rows(con, "SELECT win_rate, profit_factor FROM leaderboard") == [{"win_rate": 1.0, "profit_factor": None}]


def test_a_round_trip_that_breaks_even_is_no_win(console: Console) -> None:
    desk = History()
    desk.fill("1", "-1")
    desk.fill("0", "1")

    con = console.over(desk)

    assert rows(con, "SELECT win_rate FROM leaderboard") == [{"win_rate": 0.0}]


def test_desks_are_ranked_by_equity_then_name_and_unknown_comes_last(console: Console) -> None:
    desks = {name: History(name) for name in ("d", "c", "b", "a")}
    for name, equity in (("a", None), ("b", "90"), ("c", "110"), ("d", "90")):
        desks[name].mark(equity)

    con = console.over(*desks.values())

    assert table(con, "SELECT name, pnl FROM leaderboard")[1] == [("c", 10), ("b", -10), ("d", -10), ("a", None)]


def test_a_desk_that_stopped_says_why(console: Console) -> None:
    failed, halted = History("failed"), History("halted")
    failed.fail()
    failed.halt("it failed")
    halted.halt("max drawdown")

    con = console.over(failed, halted)

    assert table(con, "SELECT status FROM leaderboard ORDER BY name")[1] == [
        ("failed: ValueError at ema.py:12",),
        ("halted: max drawdown",),
    ]


def test_the_tape_is_there_by_kind_and_without_frames(console: Console, tape: Path) -> None:
    con = console.over(History(), tape=tape)

    assert table(con, "SELECT kind, count(*) FROM ticks GROUP BY kind ORDER BY kind")[1] == [
        ("feed", 1),
        ("quote", 10),
        ("trade", 1),
    ]
    assert table(con, "SELECT side, price, size FROM trades")[1] == [("sell", 9.5, 2.0)]
    assert table(con, "SELECT event FROM feed")[1] == [("gap",)]
    assert "frame" not in table(con, "FROM ticks LIMIT 0")[0]


def test_the_tape_ends_where_the_run_ended(console: Console, tape: Path) -> None:
    con = console.over(History(), tape=tape, stop_seq=4)

    assert table(con, "SELECT max(seq) FROM ticks")[1] == [(3,)]


@pytest.mark.parametrize("view", sorted(ALL_VIEWS))
def test_a_run_opened_for_one_query_alone_gives_the_same_answer(
    view: str, console: Console, tape: Path, tmp_path: Path
) -> None:
    desk = History()
    desk.signal()
    desk.order()
    desk.fill("1", "-1", fee="1")
    desk.mark("80")
    desk.fill("0", "5", fee="1")
    desk.mark("110")
    whole = console.over(desk, tape=tape)
    asked = f"FROM {view.upper()}"

    with open_run(tmp_path / "it's a run", only_for=asked) as alone:
        assert rows(alone, asked) == rows(whole, asked)


def test_one_query_joins_a_fill_with_the_quotes_of_the_second_before_it(console: Console, tape: Path) -> None:
    desk = History()
    desk.mark("100")
    desk.fill("1")

    con = console.over(desk, tape=tape)

    _, found = table(
        con,
        """
        SELECT fills.ts, quotes.ts_recv, quotes.ask
        FROM fills JOIN quotes ON quotes.symbol = fills.symbol
            AND quotes.ts_recv BETWEEN fills.ts - 1000000000 AND fills.ts
        ORDER BY quotes.seq
        """,
    )
    assert found == [
        (2 * SECOND, SECOND, 2.5),
        (2 * SECOND, 3 * SECOND // 2, 3.5),
        (2 * SECOND, 2 * SECOND, 4.5),
    ]


def test_a_fill_meets_the_last_quote_before_it_in_an_asof_join(console: Console, tape: Path) -> None:
    desk = History()
    desk.fill("1")

    con = console.over(desk, tape=tape)

    _, found = table(
        con,
        """
        SELECT quotes.ask FROM fills ASOF JOIN quotes
            ON quotes.symbol = fills.symbol AND quotes.ts_recv < fills.ts
        """,
    )
    assert found == [(1.5,)]


def test_times_are_nanoseconds_that_duckdb_shows_as_dates(console: Console) -> None:
    desk = History()
    desk.mark("100")

    con = console.over(desk)

    assert rows(con, "SELECT make_timestamp_ns(ts + 1)::VARCHAR AS at FROM equity WHERE seq = 1") == [
        {"at": "1970-01-01 00:00:01.000000001"}
    ]


def test_columns_of_one_name_keep_their_values_under_names_of_their_own(console: Console) -> None:
    con = console.over(History())

    assert rows(con, "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a") == [{"a": 1, "a_3": 2, "a_2": 3, "a_4": 4}]


def test_rows_are_json(console: Console) -> None:
    con = console.over(History())

    assert rows(
        con,
        """
        SELECT 1.500::DECIMAL(38, 12) AS a, 0::DECIMAL(38, 12) AS b, 100::DECIMAL(38, 0) AS c, 0.1::DOUBLE AS d,
            'nan'::DOUBLE AS e, '-inf'::DOUBLE AS f, 9007199254740993 AS g, NULL AS h, true AS i,
            [1.0::DECIMAL(3, 1)] AS j, {'k': 'inf'::DOUBLE} AS k,
            -0.000000000001::DECIMAL(38, 12) AS l, DATE '2026-01-02' AS m
        """,
    ) == [
        {
            "a": "1.5",
            "b": "0",
            "c": "100",
            "d": 0.1,
            "e": None,
            "f": None,
            "g": 9007199254740993,
            "h": None,
            "i": True,
            "j": ["1"],
            "k": {"k": None},
            "l": "-0.000000000001",
            "m": "2026-01-02",
        }
    ]


@pytest.mark.parametrize("query", ["SELEC 1", "SELECT nothing FROM fills", "FROM nowhere", "SELECT 'x'::INTEGER"])
def test_a_mistake_in_a_query_is_one_sentence(console: Console, query: str) -> None:
    con = console.over(History())

    with pytest.raises(QueryProblem) as problem:
        table(con, query)

    assert "\n" not in str(problem.value)
    assert "Error: " in str(problem.value)


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{run}/ledger/seg-000000.parquet' (USE_TMP_FILE false)",
        "COPY (SELECT 1) TO '{run}/new.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{run}/new.csv'",
        "SELECT 1; COPY (SELECT 1) TO '{run}/new.csv'",
        "FROM read_text('/etc/passwd')",
        "FROM read_csv('/etc/passwd')",
        "FROM '/etc/passwd'",
        "FROM glob('/etc/*')",
        "FROM read_text('{run}/run.json')",
        "ATTACH '{run}/new.duckdb'",
        "EXPORT DATABASE '{run}/new'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "CREATE TABLE events (i INTEGER)",
        "DROP VIEW fills",
        "CREATE SECRET (TYPE s3)",
        "",
    ],
)
def test_a_hostile_query_reads_no_other_file_and_writes_none(console: Console, tmp_path: Path, query: str) -> None:
    con = console.over(History())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    with pytest.raises(QueryProblem):
        table(con, query.format(run=str(tmp_path / "it's a run").replace("'", "''")))

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_query_does_not_see_the_programs_variables(console: Console) -> None:
    con = console.over(History())
    secret = {"a": [1]}

    with pytest.raises(QueryProblem):
        table(con, "FROM secret")

    assert secret


def test_a_run_whose_tape_is_gone_still_has_its_history(console: Console, tape: Path) -> None:
    console.over(History(), tape=tape).close()
    tape.unlink()

    con = open_run(tape.parent / "it's a run")

    assert len(rows(con, "FROM equity")) == 1


def test_a_run_without_a_ledger_is_refused(tmp_path: Path) -> None:
    manifest = Manifest(
        status="running",
        kind="live",
        simulated=False,
        created="",
        configuration={},
        strategies={},
        libraries={},
        tape=TapeReference(paths=[], venue="kraken", identity="", first_seq=0, stop_seq=0),
    )

    with pytest.raises(RunProblem, match="expected a ledger, found none yet"):
        open_run(tmp_path, manifest)


def test_a_damaged_ledger_is_one_sentence(console: Console, tmp_path: Path) -> None:
    console.over(History()).close()
    (tmp_path / "it's a run" / "ledger" / "seg-000000.parquet").write_bytes(b"PAR1")

    with pytest.raises(QueryProblem) as problem:
        open_run(tmp_path / "it's a run")

    assert "\n" not in str(problem.value)
