"""Captures and plain tables become tapes: nothing of them is lost, and the passport says how good they are."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recorder.tape import Tape
from tests.commands import EAGER, Place

ACK = b'{"method":"subscribe","result":{"channel":"trade"},"success":true,"time_in":"2026-01-01T00:00:00.000000Z"}'
TRADE = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":50000.1,"qty":0.5,'
    b'"ord_type":"market","trade_id":7,"timestamp":"2026-01-01T00:00:01.000000Z"}]}'
)
CSV = """ts,symbol,price,size,side,bid,bid_size,ask,ask_size
1000000000,BTC/USD,,,,100,1,101,2
2000000000,BTC/USD,101,0.5,buy,,,,
3000000000,BTC/USD,100,0.25,sell,,,,
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with a strategy that trades."""
    place = Place(tmp_path)
    place.strategy("eager", EAGER)
    return place


def imported(place: Place, *words: str | Path) -> dict[str, Any]:
    """What `wspt import ... --json` says of the tape that it made, which `inspect` says too."""
    answer = place.wspt("import", *words, "-o", "out.parquet", "--json")
    assert (answer.code, answer.err) == (0, "")
    said: dict[str, Any] = answer.json
    assert place.wspt("inspect", "out.parquet", "--json").json == said
    return said


def payloads(place: Place) -> list[bytes]:
    """The frames on the tape, byte for byte."""
    return [frame.payload for _, frame in Tape.open(place.folder / "out.parquet").frames()]


# -- real captures -------------------------------------------------------------------------------------------


def test_both_binance_captures_become_one_tape_that_replays(place: Place, captures: Path) -> None:
    files = sorted((captures / "binance_spot").glob("btcusdt_2024080*.gz"))

    said = imported(place, "hftbacktest", "--venue", "binance", *files)

    assert said["frames"] == 99_574
    assert said["kinds"]["quote"] == 28_040 + 45_134
    assert said["kinds"]["trade"] == 9_757 + 10_147
    assert (said["venue"], said["symbols"]) == ("binance", ["BTC/USDT"])
    quality = said["quality"]
    assert (quality["gaps"], quality["unparsed"], quality["checksum_failed"]) == (0, 0, 0)
    assert quality["time_source"] == "received"
    assert -1_300 < quality["skew_ms"]["p50"] <= quality["skew_ms"]["p99"] <= quality["skew_ms"]["max"] < 0
    place.wspt("replay", "out.parquet", "--out", "run")
    assert place.wspt("verify", "run").code == 0


def test_the_kraken_book_capture_has_every_checksum_right(place: Place, captures: Path) -> None:
    said = imported(place, "frames", "--venue", "kraken", captures / "kraken" / "v2_book10_btcusd_20260719T1754Z.jsonl")

    assert said["frames"] == 1_376
    assert (said["quality"]["checksum_ok"], said["quality"]["checksum_failed"]) == (1_254, 0)
    assert said["quality"]["time_source"] == "frames"


def test_past_trades_in_the_kraken_trades_capture_are_not_news(place: Place, captures: Path) -> None:
    capture = captures / "kraken" / "v2_trades_btcusd_ethusd_20260926.jsonl"

    said = imported(place, "frames", "--venue", "kraken", capture)

    assert said["frames"] == 12
    assert said["kinds"]["trade"] == 2
    assert payloads(place) == [line for line in capture.read_bytes().splitlines() if line]


def test_a_cryptofeed_capture_is_spliced_with_its_rest_answers(place: Place, captures: Path) -> None:
    folder = captures / "binance_spot"

    said = imported(
        place, "cryptofeed", "--venue", "binance",
        folder / "BINANCE.ws.1.0_20211012", folder / "BINANCE.http.0.0_20211012",
    )  # fmt: skip

    assert said["frames"] == 265 + 4
    assert (said["kinds"]["quote"], said["kinds"]["trade"], said["quality"]["gaps"]) == (84, 2, 0)
    assert said["symbols"] == ["NKN/USDT", "BLZ/ETH", "LRC/BTC", "RUNE/EUR"]


# -- frames of any kind --------------------------------------------------------------------------------------


def test_frames_without_times_take_their_own_and_the_passport_says_so(place: Place) -> None:
    later = TRADE.replace(b"00:00:01", b"00:00:09").replace(b'"trade_id":7', b'"trade_id":8')
    back = TRADE.replace(b"00:00:01", b"00:00:05").replace(b'"trade_id":7', b'"trade_id":9')
    capture = place.file("frames.jsonl", b"\n".join([ACK, TRADE, later, back]))

    said = imported(place, "frames", "--venue", "kraken", capture)

    assert said["quality"]["time_source"] == "frames"
    times = Tape.open(place.folder / "out.parquet").table(["ts_recv"])["ts_recv"].to_pylist()
    assert times == sorted(times)
    assert times[-1] - times[0] == 8_000_000_000


@pytest.mark.parametrize(
    "odd",
    [b"not JSON", b"\xff\xfe\x00", b'{"channel":', b"[]", b"0", b'{"channel":"\xc3\x28"}', b"[" * 100_000],
    ids=["words", "not UTF-8", "torn", "a list", "a number", "bad UTF-8 inside", "deep"],
)
def test_a_frame_that_cannot_be_read_is_kept_and_counted(odd: bytes, place: Place) -> None:
    capture = place.file("frames.jsonl", b"\n".join([TRADE, odd, TRADE.replace(b":7,", b":8,")]))

    said = imported(place, "frames", "--venue", "kraken", capture)

    assert payloads(place)[1] == odd
    assert (said["frames"], said["kinds"]["trade"], said["quality"]["unparsed"]) == (3, 2, 1)


def test_a_frame_of_five_megabytes_is_kept_whole(place: Place) -> None:
    huge = b'{"channel":"unheard","data":"' + b"x" * 5_000_000 + b'"}'
    capture = place.file("frames.jsonl.gz", gzip.compress(b"\n".join([TRADE, huge]), 1))

    said = imported(place, "frames", "--venue", "kraken", capture)

    assert said["frames"] == 2
    assert payloads(place)[1] == huge


def test_a_clock_that_runs_backwards_is_counted_and_loses_no_frame(place: Place) -> None:
    lines = [b"3000000000 " + TRADE, b"2000000000 " + TRADE.replace(b":7,", b":8,"), b"no time"]
    capture = place.file("capture", b"\n".join(lines))

    said = imported(place, "hftbacktest", "--venue", "kraken", capture)

    assert (said["frames"], said["start"], said["end"]) == (3, 3_000_000_000, 3_000_000_000)
    assert said["quality"]["clock_reversals"] == 1


def test_a_capture_of_another_venue_becomes_a_tape_and_says_that_it_has_no_market(place: Place) -> None:
    capture = place.file("frames.jsonl", b"1000 " + TRADE)

    answer = place.wspt("import", "hftbacktest", "--venue", "binance", capture, "-o", "out.parquet")

    assert answer.code == 0
    assert answer.err.startswith("out.parquet: no trade, quote or book was found in ")
    assert answer.err.endswith("; are these frames of binance?\n")
    assert payloads(place) == [TRADE]


@pytest.mark.parametrize("price", [b"1e300", b"1e30", b"5e-324", b"1e-13"])
def test_a_price_that_no_market_has_is_kept_and_nobody_trades_on_it(price: bytes, place: Place) -> None:
    news = [TRADE.replace(b":7,", b":%d," % number) for number in range(8, 60)]
    absurd = TRADE[: TRADE.index(b'"price":') + 8] + price + TRADE[TRADE.index(b',"qty"') :]
    capture = place.file("frames.jsonl", b"\n".join([*news[:20], absurd, *news[20:]]))

    said = imported(place, "frames", "--venue", "kraken", capture)
    run = place.wspt("replay", "out.parquet", "--json")

    assert (said["quality"]["unparsed"], said["kinds"]["trade"]) == (1, len(news))
    assert absurd in payloads(place)
    assert (run.code, run.json["strategies"][0]["status"]) == (0, "ok")


# -- plain tables --------------------------------------------------------------------------------------------


def test_a_csv_of_trades_and_quotes_becomes_a_tape(place: Place) -> None:
    said = imported(place, "ticks", place.file("ticks.csv", CSV))

    assert (said["kinds"]["quote"], said["kinds"]["trade"]) == (1, 2)
    assert (said["start"], said["end"]) == (1_000_000_000, 3_000_000_000)
    assert place.wspt("replay", "out.parquet").code == 0


def test_a_parquet_table_gives_the_ticks_of_the_same_csv(place: Place) -> None:
    table = pa.table({"ts": [1, 2], "symbol": ["A/B", "A/B"], "price": [1.5, 2.5], "size": [1.0, 2.0]})
    pq.write_table(table, place.folder / "ticks.parquet")
    ours = imported(place, "ticks", "ticks.parquet")
    (place.folder / "out.parquet").unlink()
    theirs = imported(place, "ticks", place.file("ticks.csv", "ts,symbol,price,size\n1,A/B,1.5,1\n2,A/B,2.5,2\n"))

    same = ("ticks", "symbols", "start", "end", "kinds", "quality")
    assert [ours[name] for name in same] == [theirs[name] for name in same]


def test_rows_that_are_no_market_are_kept_and_counted(place: Place) -> None:
    rows = ["1,A/B,nan,1", "2,A/B,-5,1", "3,A/B,5,-1", "4,A/B,0,1", "5,A/B,inf,1", "6,,5,1", "7,A/B,5,1"]
    table = place.file("ticks.csv", "\n".join(["ts,symbol,price,size", *rows]))

    said = imported(place, "ticks", table)

    assert (said["ticks"], said["kinds"]["trade"]) == (7, 1)
    assert said["quality"]["unparsed"] == 6


def test_time_that_runs_backwards_in_a_table_keeps_the_order_of_its_rows(place: Place) -> None:
    table = place.file("ticks.csv", "ts,symbol,price,size\n5,A/B,1,1\n3,A/B,2,1\n9,A/B,3,1\n")

    said = imported(place, "ticks", table)

    rows = Tape.open(place.folder / "out.parquet").table(["ts_recv", "ts_event", "price"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(5, 5, 1.0), (5, 3, 2.0), (9, 9, 3.0)]
    assert said["quality"]["clock_reversals"] == 1
