"""Assembly: the same records give the same rows, and every kind of record has its row."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from apps.simulator import simulate
from engine.ticks import FEED_LOST, NAN, Kind, Tick
from recorder.assembly import Assembled, Assembler, AssemblyProblem
from recorder.frame_log import Record, RecordKind
from recorder.imports import cryptofeed
from recorder.venues import Frame, Quality
from recorder.venues.kraken import KrakenDecoder

SECOND = 1_000_000_000
URL = "wss://example.test/v2"
QUOTE = (
    b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":100.0,"bid_qty":1.0,"ask":101.0,'
    b'"ask_qty":2.0,"last":100.0,"volume":1.0,"vwap":1.0,"low":1.0,"high":1.0,"change":1.0,"change_pct":1.0}]}'
)


def record(kind: RecordKind, payload: bytes | str = b"", at: int = 0, conn: int = 0) -> Record:
    return Record(at, at, conn, kind, payload.encode() if isinstance(payload, str) else payload)


def notes(rows: Assembled) -> list[dict[str, object]]:
    return [msgspec.json.decode(tick.note or "null") for tick in rows.ticks]


def touch(tick: Tick) -> tuple[float, float, float, float]:
    return tick.bid, tick.bid_size, tick.ask, tick.ask_size


class Broken:
    """A decoder with a mistake in it: one frame is more than it can take."""

    def __init__(self) -> None:
        self.quality = Quality()
        self.connections: list[int] = []
        self.losses: list[str] = []

    def decode(self, frame: Frame) -> Sequence[Tick]:
        if frame.payload == b"bad":
            raise KeyError("price")
        return [Tick(kind=Kind.TRADE, symbol="BTC/USD", price=1.0, size=1.0)]

    def connected(self, conn: int) -> Sequence[Tick]:
        self.connections.append(conn)
        return []

    def disconnected(self, conn: int) -> Sequence[Tick]:
        return []

    def lost(self, symbol: str) -> None:
        self.losses.append(symbol)


# -- frames


def test_a_frame_becomes_what_the_decoder_of_its_venue_makes_of_it() -> None:
    assembler, decoder = Assembler("kraken"), KrakenDecoder()

    for frame in simulate(seconds=20):
        assert frame.ts_recv is not None
        rows = assembler.take(record(RecordKind.FRAME, frame.payload, frame.ts_recv))

        assert [repr(tick) for tick in rows.ticks] == [repr(tick) for tick in decoder.decode(frame)]
        assert (rows.ts_recv, rows.payload, rows.url) == (frame.ts_recv, frame.payload, None)
    assert assembler.quality == decoder.quality


def test_a_rest_answer_has_its_address_and_joins_the_stream(captures: Path) -> None:
    folder = captures / "binance_spot"
    frames = list(cryptofeed([folder / "BINANCE.ws.1.0_20211012", folder / "BINANCE.http.0.0_20211012"]))
    answers = [frame for frame in frames if frame.url is not None]
    assembler = Assembler("binance")

    rows = [
        assembler.take(
            Record(frame.ts_recv or 0, 0, 0, RecordKind.FRAME, frame.payload)
            if frame.url is None
            else record(RecordKind.REST, frame.url.encode() + b"\n" + frame.payload, frame.ts_recv or 0)
        )
        for frame in frames
    ]

    assert [(each.url, each.payload) for each in rows if each.url] == [(f.url, f.payload) for f in answers]
    assert sum(tick.kind == Kind.BOOK for each in rows for tick in each.ticks) > 1_000


def test_only_the_instruments_asked_for_have_rows(captures: Path) -> None:
    snapshot = record(RecordKind.FRAME, (captures / "kraken/v2_instrument_snapshot.json").read_bytes())

    rows = Assembler("kraken", ["BTC/USD", "ETH/USD"]).take(snapshot)

    assert {tick.symbol for tick in rows.ticks} == {"BTC/USD", "ETH/USD"}


def test_symbols_that_nobody_could_guess_are_spelled_as_they_were_asked_for() -> None:
    trade = b'{"e":"trade","E":1,"s":"XYZQQQ","t":1,"p":"1","q":"1","T":1,"m":true,"M":true}'

    [guessed] = Assembler("binance").take(record(RecordKind.FRAME, trade)).ticks
    [known] = Assembler("binance", ["XYZ/QQQ"]).take(record(RecordKind.FRAME, trade)).ticks

    assert (guessed.symbol, known.symbol) == ("XYZQQQ", "XYZ/QQQ")


def test_a_frame_that_breaks_the_decoder_is_a_gap_and_the_next_one_is_read() -> None:
    decoder = Broken()
    assembler = Assembler("kraken", decoder=decoder)

    rows = [assembler.take(record(RecordKind.FRAME, payload, conn=3)) for payload in (b"good", b"bad", b"good")]

    assert [[tick.kind for tick in each.ticks] for each in rows] == [[Kind.TRADE], [Kind.FEED], [Kind.TRADE]]
    assert notes(rows[1]) == [{"event": "gap", "reason": "decoder failed", "error": "KeyError"}]
    assert rows[1].payload == b"bad"
    assert (decoder.quality.unparsed, decoder.connections) == (1, [3])


def test_a_venue_without_a_decoder_is_refused_in_one_sentence() -> None:
    with pytest.raises(AssemblyProblem, match="venue krakn: expected one of kraken, binance"):
        Assembler("krakn")


# -- the clock


def test_the_time_of_receipt_never_runs_backwards_and_each_step_back_is_counted() -> None:
    assembler = Assembler("kraken")
    hour = 3_600 * SECOND

    times = [
        assembler.take(record(RecordKind.CLOCK, at=at)).ts_recv
        for at in (2 * hour, 2 * hour + 1, hour, hour + 1, 2 * hour, 3 * hour)
    ]

    assert times == [2 * hour, *[2 * hour + 1] * 4, 3 * hour]
    assert assembler.clock_reversals == 1
    assert assembler.ts_recv == 3 * hour


def test_a_clock_that_starts_before_1970_is_taken_as_it_is() -> None:
    assembler = Assembler("kraken")

    assert [assembler.take(record(RecordKind.CLOCK, at=at)).ts_recv for at in (-5, -3)] == [-5, -3]
    assert assembler.clock_reversals == 0


# -- what no frame says


def test_a_second_without_a_frame_is_a_row() -> None:
    rows = Assembler("kraken").take(record(RecordKind.CLOCK, conn=2))

    assert (rows.conn, rows.payload, rows.url) == (2, None, None)
    assert [(tick.kind, tick.symbol, tick.note) for tick in rows.ticks] == [(Kind.FEED, None, '{"event":"clock"}')]


@pytest.mark.parametrize("venue", ["kraken", "binance"])
def test_a_connection_has_a_row_for_its_beginning_and_its_end(venue: str) -> None:
    assembler = Assembler(venue)

    rows = [
        assembler.take(record(RecordKind.CONNECTED, URL)),
        assembler.take(record(RecordKind.SUBSCRIBED)),
        assembler.take(record(RecordKind.DISCONNECTED, "1006 no close frame")),
    ]

    assert [notes(each) for each in rows] == [
        [{"event": "connected", "url": URL}],
        [{"event": "subscribed"}],
        [{"event": "disconnected", "reason": "1006 no close frame"}],
    ]


def test_a_connection_whose_end_nobody_logged_has_ended_when_the_next_one_begins() -> None:
    assembler = Assembler("kraken")
    assembler.take(record(RecordKind.CONNECTED, URL))

    rows = assembler.take(record(RecordKind.CONNECTED, URL, conn=1))

    assert [note["event"] for note in notes(rows)] == ["disconnected", "connected"]


def test_a_reconnect_makes_the_decoder_forget_its_books() -> None:
    assembler = Assembler("kraken")
    frames = list(simulate(seconds=20))
    assembler.take(record(RecordKind.CONNECTED, URL))
    before = [tick for frame in frames[:100] for tick in assembler.take(record(RecordKind.FRAME, frame.payload)).ticks]

    assembler.take(record(RecordKind.CONNECTED, URL))
    later = [tick for frame in frames[100:] for tick in assembler.take(record(RecordKind.FRAME, frame.payload)).ticks]

    assert any(tick.kind == Kind.BOOK for tick in before)
    assert not any(tick.kind == Kind.BOOK for tick in later)
    assert any(tick.kind == Kind.QUOTE for tick in later)


# -- notes of the feed


def test_a_note_about_a_symbol_carries_the_touch_that_stands() -> None:
    assembler = Assembler("kraken")
    [quote] = assembler.take(record(RecordKind.FRAME, QUOTE)).ticks

    [row] = assembler.take(record(RecordKind.NOTE, '{"event":"slow","symbol":"BTC/USD"}')).ticks

    assert (row.kind, row.symbol) == (Kind.FEED, "BTC/USD")
    assert touch(row) == touch(quote) == (100.0, 1.0, 101.0, 2.0)


@pytest.mark.parametrize("event", sorted(FEED_LOST))
def test_after_a_note_of_a_loss_nothing_is_known_of_its_symbol(event: str) -> None:
    assembler = Assembler("kraken")
    assembler.take(record(RecordKind.FRAME, QUOTE))

    lost = assembler.take(record(RecordKind.NOTE, msgspec.json.encode({"event": event, "symbol": "BTC/USD"})))
    [after] = assembler.take(record(RecordKind.NOTE, '{"event":"slow","symbol":"BTC/USD"}')).ticks

    assert [repr(touch(tick)) for tick in (*lost.ticks, after)] == [repr((NAN, NAN, NAN, NAN))] * 2


def test_a_note_keeps_its_text_and_needs_no_symbol() -> None:
    text = '{"event":"unreachable","url":"wss://x","attempt":3}'

    [row] = Assembler("kraken").take(record(RecordKind.NOTE, text)).ticks

    assert (row.symbol, row.note) == (None, text)


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"[]", b'{"symbol":"BTC/USD"}', b'{"event":1}'])
def test_a_note_that_cannot_be_read_is_kept_as_text(payload: bytes) -> None:
    rows = Assembler("kraken").take(record(RecordKind.NOTE, payload))

    assert notes(rows) == [{"event": "note", "text": payload.decode(errors="replace")}]


def test_a_record_of_a_kind_that_is_not_known_yet_keeps_the_clock() -> None:
    rows = Assembler("kraken").take(Record(5, 5, 0, 99, b"?"))

    assert (rows.ts_recv, [tick.kind for tick in rows.ticks]) == (5, [Kind.OTHER])


def test_a_decoder_is_told_of_a_symbol_that_went_stale() -> None:
    decoder = Broken()
    assembler = Assembler("kraken", decoder=decoder)

    for note in (b'{"event":"stale","symbol":"BTC/USD"}', b'{"event":"unanswered","symbol":"ETH/USD"}'):
        assembler.take(record(RecordKind.NOTE, note))

    assert decoder.losses == ["BTC/USD"]
