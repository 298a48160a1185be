"""Which symbols are silent."""

from recorder.liveness import Silence, SymbolWatch
from recorder.venues.profiles import KRAKEN

S = 10**9


def a_watch(*names: str) -> SymbolWatch:
    return SymbolWatch(names, KRAKEN.spoken, stale_after_ns=60 * S, now_ns=0)


def news(*names: str, channel: str = "ticker") -> bytes:
    items = ",".join(f'{{"symbol":"{name}"}}' for name in names)
    return f'{{"channel":"{channel}","type":"update","data":[{items}]}}'.encode()


def test_a_symbol_is_quiet_at_half_time_and_stale_at_full_time_once_each() -> None:
    watch = a_watch("BTC/USD")

    assert watch.silence(29 * S) == Silence([], [])
    assert watch.silence(30 * S) == Silence(["BTC/USD"], [])
    assert watch.silence(31 * S) == Silence([], [])
    assert watch.silence(60 * S) == Silence([], ["BTC/USD"])
    assert watch.silence(99 * S) == Silence([], [])


def test_a_symbol_that_is_heard_again_can_become_silent_again() -> None:
    watch = a_watch("BTC/USD")
    watch.silence(60 * S)
    watch.hear(news("BTC/USD"), 61 * S)

    assert watch.silence(121 * S).stale == ["BTC/USD"]


def test_only_the_symbol_that_is_spoken_of_lives() -> None:
    watch = a_watch("BTC/USD", "ETH/USD")
    watch.hear(news("BTC/USD"), 40 * S)

    assert watch.silence(60 * S).stale == ["ETH/USD"]


def test_a_message_may_speak_of_several_symbols() -> None:
    watch = a_watch("BTC/USD", "ETH/USD")
    watch.hear(news("BTC/USD", "ETH/USD", "XRP/USD"), 40 * S)

    assert watch.silence(60 * S).stale == []


def test_an_answer_that_names_a_symbol_is_no_news_of_it() -> None:
    watch = a_watch("BTC/USD")
    watch.hear(b'{"method":"subscribe","result":{"channel":"book","symbol":"BTC/USD"},"success":true}', 40 * S)
    watch.hear(b'{"channel":"instrument","type":"snapshot","data":{"pairs":[{"symbol":"BTC/USD"}]}}', 40 * S)
    watch.hear(b'"BTC/USD', 40 * S)

    assert watch.silence(60 * S).stale == ["BTC/USD"]


def test_what_was_heard_is_not_listened_for_until_the_next_quarter() -> None:
    watch = a_watch("BTC/USD")
    watch.hear(news("BTC/USD"), 1 * S)
    at_once = dict(watch.awaited)
    watch.silence(15 * S)

    assert not at_once
    assert list(watch.awaited) == ["BTC/USD"]


def test_many_silent_symbols_are_told_apart_as_well() -> None:
    names = [f"A{number}/USD" for number in range(200)]
    watch = a_watch(*names)
    watch.hear(news("A7/USD"), 40 * S)

    assert set(names) - set(watch.silence(60 * S).stale) == {"A7/USD"}


def test_time_in_which_nobody_listened_is_no_silence() -> None:
    watch = a_watch("BTC/USD")
    watch.excuse(50 * S)

    assert watch.silence(60 * S) == Silence([], [])


def test_a_forgotten_symbol_is_never_silent() -> None:
    watch = a_watch("BTC/USD")
    watch.forget("BTC/USD")

    assert watch.silence(60 * S) == Silence([], [])
