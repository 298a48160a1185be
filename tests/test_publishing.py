"""Events pushed over real sockets: the state first, then every event once; the slow are dropped, strangers refused."""

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from apps.problems import UserProblem
from apps.publishing import BUFFER_MAX, Place, Publisher, place_of
from tests.commands import Place as Folder

FREE = Place("127.0.0.1", 0)


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(whole())


def event(number: int) -> bytes:
    return b'{"type":"PortfolioMarked","seq":%d}\n' % number


async def said(client: ClientConnection) -> Any:
    return json.loads(await client.recv())


def test_whoever_connects_has_the_state_of_that_moment_and_every_event_after_it() -> None:
    async def test() -> None:
        seq = 0
        with Publisher(FREE) as publisher:
            publisher.attend(lambda: b'{"type":"State","next_seq":%d}' % seq)
            async with connect(publisher.url) as first, connect(publisher.url) as second:
                for client in (first, second):
                    assert await said(client) == {"type": "State", "next_seq": 0}
                for seq in range(1, 4):  # the state tells it
                    publisher.send(event(seq - 1))
                publisher.send(event(3) + event(4))
                assert [(await said(second))["seq"] for _ in range(5)] == [0, 1, 2, 3, 4]
                async with connect(publisher.url) as third:
                    assert (await said(third))["next_seq"] == 3
                assert [(await said(first))["seq"] for _ in range(5)] == [0, 1, 2, 3, 4]

    run(test())


def test_a_client_that_does_not_read_is_dropped_and_the_others_hear_everything() -> None:
    async def test() -> None:
        with Publisher(FREE) as publisher:
            publisher.attend(lambda: b"{}")
            async with connect(publisher.url, max_queue=None) as good, connect(publisher.url) as slow:
                await said(good), await said(slow)
                slow.transport.pause_reading()
                long = b'{"type":"SignalRaised","reason":"%s"}\n' % (b"x" * 4096)
                heard = asyncio.create_task(_count(good, 5 * BUFFER_MAX // 4096))
                while not heard.done():
                    publisher.send(long)
                    await asyncio.sleep(0)
                slow.transport.resume_reading()
                with pytest.raises(ConnectionClosed):
                    while True:
                        await slow.recv()

    run(test())


async def _count(client: ClientConnection, enough: int) -> None:
    for _ in range(enough):
        await client.recv()


def test_a_page_of_another_site_may_not_listen() -> None:
    async def test() -> None:
        with Publisher(FREE) as publisher:
            publisher.attend(lambda: b"{}")
            async with connect(publisher.url, origin="http://localhost:8501") as own:
                await said(own)
            with pytest.raises(InvalidStatus):
                await connect(publisher.url, origin="https://example.org")

    run(test())


def test_before_trading_begins_a_client_is_asked_to_come_again() -> None:
    async def test() -> None:
        with Publisher(FREE) as publisher:
            async with connect(publisher.url) as client:
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013

    run(test())


def test_events_that_nobody_listens_to_cost_nothing_and_are_not_kept() -> None:
    async def test() -> None:
        with Publisher(FREE) as publisher:
            publisher.attend(lambda: b'{"type":"State"}')
            publisher.send(event(0))
            async with connect(publisher.url) as client:
                assert await said(client) == {"type": "State"}
                publisher.send(event(1))
                assert (await said(client))["seq"] == 1

    run(test())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9100", "ws://127.0.0.1", "ws://", "9100", "ws://h:1/path", "ws://[:1"]
)
def test_what_is_no_address_is_a_mistake(url: str) -> None:
    with pytest.raises(UserProblem, match=r"expected an address such as ws://127\.0\.0\.1:9100"):
        place_of(url)


@pytest.mark.parametrize("url", ["ws://0.0.0.0:9100", "ws://192.0.2.1:9100", "ws://example.org:9100"])
def test_others_are_let_in_only_when_told_to(url: str) -> None:
    with pytest.raises(UserProblem, match="--publish-to-others allows it"):
        place_of(url)
    assert place_of(url, lets_others_in=True).port == 9100


@pytest.mark.parametrize("url", ["ws://127.0.0.1:0", "ws://localhost:9100/", "ws://[::1]:9100"])
def test_this_machine_may_listen(url: str) -> None:
    place_of(url)


def test_a_port_that_is_taken_is_a_mistake() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserProblem, match="expected an address to listen on"):
            Publisher(Place("127.0.0.1", taken.getsockname()[1]))


def test_a_session_pushes_what_its_ledger_says(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.strategy("eager")
    words = ["--strategies", "strategies", "--out", "run", "--publish", "ws://127.0.0.1:0"]
    session = folder.start("live", "--simulated", "--symbols", "BTC/USD", *words)
    assert session.stderr is not None
    while "events are pushed at" not in (line := session.stderr.readline()):
        assert line, "the session ended"
    heard: list[Any] = []

    async def listen() -> None:
        async with connect(line.split()[-1]) as client:
            heard.append(await said(client))
            while len(heard) < 4:
                heard.append(await said(client))
            session.send_signal(signal.SIGTERM)
            try:
                while True:
                    heard.append(await said(client))
            except ConnectionClosed:
                pass

    run(listen())
    session.communicate(timeout=60)

    state, *events = heard
    assert (state["type"], state["simulated"], state["symbols"]) == ("State", True, ["BTC/USD"])
    [desk] = state["desks"]
    assert [one["seq"] for one in events] == list(range(desk["next_seq"], desk["next_seq"] + len(events)))
    recorded = folder.wspt("sql", "run", "select count(*) as n from events", "--json").json
    assert desk["next_seq"] + len(events) == recorded[0]["n"]
