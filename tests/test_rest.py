"""REST answers over loopback."""

import asyncio
from collections.abc import Callable

import pytest

from recorder import rest


def fetch(reply: bytes, path: str = "/") -> rest.Answer:
    """The answer of a server that sends `reply` to whatever it is asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    return with_server(handle, path)


def with_server(handle: Callable[..., object], path: str, timeout_s: float = 10.0) -> rest.Answer:
    async def ask() -> rest.Answer:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await rest.get(f"http://127.0.0.1:{port}{path}", timeout_s)

    return asyncio.run(ask())


def test_an_answer_is_its_status_and_its_bytes() -> None:
    answer = fetch(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x00\xffok")

    assert answer == rest.Answer(200, b"\x00\xffok")


def test_a_refusal_is_an_answer_too_and_says_how_long_to_wait() -> None:
    answer = fetch(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}")

    assert answer == rest.Answer(429, b"{}", 7.0)


def test_a_time_to_wait_that_is_no_number_of_seconds_is_none() -> None:
    answer = fetch(b"HTTP/1.1 503 No\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n")

    assert answer.retry_after_s == 0.0


@pytest.mark.parametrize(
    "reply",
    [b"", b"220 mail.example.org\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"],
    ids=["nothing", "no HTTP", "cut short"],
)
def test_what_is_no_whole_answer_is_a_problem(reply: bytes) -> None:
    with pytest.raises(rest.RestProblem, match="expected an answer, found"):
        fetch(reply)


def test_a_server_that_does_not_answer_in_time_is_a_problem() -> None:
    async def stare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    with pytest.raises(rest.RestProblem, match="timed out"):
        with_server(stare, "/", timeout_s=0.1)


def test_a_refused_connection_is_a_problem() -> None:
    async def ask() -> rest.Answer:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        return await rest.get(f"http://127.0.0.1:{port}/", 10.0)

    with pytest.raises(rest.RestProblem, match="refused"):
        asyncio.run(ask())
