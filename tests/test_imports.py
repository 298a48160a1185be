"""Captures made elsewhere become frames in order and in time, and a user's mistake is one sentence."""

import gzip
import os
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ticks import Kind, Tick
from recorder import imports
from recorder.imports import Counts, Decoded, ImportProblem, capture, cryptofeed, frames, hftbacktest, stamp
from recorder.venues import Frame

Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


def problem(read: Iterator[object]) -> str:
    with pytest.raises(ImportProblem) as caught:
        list(read)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# --- hftbacktest


def test_gzip_and_plain_files_run_on_as_one_stream(write: Write) -> None:
    first = write("1.gz", gzip.compress(b'100 {"a":1}\n200 {"b": 2}\n'))
    second = write("2.txt", b'300 {"c":3}\r\n')

    assert list(hftbacktest([first, second])) == [
        Frame(100, b'{"a":1}'),
        Frame(200, b'{"b": 2}'),
        Frame(300, b'{"c":3}'),
    ]


def test_files_in_another_order_than_that_of_their_times_are_a_mistake(write: Write) -> None:
    first = write("1.gz", gzip.compress(b'100 {"a":1}\n300 {"b": 2}\n'))
    second = write("2.txt", b'200 {"c":3}\n')

    assert len(list(hftbacktest([first, second]))) == 3, "they overlap, and that may be"
    with pytest.raises(ImportProblem, match=r"1\.gz: expected files in the order of their times, found .*2\.txt first"):
        list(hftbacktest([second, first]))


def test_a_real_capture_gives_every_line(captures: Path) -> None:
    counts = Counts()

    read = list(hftbacktest([captures / "binance_spot/btcusdt_20240808.gz"], counts))

    assert (len(read), counts.unstamped) == (41_249, 0)
    assert read[0].ts_recv == 1723161253937085768
    assert read[7].payload.startswith(b'{"lastUpdateId":50093239218,')


def test_a_bad_line_among_good_ones_is_a_frame_at_the_time_of_the_line_before(write: Write) -> None:
    path = write("x", b"no time\n100 {}\n12345\n\n99999999999999999999 {}\n50 []\n")
    counts = Counts()

    assert list(hftbacktest([path], counts)) == [
        Frame(100, b"no time"),
        Frame(100, b"{}"),
        Frame(100, b"12345"),
        Frame(100, b"99999999999999999999 {}"),
        Frame(50, b"[]"),
    ]
    assert counts.unstamped == 3


@pytest.mark.parametrize("lines", [1, imports.UNSTAMPED_LINES_MAX + 5])
def test_a_file_without_times_is_a_mistake(write: Write, lines: int) -> None:
    path = write("x", b'{"a":1}\n' * lines)

    assert problem(hftbacktest([path])) == f"{path}: expected lines `<time in ns> <frame>`, found '{{\"a\":1}}'"


# --- cryptofeed


def test_seconds_become_nanoseconds_without_rounding(write: Write) -> None:
    path = write("x", b"1618677372.1768699: {}\n1618677372: []\n1618677372.1234567899: 1\n")

    times = [frame.ts_recv for frame in cryptofeed([path])]

    assert times == [1618677372176869900, 1618677372000000000, 1618677372123456789]


@given(st.decimals(min_value=0, max_value=9_000_000_000, places=9))
def test_any_time_is_exact(seconds: Decimal) -> None:
    line = imports._read_cryptofeed(f"{seconds:f}: {{}}".encode(), Counts())

    assert line is not None
    assert line.time == int(seconds * 10**9)


def test_rest_answers_keep_their_url_and_what_the_client_sent_is_counted(write: Write) -> None:
    path = write("x", b'wss://v/ws <-> 1.0\nwss://v/ws <- 1.5: {"op":1}\nhttps://v/d?symbol=A -> 2.0: {"bids":[]}\n')
    counts = Counts()

    assert list(cryptofeed([path], counts)) == [Frame(2_000_000_000, b'{"bids":[]}', 0, "https://v/d?symbol=A")]
    assert counts == Counts(sent=1)


def test_files_are_merged_by_time_and_at_one_time_in_the_order_given(write: Write) -> None:
    socket = write("ws", b"wss://v <-> 0.5\n1.0: a\n3.0: d\n2.0: e\n4.0: f\n")
    rest = write("http", b"https://v -> 1.0: b\nhttps://v -> 2.5: c\n")

    read = list(cryptofeed([socket, rest]))

    assert [frame.payload for frame in read] == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [frame.ts_recv for frame in read if not frame.url] == [10**9, 3 * 10**9, 2 * 10**9, 4 * 10**9]


def test_a_reconnect_starts_a_new_connection_and_a_first_connection_does_not(write: Write) -> None:
    one = write("1", b"wss://v <-> 0.5\n1.0: a\nwss://v <-> 3.0\n4.0: d\n")
    two = write("2", b"wss://v <-> 1.5\n2.0: b\n3.5: c\n")

    assert [(frame.payload, frame.conn) for frame in cryptofeed([one, two])] == [
        (b"a", 0),
        (b"b", 0),
        (b"c", 1),
        (b"d", 1),
    ]


