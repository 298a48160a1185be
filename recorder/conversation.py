"""What is said to a venue on one connection, and what became of it: subscriptions, new books, snapshots."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from itertools import count
from typing import Any

from msgspec import Struct

from recorder import rest
from recorder.frame_log import RecordKind
from recorder.venues.listing import unlisted
from recorder.venues.profiles import Listing, Profile, Reading, Reply, Request, System, Topic

_FIRST_FREE_ID = 1001
"""Above the ids of the requests that open a connection."""

_LONGEST_PAUSE_S = 60.0

_DEPTH = "depth"
"""Stands for the REST snapshots in what a venue refuses."""


class Findings(Struct):
    """What a venue said about what it was asked for; symbols are canonical.

    rejected:   (channel, symbol) that it refuses, with its reason.
    unknown:    symbols that it does not list, with suggestions.
    is_listed:  it was asked what it lists, and has answered.
    is_online:  it says that it is not under maintenance.
    """

    rejected: dict[Topic, str] = {}
    unknown: dict[str, list[str]] = {}
    is_listed: bool = False
    is_online: bool = True


class Conversation:
    """The requests of one connection. It runs in tasks of its own and never holds up who receives.

    names:     the symbols to record: the venue's spelling to the canonical one.
    say:       sends a message; False where the connection is gone.
    emit:      hands a record of this kind and payload to the recording.
    note:      hands the recording a note of the feed.
    spawn:     runs a task for as long as the connection lives.
    settled:   called once, when the venue has accepted something of all that was asked.
    is_open:   answers or the list of symbols are awaited: `hear` wants to see the messages.
    """

    def __init__(
        self,
        profile: Profile,
        names: Mapping[str, str],
        url: str,
        *,
        findings: Findings,
        say: Callable[[bytes], Awaitable[bool]],
        emit: Callable[[RecordKind, bytes], None],
        note: Callable[..., None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        settled: Callable[[], None],
    ) -> None:
        self._profile = profile
        self._names = names
        self._url = url
        self._findings = findings
        self._say = say
        self._emit = emit
        self._note = note
        self._spawn = spawn
        self._settled = settled
        self._ids = count(_FIRST_FREE_ID, 2)
        self._turn = _Turn(profile.request_spacing_s)
        self._rest_turn = _Turn(profile.rest_spacing_s)
        self._awaited: dict[Topic, tuple[int, float]] = {}  # the id of the request, and when it is overdue
        self._asked: set[Topic] = set()  # when the connection was opened
        self._opening: set[Topic] = set()  # of those, what was not answered yet
        self._wants_list_until = 0.0
        self._was_answered = False
        self._healing: set[str] = set()
        self._heals: dict[str, tuple[float, float]] = {}  # when last, and the pause before the next, in seconds
        self.is_open = True
        self._spawn(self._open())

    async def _open(self) -> None:
        requests = self._profile.opening(list(self._names))
        if self._profile.lists_symbols:
            self._wants_list_until = _now() + self._profile.answer_after_s
        self._asked = {topic for request in requests for topic in request.topics}
        self._opening = set(self._asked)
        if self._profile.listing_url is not None and self._names and not self._findings.is_listed:
            self._spawn(self._list(self._profile.listing_url))
        for request in requests:
            await self._request(request)

    async def _request(self, request: Request) -> None:
        """Send a request, and await its answer from then on."""
        async with self._turn:
            due = _now() + self._profile.answer_after_s
            for topic in request.topics:
                self._awaited[topic] = (request.id, due)
            self.is_open = True
            if await self._say(request.payload) and request.topics:
                self._emit(RecordKind.SUBSCRIBED, request.payload)

    def hear(self, payload: bytes) -> None:
        """A message, while `is_open`."""
        if not any(hint in payload for hint in self._profile.hints):
            return
        reading = self._profile.read(payload)
        if reading is not None:
            self._read(reading)

    def _read(self, reading: Reading) -> None:
        match reading:
            case Reply():
                self._answer(reading)
            case System():
                self._findings.is_online = reading.is_online
            case Listing():
                self._wants_list_until = 0.0
                self._look_up(reading)
        self._listen()

    def _answer(self, reply: Reply) -> None:
        topics = [topic for topic, (number, _) in self._awaited.items() if _answers(reply, topic, number)]
        for topic in topics:
            del self._awaited[topic]
            self._was_answered = True
            channel, name = topic
            known = (channel, self._names.get(name, name) if name is not None else None)
            if reply.error is None:
                self._findings.rejected.pop(known, None)
            else:
                # The frame is on record, and its row says `rejected`.
                self._findings.rejected[known] = reply.error
        self._close_opening(topics)

    def _close_opening(self, topics: list[Topic]) -> None:
        if not self._opening:
            return
        self._opening.difference_update(topics)
        if self._opening:
            return
        if self._was_answered:
            self._settled()
        if self._profile.snapshot_url is not None:
            for symbol in self._names.values():
                self.heal(symbol)

    async def _list(self, address: Callable[[str, Sequence[str]], str]) -> None:
        """Ask for the rules of the symbols; where the venue does not know them all, first for all that it knows."""
        names = list(self._names)
        answer = await self._fetched(address(self._url, names), "listing_failed")
        if answer.status != 200:
            everything = await self._fetched(address(self._url, ()), "listing_failed")
            reading = self._profile.read(everything.body)
            if isinstance(reading, Listing):
                self._look_up(reading)
            names = [name for name in names if self._names[name] not in self._findings.unknown]
            if not isinstance(reading, Listing) or not names:
                return
            answer = await self._fetched(address(self._url, names), "listing_failed")
        if answer.status == 200:
            self._findings.is_listed = True
            self._emit(RecordKind.REST, address(self._url, names).encode() + b"\n" + answer.body)

    def _look_up(self, listing: Listing) -> None:
        self._findings.is_listed = True
        found = unlisted(listing.symbols, self._names.values())
        self._findings.unknown.clear()
        self._findings.unknown.update(found)
        for symbol, near in found.items():
            self._note("unknown_symbol", symbol=symbol, suggestions=near)

    def has_failed(self) -> bool:
        """Tell the recording of requests that nobody answered; True where the venue answered none at all."""
        now = _now()
        overdue = [topic for topic, (_, due) in self._awaited.items() if due <= now]
        for topic in overdue:
            del self._awaited[topic]
            channel, name = topic
            known = {} if name is None else {"symbol": self._names.get(name, name)}
            self._note("unanswered", channel=channel, **known)
        if overdue and not self._was_answered:
            return True
        self._close_opening(overdue)
        self._listen()
        return False

    def _listen(self) -> None:
        """Whether messages are to be looked at from here on."""
        self.is_open = bool(self._awaited or self._opening) or _now() < self._wants_list_until

    def is_rejected(self, name: str) -> bool:
        """The venue refuses all channels of a symbol (given in its spelling), or does not list it."""
        symbol, rejected = self._names[name], self._findings.rejected
        asked = {(channel, symbol) for channel, of in self._asked if of == name}
        is_refused = bool(asked) and asked <= rejected.keys()
        return is_refused or symbol in self._findings.unknown or (_DEPTH, symbol) in rejected

    # -- signs of life and new books --------------------------------------------------------------------

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._spawn(self._request(self._profile.ping(next(self._ids))))

    def ask(self, name: str) -> None:
        """Ask for a sign of life about a symbol, given in the venue's spelling."""
        self._spawn(self._all(self._profile.ask(name, next(self._ids))))

    def heal(self, symbol: str) -> None:
        """Ask for a new book of a symbol. While one is on its way, or soon after one that did not help, it waits."""
        if symbol in self._healing or symbol not in self._names.values():
            return
        self._healing.add(symbol)
        self._spawn(self._heal(symbol))

    async def _heal(self, symbol: str) -> None:
        try:
            await asyncio.sleep(self._heal_pause_s(symbol))
            name = next(name for name, known in self._names.items() if known == symbol)
            if self._profile.snapshot_url is not None:
                await self._snapshot(symbol, self._profile.snapshot_url(self._url, name))
            else:
                await self._all(self._profile.heal(name, next(self._ids)))
        finally:
            self._healing.discard(symbol)

    def _heal_pause_s(self, symbol: str) -> float:
        """The first heal starts at once; a book that breaks again and again is asked for less and less often."""
        now = _now()
        last, pause = self._heals.get(symbol, (now - _LONGEST_PAUSE_S, 0.0))
        if now - last >= _LONGEST_PAUSE_S:
            pause = 0.0
        wait = max(0.0, last + pause - now)
        grown = min(_LONGEST_PAUSE_S / 2, max(2 * pause, self._profile.first_pause_s))
        self._heals[symbol] = (now + wait, grown)
        return wait

    async def _all(self, requests: list[Request]) -> None:
        for request in requests:
            await self._request(request)

    async def _fetched(self, url: str, complaint: str, **parts: str) -> rest.Answer:
        """An answer, asked for again and again until it comes or the venue says that there is none."""
        pause = self._profile.first_pause_s
        while True:
            try:
                async with self._rest_turn:
                    answer = await rest.get(url, self._profile.rest_timeout_s)
            except rest.RestProblem as problem:
                reason, least = str(problem), 0.0
            else:
                if answer.status in (200, 400):
                    return answer
                reason, least = f"HTTP {answer.status}", answer.retry_after_s
            self._note(complaint, **parts, reason=reason)
            await asyncio.sleep(max(pause, least))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _snapshot(self, symbol: str, url: str) -> None:
        """Fetch a book. It, or the venue's word that it knows no such symbol, is part of the stream."""
        answer = await self._fetched(url, "snapshot_failed", symbol=symbol)
        self._emit(RecordKind.REST, url.encode() + b"\n" + answer.body)
        if answer.status == 400:
            self._findings.rejected[_DEPTH, symbol] = answer.body.decode(errors="replace")[:200]


class _Turn:
    """Lets one request after the other be made, `spacing_s` apart. Whoever made one is not held up by that."""

    def __init__(self, spacing_s: float) -> None:
        self._spacing_s = spacing_s
        self._lock = asyncio.Lock()
        self._free_at = 0.0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await asyncio.sleep(max(0.0, self._free_at - _now()))
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._free_at = _now() + self._spacing_s
        self._lock.release()


def _answers(reply: Reply, topic: Topic, number: int) -> bool:
    """A reply is about the topic that it names in full, or about what its request asked for its symbol (or at all)."""
    channel, name = topic
    if reply.channel is not None:
        return (channel, name) == (reply.channel, reply.symbol)
    is_ours = reply.id in (None, number)
    if reply.symbol is not None:
        return is_ours and name == reply.symbol
    return is_ours and reply.id is not None


def _now() -> float:
    """Seconds of the event loop's clock."""
    return asyncio.get_running_loop().time()
