"""What may go wrong on the way from a served venue to one client: seeded, so that it goes wrong again."""

import re
from collections import Counter
from enum import Enum
from random import Random

import msgspec

from apps.problems import UserProblem, nearest

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PERIOD = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|f)", re.ASCII)
_CHECKSUM = re.compile(rb'"checksum":(\d+)')
_CHECKSUMS = 2**32
_FRAMES_DRAWN_MAX = 1_000
"""Where a fault is asked for without saying when, it comes within so many frames."""

_ODDS = ("drop", "dup", "reorder", "garble", "checksum")
_NAMES = (*_ODDS, "disconnect", "stall", "half-open")


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a stream, by its time or by its frames: one of the two is 0."""

    ns: int = 0
    frames: int = 0


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Which faults a client is to suffer. They befall what is streamed, never an answer to a request.

    drop:        odds that a frame is not sent.
    dup:         odds that it is sent twice.
    reorder:     odds that it is sent after the one that follows it.
    garble:      odds that some of its bytes are flipped, which may leave it no text.
    checksum:    odds that a Kraken book frame carries a wrong checksum.
    disconnect:  the connection is cut after this much of the stream, without a closing handshake.
    stall_s:     every so often, within 1,000 frames, nothing is sent for this long; what was due comes after it.
    half_open:   after this much of the stream nothing is read or sent any more, and nothing is closed. An empty
                 period: somewhere within 1,000 frames.
    """

    drop: float = 0.0
    dup: float = 0.0
    reorder: float = 0.0
    garble: float = 0.0
    checksum: float = 0.0
    disconnect: Period | None = None
    stall_s: float = 0.0
    half_open: Period | None = None


def parse_faults(text: str) -> Faults:
    """Faults as the command line names them: `drop=0.001,disconnect=30s,stall=5s,half-open`.

    Odds are numbers from 0 to 1; a stretch is a time (`500ms`, `30s`, `5m`) or a count of frames (`500f`).
    Raises UserProblem for anything else.
    """
    found: dict[str, float | Period | None] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, has_value, value = (part.strip() for part in word.partition("="))
        if name not in _NAMES:
            raise UserProblem(f"--fault {word}: expected one of {', '.join(_NAMES)}{nearest(name, _NAMES)}")
        field = {"stall": "stall_s", "half-open": "half_open"}.get(name, name)
        if field in found:
            raise UserProblem(f"--fault {word}: expected each fault once, found {name} again")
        if name in _ODDS:
            found[field] = _odds(word, value)
        elif name == "stall":
            found[field] = _period(word, value, may_count=False).ns / 1e9
        elif name == "half-open" and not has_value:
            found[field] = Period()
        else:
            found[field] = _period(word, value, may_count=True)
    return msgspec.convert({name: msgspec.to_builtins(value) for name, value in found.items()}, Faults)


def _odds(word: str, text: str) -> float:
    try:
        odds = float(text)
    except ValueError:
        odds = -1.0
    if not 0.0 <= odds <= 1.0:
        raise UserProblem(f"--fault {word}: expected odds from 0 to 1, found {text or 'nothing'}")
    return odds


def _period(word: str, text: str, *, may_count: bool) -> Period:
    match = _PERIOD.fullmatch(text)
    if match and match[2] != "f" and float(match[1]) > 0.0:
        return Period(ns=round(float(match[1]) * _UNITS_S[match[2]] * 1e9))
    if match and match[2] == "f" and may_count and match[1].isdigit() and int(match[1]) > 0:
        return Period(frames=int(match[1]))
    expected = "a time like 30s or a count like 500f" if may_count else "a time like 5s"
    raise UserProblem(f"--fault {word}: expected {expected}, found {text or 'nothing'}")


class Then(Enum):
    """What happens to the connection besides its frames."""

    GO_ON = "go on"
    STALL = "stall"
    CUT = "disconnect"
    FREEZE = "half-open"


class FaultPlan:
    """The faults of one connection: the same ones for the same seed, number of connection and frames.

    counts:  how often each fault struck, by its name on the command line.
    """

    def __init__(self, faults: Faults, seed: int, conn: int) -> None:
        self.counts: Counter[str] = Counter()
        self._faults = faults
        self._chance = Random(f"{seed} faults {conn}")
        self._is_clean = faults == Faults()
        self._frames = 0
        self._first_ns: int | None = None
        self._held: bytes | None = None
        self._freeze = faults.half_open
        if faults.half_open == Period():
            self._freeze = Period(frames=self._drawn())
        self._stalls_at = self._drawn() if faults.stall_s else 0

    def take(self, ts: int, payload: bytes) -> tuple[list[bytes], Then]:
        """What is sent in place of the next frame, streamed at `ts` (ns), and what happens after that."""
        if self._is_clean:
            return [payload], Then.GO_ON
        if self._first_ns is None:
            self._first_ns = ts
        self._frames += 1
        then = self._then(ts - self._first_ns)
        if then is not Then.GO_ON:
            self.counts[then.value] += 1
        return self._sent(payload), then

    def rest(self) -> list[bytes]:
        """A frame that was to follow the next one, where there is no next one."""
        held, self._held = self._held, None
        return [] if held is None else [held]

    def _then(self, elapsed_ns: int) -> Then:
        if self._is_over(self._freeze, elapsed_ns):
            return Then.FREEZE
        if self._is_over(self._faults.disconnect, elapsed_ns):
            return Then.CUT
        if self._frames == self._stalls_at:
            self._stalls_at += self._drawn()
            return Then.STALL
        return Then.GO_ON

    def _is_over(self, period: Period | None, elapsed_ns: int) -> bool:
        if period is None:
            return False
        return self._frames >= period.frames if period.frames else elapsed_ns >= period.ns

    def _sent(self, payload: bytes) -> list[bytes]:
        faults = self._faults
        if self._strikes("drop", faults.drop):
            return []
        if faults.checksum and (match := _CHECKSUM.search(payload)) and self._strikes("checksum", faults.checksum):
            wrong = (int(match[1]) + self._chance.randrange(1, _CHECKSUMS)) % _CHECKSUMS
            payload = payload[: match.start(1)] + b"%d" % wrong + payload[match.end(1) :]
        if payload and self._strikes("garble", faults.garble):
            payload = self._garbled(payload)
        sent = [payload, payload] if self._strikes("dup", faults.dup) else [payload]
        if self._held is not None:
            return sent + self.rest()
        if self._strikes("reorder", faults.reorder):
            self._held = sent.pop()
        return sent

    def _strikes(self, name: str, odds: float) -> bool:
        # Nothing is drawn for a fault that nobody asked for: another one strikes the same frames with and without it.
        if not odds or self._chance.random() >= odds:
            return False
        self.counts[name] += 1
        return True

    def _garbled(self, payload: bytes) -> bytes:
        spoiled = bytearray(payload)
        for place in self._chance.sample(range(len(payload)), min(len(payload), self._chance.randint(1, 4))):
            spoiled[place] ^= self._chance.randrange(1, 256)
        return bytes(spoiled)

    def _drawn(self) -> int:
        return self._chance.randint(1, _FRAMES_DRAWN_MAX)