@pytest.mark.parametrize(
    ("file", "count", "sent"),
    [
        ("kraken_v1/KRAKEN.ws.50.0", 4321, 1),
        ("coinbase_exchange/COINBASE.ws.28.0.7products", 4616, 3),
        ("binance_spot/BINANCE.ws.1.0_20210417", 1228, 0),
        ("okx_v5/OKEX.ws.1.0_20210722", 1616, 1),
        ("other/DERIBIT.ws.1.0", 136, 1),
    ],
)
def test_real_recordings_give_every_frame(captures: Path, file: str, count: int, sent: int) -> None:
    counts = Counts()

    assert len(list(cryptofeed([captures / file], counts))) == count
    assert counts == Counts(sent=sent)


# --- one frame a line


def test_bare_frames_have_no_time(write: Write) -> None:
    path = write("x.jsonl", b'{"a":1}\n\n{"b":2}')

    assert list(frames([path])) == [Frame(None, b'{"a":1}'), Frame(None, b'{"b":2}')]


def test_a_byte_order_mark_is_no_part_of_the_first_line(write: Write) -> None:
    path = write("x.jsonl", b'\xef\xbb\xbf{"a":1}\r\n\xef\xbb\xbf{"b":2}\r\n')

    assert [frame.payload for frame in frames([path])] == [b'{"a":1}', b'\xef\xbb\xbf{"b":2}']


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe_gives_every_line(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    lines = [b"%d {}" % number for number in range(20_000)]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[pack(b"\n".join(lines))])
    writer.start()

    found = [frame.payload for frame in frames([pipe])]

    writer.join()
    assert found == lines


def test_frames_take_the_venues_times_and_never_run_backwards() -> None:
    times = [None, 30, 20, None, 40]
    decoded = [(Frame(None, b"%d" % i), [Tick(kind=Kind.OTHER, ts_event=time)]) for i, time in enumerate(times)]

    stamped = list(stamp(decoded))

    assert [frame.ts_recv for frame, _ in stamped] == [30, 30, 30, 30, 40]
    assert [frame.payload for frame, _ in stamped] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_time_of_another_century_does_not_hold_the_clock() -> None:
    times = [30, imports.CENTURY_NS, 40]
    decoded = [(Frame(None, b"{}"), [Tick(kind=Kind.OTHER, ts_event=time)]) for time in times]

    assert [frame.ts_recv for frame, _ in stamp(decoded)] == [30, 30, 40]


def test_a_frame_comes_no_sooner_than_its_latest_tick_and_a_time_of_receipt_wins() -> None:
    ticks = [Tick(kind=Kind.OTHER), Tick(kind=Kind.TRADE, ts_event=5), Tick(kind=Kind.TRADE, ts_event=7)]

    stamped = list(stamp([(Frame(None, b"a", 2, "u"), ticks), (Frame(9, b"b"), ticks)]))

    assert [frame for frame, _ in stamped] == [Frame(7, b"a", 2, "u"), Frame(9, b"b")]


@pytest.mark.parametrize("count", [1, imports.UNSTAMPED_FRAMES_MAX * 2])
def test_frames_of_which_none_names_a_time_are_a_mistake(count: int) -> None:
    timeless: Decoded = (Frame(None, b"{}"), [Tick(kind=Kind.OTHER)])

    assert "expected frames that name the venue's time" in problem(stamp([timeless] * count))


def test_no_frames_need_no_times() -> None:
    assert list(stamp([])) == []


# --- mistakes


@pytest.mark.parametrize("kind", ["hftbacktest", "cryptofeed", "frames"])
def test_files_that_cannot_be_read_are_named(write: Write, tmp_path: Path, kind: str) -> None:
    good = write("good", b"100 {}\n")
    empty, fake = write("empty", b""), write("fake.gz", b"100 {}\n")

    for path, found in [
        (tmp_path / "absent", "expected a file, found none"),
        (tmp_path, "expected a file, found a directory"),
        (fake, "expected gzip data, found '10'"),
    ]:
        with pytest.raises(ImportProblem) as caught:
            capture(kind, [good, path])
        assert str(caught.value) == f"{path}: {found}"
    assert problem(capture(kind, [empty])).endswith("found an empty file")
    with pytest.raises(ImportProblem, match="at least one file"):
        capture(kind, [])


@pytest.mark.parametrize("kind", ["hftbacktest", "cryptofeed", "frames"])
def test_a_gzip_file_that_is_cut_off_is_a_mistake(write: Write, kind: str) -> None:
    lines = b"".join(b"%d %d.5: {}\n" % (n, n * 7919) for n in range(10_000))
    path = write("x.gz", gzip.compress(lines)[:-100])

    assert problem(capture(kind, [path]))


def test_an_unknown_kind_of_capture_is_a_mistake(write: Write) -> None:
    with pytest.raises(
        ImportProblem, match="tardis: expected a kind of capture, one of hftbacktest, cryptofeed, frames"
    ):
        capture("tardis", [write("x", b"1 {}")])


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)

    for kind in imports.CAPTURES:
        try:
            assert all(isinstance(frame, Frame) for frame in capture(kind, [path]))
        except ImportProblem as mistake:
            assert "\n" not in str(mistake)
