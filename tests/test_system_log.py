"""The system log: strict JSON for machines, a calm line for people, and never in the way of a recording."""

import json
from pathlib import Path
from typing import Any

import pytest

from recorder import system_log
from recorder.system_log import SystemLog


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs" / "system.jsonl").read_text().splitlines()]


def test_every_line_has_its_time_its_level_and_the_keys_that_join_it_to_the_rest(tmp_path: Path) -> None:
    with SystemLog(tmp_path, lambda line: None) as log:
        log.say("started", venue="kraken", limit=float("nan"))
        log.hear('{"event":"gap","expected":3,"got":5}', "BTC/USD", 17)

    started, gap = lines(tmp_path)
    assert list(started)[:5] == ["ts", "level", "event", "tick_seq", "correlation_id"]
    assert (started["event"], started["level"], started["tick_seq"], started["limit"]) == (
        "started",
        "info",
        None,
        None,
    )
    assert (gap["event"], gap["level"], gap["tick_seq"], gap["symbol"]) == ("gap", "warning", 17, "BTC/USD")
    assert (gap["expected"], gap["got"], gap["correlation_id"]) == (3, 5, None)


def test_a_person_is_told_what_went_wrong_and_not_what_is_routine(tmp_path: Path) -> None:
    told: list[str] = []

    with SystemLog(tmp_path, told.append) as log:
        log.hear('{"event":"disconnected","reason":"closed by the venue: 1001"}', None, 1)
        log.hear('{"event":"subscribed","channel":"book"}', "BTC/USD", 2)
        log.hear('{"event":"clock"}', None, 3)
        log.hear('{"event":"unknown_symbol","symbol":"BTC/UDS","suggestions":["BTC/USD"]}', "BTC/UDS", 4)

    assert [line.partition(" ")[2] for line in told] == [
        "disconnected closed by the venue: 1001",
        "unknown symbol BTC/UDS BTC/USD",
    ]
    assert [line["event"] for line in lines(tmp_path)] == ["disconnected", "subscribed", "unknown_symbol"]


def test_what_happens_again_and_again_is_told_now_and_then_and_logged_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    with SystemLog(tmp_path, told.append) as log:
        for number in range(5):
            log.hear('{"event":"checksum"}', "BTC/USD", number)
        log.hear('{"event":"checksum"}', "ETH/USD", 5)
        monkeypatch.setattr(system_log, "TELL_AGAIN_S", 0.0)
        log.hear('{"event":"checksum"}', "BTC/USD", 6)

    assert [line.partition(" ")[2] for line in told] == [
        "checksum BTC/USD",
        "checksum ETH/USD",
        "checksum BTC/USD (4 more since it was last told)",
    ]
    assert len(lines(tmp_path)) == 7


def test_a_log_that_cannot_be_written_is_told_once_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    told: list[str] = []

    with SystemLog(tmp_path, told.append) as log:
        log.say("disconnected", reason="gone")
        log.say("subscribed")

    assert told[0].startswith("the system log is not written any more")
    assert [line.partition(" ")[2] for line in told[1:]] == ["disconnected gone"]


def test_a_log_goes_on_where_an_earlier_session_ended(tmp_path: Path) -> None:
    for event in ("started", "resumed"):
        with SystemLog(tmp_path, lambda line: None) as log:
            log.say(event)

    assert [line["event"] for line in lines(tmp_path)] == ["started", "resumed"]
