"""One REST answer, fetched without holding up the event loop."""

import asyncio
import contextlib
import threading
import urllib.error
import urllib.request
from http.client import HTTPException

from msgspec import Struct

from recorder.problems import Problem

BODY_MAX = 32 * 2**20
"""Bytes of the longest answer that is taken."""


class Answer(Struct, frozen=True):
    """What a server said.

    status:         HTTP status.
    body:           as it arrived.
    retry_after_s:  seconds that the server wants us to wait, or 0.
    """

    status: int
    body: bytes
    retry_after_s: float = 0.0


class RestProblem(Problem):
    """No answer came; the text says why."""


async def get(url: str, timeout_s: float) -> Answer:
    """The answer of `url`, whatever its status. Proxies and certificates are those of the environment.

    Raises RestProblem where none comes: refused, no such host, TLS, too slow, too long.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def settle(answer: Answer | None, problem: Exception | None) -> None:
        if future.done():
            return
        if answer is not None:
            future.set_result(answer)
        elif problem is not None:
            future.set_exception(problem)

    def run() -> None:
        answer: Answer | None = None
        problem: Exception | None = None
        try:
            answer = _get(url, timeout_s)
        except (OSError, HTTPException, ValueError) as error:
            problem = RestProblem(f"{url}: expected an answer, found: {getattr(error, 'reason', None) or error!r}")
        # Whoever asked may be gone, and the loop with it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, answer, problem)

    # A daemon, not the loop's pool: a server that does not answer must not hold up the end of the program.
    threading.Thread(target=run, name="rest-get", daemon=True).start()
    return await future


def _get(url: str, timeout_s: float) -> Answer:
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            body = response.read(BODY_MAX + 1)
            status, missing = response.status, response.length
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(BODY_MAX), _seconds(error.headers.get("Retry-After")))
    if len(body) > BODY_MAX:
        raise ValueError(f"more than {BODY_MAX} bytes")
    if missing:
        raise ValueError(f"{missing} bytes less than announced")
    return Answer(status, body)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else 0.0
