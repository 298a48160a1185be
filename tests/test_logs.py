"""The logs of a run: strict JSON Lines, in which a fill knows why it happened."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from engine.events import Event, OrderFilled, PortfolioOpened, SignalRaised
from engine.money import ZERO, money
from recorder.logs import LogWriter, write_logs


def a_history(strategy: str = "ema") -> list[Event]:
    """An opening, and a signal with metadata that is filled."""
    about: dict[str, Any] = {"strategy": strategy, "tick_seq": 7, "ts": 9}
    traded: dict[str, Any] = about | {"correlation_id": "ema-1", "symbol": "BTC/USD"}
    return [
        PortfolioOpened(seq=0, currency="USD", cash=money("100"), **about),
        SignalRaised(
            seq=1,
            action="buy",
            size=20.0,
            size_in="quote",
            order_type="market",
            time_in_force="gtc",
            reason="fast over slow",
            metadata='{"fast":1.5}',
            **traded,
        ),
        OrderFilled(
            seq=2,
            order_id="ema-1",
            side="buy",
            price=money("50000"),
            quantity=money("0.0004"),
            fee=money("0.05"),
            liquidity="taker",
            realized=money("-0.05"),
            cash=money("79.95"),
            position=money("0.0004"),
            cost=ZERO,
            **traded,
        ),
    ]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=_refuse) for line in path.read_text().splitlines()]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_each_strategy_has_a_log_of_all_its_events(tmp_path: Path) -> None:
    write_logs(tmp_path, {"rsi": a_history("rsi")[:1], "ema": a_history()})

    ema = lines(tmp_path / "logs" / "strategies" / "ema.jsonl")
    assert [line["type"] for line in ema] == ["PortfolioOpened", "SignalRaised", "OrderFilled"]
    assert [line["tick_seq"] for line in ema] == [7, 7, 7]
    assert [line["strategy"] for line in lines(tmp_path / "logs" / "strategies" / "rsi.jsonl")] == ["rsi"]


def test_a_fill_is_logged_with_the_reason_and_metadata_of_its_signal(tmp_path: Path) -> None:
    write_logs(tmp_path, {"ema": a_history()})

    [trade] = lines(tmp_path / "logs" / "trades.jsonl")
    assert (trade["reason"], trade["metadata"], trade["indicators"]) == ("fast over slow", {"fast": 1.5}, None)
    assert (trade["correlation_id"], trade["tick_seq"], trade["price"]) == ("ema-1", 7, "50000.000000000000")


def test_the_same_id_of_another_desk_does_not_lend_its_reason(tmp_path: Path) -> None:
    [_, signal, _], [_, _, fill] = a_history("rsi"), a_history("ema")

    write_logs(tmp_path, {"rsi": [signal], "ema": [fill]})

    [trade] = lines(tmp_path / "logs" / "trades.jsonl")
    assert (trade["strategy"], trade["reason"]) == ("ema", "")


def test_logs_grow_batch_by_batch_to_the_same_bytes(tmp_path: Path) -> None:
    write_logs(tmp_path / "at once", {"ema": a_history()})

    with LogWriter(tmp_path / "by and by") as logs:
        for event in a_history():
            logs.append("ema", [event])

    for name in ("trades.jsonl", "strategies/ema.jsonl"):
        once, by_and_by = (tmp_path / place / "logs" / name for place in ("at once", "by and by"))
        assert by_and_by.read_bytes() == once.read_bytes()


def test_a_signal_of_infinite_size_is_logged_as_null(tmp_path: Path) -> None:
    [_, signal, _] = a_history()
    fields = {name: getattr(signal, name) for name in signal.__struct_fields__}

    write_logs(tmp_path, {"ema": [SignalRaised(**fields | {"size": float("inf")})]})

    assert [line["size"] for line in lines(tmp_path / "logs" / "strategies" / "ema.jsonl")] == [None]


def test_every_line_has_a_tick_and_a_correlation_id_or_null(tmp_path: Path) -> None:
    write_logs(tmp_path, {"ema": a_history()})

    opened, raised, filled = lines(tmp_path / "logs" / "strategies" / "ema.jsonl")
    assert (opened["correlation_id"], opened["tick_seq"]) == (None, 7)
    assert raised["correlation_id"] == filled["correlation_id"] == "ema-1"


def test_logs_of_a_whole_run_replace_what_a_crash_left_of_them(tmp_path: Path) -> None:
    write_logs(tmp_path, {"ema": a_history(), "old": a_history("old")})
    with (tmp_path / "logs" / "trades.jsonl").open("a") as torn:
        torn.write('{"type":"Order')

    write_logs(tmp_path, {"ema": a_history()})

    assert len(lines(tmp_path / "logs" / "trades.jsonl")) == 1
    assert not (tmp_path / "logs" / "strategies" / "old.jsonl").exists()


def test_the_signals_that_are_kept_for_later_fills_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.logs.SIGNALS_KEPT", 1)
    [_, signal, fill] = a_history()
    later = structs.replace(signal, correlation_id="ema-2")

    with LogWriter(tmp_path) as logs:
        logs.append("ema", [signal, later, fill, structs.replace(fill, correlation_id="ema-2")])

    assert [trade["reason"] for trade in lines(tmp_path / "logs" / "trades.jsonl")] == ["", "fast over slow"]
