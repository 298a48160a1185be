"""What the feed knows of each venue, and what a misspelled symbol was meant to be."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.venues.listing import suggestions, unknown_symbols
from recorder.venues.profiles import BINANCE, KRAKEN, PROFILES, Listing, Profile, Reply, System

PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.venue)


@pytest.mark.parametrize(
    ("profile", "url", "address"),
    [
        (KRAKEN, None, "wss://ws.kraken.com/v2"),
        (KRAKEN, "ws://127.0.0.1:9000", "ws://127.0.0.1:9000/v2"),
        (KRAKEN, "ws://127.0.0.1:9000/", "ws://127.0.0.1:9000/v2"),
        (KRAKEN, "wss://beta-ws.kraken.com/v2", "wss://beta-ws.kraken.com/v2"),
        (BINANCE, "ws://[::1]:9000", "ws://[::1]:9000/stream"),
        (BINANCE, "wss://stream.binance.us:9443/stream?timeUnit=MICROSECOND", None),
    ],
)
def test_an_address_without_a_path_gets_the_venues(profile: Profile, url: str | None, address: str | None) -> None:
    assert profile.address(url) == (address or url)


@pytest.mark.parametrize(
    ("stream", "host"),
    [
        ("wss://stream.binance.com:9443/stream", "https://api.binance.com"),
        ("wss://data-stream.binance.vision/stream", "https://data-api.binance.vision"),
        ("wss://stream.binance.us:9443/stream", "https://api.binance.us"),
        ("ws://127.0.0.1:9000/stream", "http://127.0.0.1:9000"),
        ("wss://example.org/stream", "https://example.org"),
    ],
)
def test_snapshots_come_from_the_host_that_belongs_to_the_stream(stream: str, host: str) -> None:
    assert BINANCE.snapshot_url is not None
    assert BINANCE.snapshot_url(stream, "BTCUSDT") == f"{host}/api/v3/depth?symbol=BTCUSDT&limit=1000"


def test_kraken_is_expected_to_answer_for_each_channel_and_symbol() -> None:
    topics = [topic for request in KRAKEN.opening(["BTC/USD", "ETH/USD"]) for topic in request.topics]

    pairs = [(channel, name) for channel in ("book", "ticker", "trade") for name in ("BTC/USD", "ETH/USD")]
    assert topics == [("instrument", None), *pairs]


def test_each_request_of_many_binance_streams_is_answered_for_itself() -> None:
    requests = BINANCE.opening([f"A{number}/USDT" for number in range(100)])

    assert len({topic for request in requests for topic in request.topics}) == len(requests) == 2


@pytest.mark.parametrize(
    ("payload", "reading"),
    [
        (
            b'{"method":"subscribe","result":{"channel":"book","depth":10,"symbol":"BTC/USD"},"success":true,"req_id":2}',
            Reply(2, "book", "BTC/USD"),
        ),
        (
            b'{"error":"Currency pair not supported XBT/EUR","method":"subscribe","success":false,"symbol":"XBT/EUR"}',
            Reply(None, None, "XBT/EUR", "Currency pair not supported XBT/EUR"),
        ),
        (b'{"Error":"Exceeded msg rate"}', Reply(None, None, None, "Exceeded msg rate")),
        (b'{"channel":"status","type":"update","data":[{"system":"online"}]}', System(is_online=True)),
        (b'{"channel":"status","type":"update","data":[{"system":"maintenance"}]}', System(is_online=False)),
        (b'{"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"A/B"}]}}', Listing(["A/B"])),
        (b'{"channel":"instrument","type":"update","data":{"pairs":[{"symbol":"A/B"}]}}', None),
        (b'{"method":"unsubscribe","result":{"channel":"book","symbol":"BTC/USD"},"success":true}', None),
        (b'{"error":"Not subscribed","method":"unsubscribe","success":false,"symbol":"BTC/USD"}', None),
        (b'{"method":"pong","req_id":7}', None),
        (b'{"channel":"heartbeat"}', None),
    ],
)
def test_krakens_answers_are_read(payload: bytes, reading: object) -> None:
    assert KRAKEN.read(payload) == reading
    assert reading is None or any(hint in payload for hint in KRAKEN.hints)


@pytest.mark.parametrize(
    ("payload", "reading"),
    [
        (b'{"result":null,"id":1}', Reply(1)),
        (b'{"code":2,"msg":"Invalid request: no","id":3}', Reply(3, error="Invalid request: no")),
        (b'{"error":{"code":-1,"msg":"no"},"id":4}', Reply(4, error="no")),
        (b'{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}', None),
    ],
)
def test_binances_answers_are_read(payload: bytes, reading: object) -> None:
    assert BINANCE.read(payload) == reading
    assert reading is None or any(hint in payload for hint in BINANCE.hints)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}}',
        b'{"stream":"btcusdt@depth5","data":{"lastUpdateId":1,"bids":[],"asks":[]}}',
        b'{"e":"trade","s":"BTCUSDT","t":1}',
    ],
)
def test_binances_frames_say_of_which_symbol_they_are(payload: bytes) -> None:
    assert BINANCE.spoken(payload) == ["BTCUSDT"]


@PROFILE
@given(
    payload=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["channel", "data", "method", "result", "id", "s", "stream", "code"]), inner
                )
            ),
            max_leaves=8,
        ).map(msgspec.json.encode),
    )
)
def test_nothing_that_a_venue_sends_raises(profile: Profile, payload: bytes) -> None:
    profile.read(payload)
    assert all(isinstance(name, str) for name in profile.spoken(payload))


@PROFILE
def test_nothing_nested_too_deeply_raises(profile: Profile) -> None:
    payload = b'{"data":' * 100_000

    assert profile.read(payload) is None
    assert profile.spoken(payload) == []


@pytest.mark.parametrize(
    ("symbol", "meant"),
    [
        ("btc/usd", "BTC/USD"),
        ("BTCUSD", "BTC/USD"),
        ("XBT/USD", "BTC/USD"),
        ("xdg-usd", "DOGE/USD"),
        ("ETH/UDS", "ETH/USD"),
        ("AAPLX/USD", "AAPLx/USD"),
    ],
)
def test_a_misspelled_symbol_is_recognized(symbol: str, meant: str) -> None:
    assert suggestions(symbol, ["BTC/USD", "DOGE/USD", "ETH/USD", "AAPLx/USD"])[0] == meant


def test_nothing_is_suggested_for_what_resembles_nothing() -> None:
    assert suggestions("QQQQQQ", ["BTC/USD", "ETH/USD"]) == []


def test_only_krakens_list_tells_unknown_symbols() -> None:
    listing = b'{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[{"symbol":"BTC/USD"}]}}'

    assert unknown_symbols(KRAKEN, listing, ["BTC/USD", "BTCUSD"]) == {"BTCUSD": ["BTC/USD"]}
    assert unknown_symbols(KRAKEN, b'{"channel":"heartbeat"}', ["BTCUSD"]) is None
