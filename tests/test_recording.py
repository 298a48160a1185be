"""What venues and clocks do to a recording, over real sockets: all of it is on the tape, and nothing is made up."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve

from apps.recording import Recording
from engine.ticks import Kind, Symbols
from recorder.clock import SYSTEM_CLOCK, Clock
from recorder.feed import Feed
from recorder.frame_log import FrameLog, LogHeader
from recorder.sealing import recover
from recorder.system_log import SystemLog
from recorder.tape import Tape
from recorder.venues.profiles import KRAKEN, Profile

HOUR_NS = 3600 * 10**9
QUOTE = (
    b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1.5,"bid_qty":1.0,'
    b'"ask":2.5,"ask_qty":1.0,"timestamp":"2026-01-01T00:00:00.000000Z"}]}'
)
PATIENT = msgspec.structs.replace(KRAKEN, clock_s=0.01, first_pause_s=0.01, longest_pause_s=0.05, close_timeout_s=0.1)
HASTY = msgspec.structs.replace(PATIENT, answer_after_s=0.2, ping_after_s=0.05, dead_after_s=0.15)
Handler = Callable[[ServerConnection], Awaitable[None]]


def recorded(
    folder: Path,
    handler: Handler,
    is_enough: Callable[[Recording], bool],
    *,
    profile: Profile = PATIENT,
    clock: Clock = SYSTEM_CLOCK,
) -> Tape:
    """The sealed tape of what a venue did, up to the moment when it is enough."""

    async def record() -> None:
        async with asyncio.timeout(30), serve(handler, "127.0.0.1", 0, max_size=None, close_timeout=0.1) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            feed = Feed(profile, ["BTC/USD"], url=f"ws://127.0.0.1:{port}", clock=clock)
            header = LogHeader(venue="kraken", symbols=["BTC/USD"])
            with FrameLog(folder, header) as log, SystemLog(folder, lambda line: None) as system:
                recording = Recording(feed, log, header, system)

                def follow(ticks: object, times: object, seq: int, symbols: Symbols) -> None:
                    if is_enough(recording):
                        feed.stop()

                await recording.run(follow)

    asyncio.run(record())
    recover(folder)
    return Tape.open(folder)


def connections(count: int) -> Callable[[Recording], bool]:
    return lambda recording: recording.events["connected", None] >= count


def frames(tape: Tape) -> list[bytes]:
    return [frame.payload for _, frame in tape.frames()]


def notes(tape: Tape) -> list[dict[str, object]]:
    found = tape.table(["note"])["note"].drop_null().to_pylist()
    return [note for note in map(msgspec.json.decode, found) if note["event"] != "clock"]


def test_whatever_a_venue_sends_is_on_the_tape_byte_for_byte(tmp_path: Path) -> None:
    sent = [QUOTE, b"\x00\xff binary", b"", b"x" * 10 * 2**20, b"{not json", b'{"channel":"book","data":7}', QUOTE]

    async def throw(ws: ServerConnection) -> None:
        for _ in range(4):
            await ws.recv()  # to close on what was not read would be a reset, and take back what is on its way
        for number, message in enumerate(sent):
            await ws.send(message, text=number % 2 == 0 and message.isascii())
        ws.transport.write(b"\x81\x7e\x01\x00half of it")
        ws.transport.close()
        await ws.wait_closed()  # until all of it has been taken

    tape = recorded(tmp_path, throw, connections(2))

    assert frames(tape)[: len(sent)] == sent
    assert tape.passport.kinds["quote"] >= 2
    assert tape.passport.unparsed >= 3
    [lost, *_] = [note for note in notes(tape) if note["event"] == "disconnected"]
    assert str(lost["reason"]).startswith("connection lost")


def test_a_clock_that_jumps_back_an_hour_does_not_turn_the_tape_around(tmp_path: Path) -> None:
    wall = iter(range(10 * HOUR_NS, 10 * HOUR_NS + 8))

    async def quote(ws: ServerConnection) -> None:
        for _ in range(20):
            await ws.send(QUOTE, text=True)
        await ws.wait_closed()

    clock = Clock(wall_ns=lambda: next(wall, 9 * HOUR_NS))
    tape = recorded(tmp_path, quote, lambda recording: recording.records > 20, clock=clock)

    times = tape.table(["ts_recv"])["ts_recv"].to_pylist()
    assert times == sorted(times)
    assert times[0] == 10 * HOUR_NS
    assert tape.passport.clock_reversals == 1
    assert tape.passport.kinds["quote"] == 20


@pytest.mark.parametrize("reads", [True, False])
def test_a_venue_that_accepts_and_says_nothing_is_left_and_nothing_is_made_up(tmp_path: Path, reads: bool) -> None:
    async def stare(ws: ServerConnection) -> None:
        if not reads:
            ws.transport.pause_reading()
        await ws.wait_closed()

    tape = recorded(tmp_path, stare, connections(2), profile=HASTY)

    assert {note["event"] for note in notes(tape)} <= {"connected", "subscribed", "unanswered", "disconnected"}
    reasons = [note["reason"] for note in notes(tape) if note["event"] == "disconnected"]
    assert reasons[0] in ("nothing came for 0.15 s", "nothing that was asked was answered")
    assert tape.passport.kinds == {"other": 0, "trade": 0, "quote": 0, "book": 0, "feed": tape.rows}
    assert tape.passport.reconnects >= 1


def test_a_refused_subscription_stands_on_the_tape_and_in_the_log(tmp_path: Path) -> None:
    async def refuse(ws: ServerConnection) -> None:
        async for text in ws:
            request = msgspec.json.decode(text)
            for name in request["params"].get("symbol", []):
                facts = {"error": f"Currency pair not supported {name}", "method": "subscribe", "success": False}
                await ws.send(msgspec.json.encode({**facts, "symbol": name, "req_id": request["req_id"]}), text=True)

    tape = recorded(tmp_path, refuse, lambda recording: recording.events["rejected", "BTC/USD"] == 3)

    rejected = [note for note in notes(tape) if note["event"] == "rejected"]
    assert rejected[0]["error"] == "Currency pair not supported BTC/USD"
    assert tape.passport.rejected == 3
    logged = [msgspec.json.decode(line) for line in (tmp_path / "logs" / "system.jsonl").read_bytes().splitlines()]
    seqs = [line["tick_seq"] for line in logged if line["event"] == "rejected"]
    assert [msgspec.json.decode(tape.table(["note"])["note"][seq].as_py())["event"] for seq in seqs] == ["rejected"] * 3


def test_a_symbol_that_went_stale_is_known_again_when_the_venue_speaks(tmp_path: Path) -> None:
    async def beat(ws: ServerConnection) -> None:
        """Quotes, then heartbeats only until the feed asks for the symbol, then quotes again."""
        await ws.send(QUOTE, text=True)
        async for text in ws:
            request = msgspec.json.decode(text)
            for name in request["params"].get("symbol", [None]):
                result = {"channel": request["params"]["channel"], **({} if name is None else {"symbol": name})}
                answer = {"method": request["method"], "result": result, "success": True}
                await ws.send(msgspec.json.encode(answer), text=True)
            if request["method"] == "unsubscribe" and request["params"]["channel"] == "book":
                await ws.send(QUOTE, text=True)

    def is_enough(recording: Recording) -> bool:
        latest = recording.latest.get("BTC/USD")
        return recording.events["stale", "BTC/USD"] > 0 and latest is not None and latest.kind == Kind.QUOTE

    stern = msgspec.structs.replace(PATIENT, stale_after_s=0.3)
    tape = recorded(tmp_path, beat, is_enough, profile=stern)

    rows = zip(*(tape.table([name])[name].to_pylist() for name in ("kind", "note", "bid")), strict=True)
    told = [(kind, bid) for kind, note, bid in rows if kind == Kind.QUOTE or "stale" in (note or "")]
    assert told == [(Kind.QUOTE, 1.5), (Kind.FEED, None), (Kind.QUOTE, 1.5)]
