"""A snapshot that remembers what it was asked, and answers as the one it stands for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from apps.plain import plain
from engine.snapshot import BySymbol, Snapshot, TradeSnapshot


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a strategy asked its snapshot, such as `book('BTC/USD')`, and the answer as JSON has it."""

    asked: str
    answer: Any


class Heard:
    """The questions so far, each once: the same question has the same answer within a moment."""

    def __init__(self) -> None:
        self.questions: dict[str, Question] = {}
        self.is_listening = True
        self.depth = 0  # of answers that ask the snapshot themselves

    def note(self, asked: str, answer: object) -> None:
        """One question and its answer, unless it was asked by another answer, or too late."""
        if self.is_listening and not self.depth:
            self.questions.setdefault(asked, Question(asked=asked, answer=plain(answer)))


def listening(data: Snapshot, heard: Heard) -> Snapshot:
    """A snapshot of the same moment that tells `heard` what it is asked."""
    kind = _HeardTrade if isinstance(data, TradeSnapshot) else _HeardSnapshot
    fields = {name: getattr(data, name) for name in data.__struct_fields__}
    return kind(**fields, _heard=heard)


def _answer(snapshot: Snapshot, name: str, ask: Callable[[str], Any]) -> Any:
    """What `ask` finds for the attribute `name`, noted where it is public."""
    if name.startswith("_"):
        return ask(name)
    heard: Heard = ask("_heard")
    heard.depth += 1
    try:
        found = ask(name)
    finally:
        heard.depth -= 1
    if isinstance(found, BySymbol):
        return _HeardMapping(name, found, heard)
    if callable(found):
        return _noting(name, found, heard)
    heard.note(name, found)
    return found


def _noting(name: str, method: Callable[..., Any], heard: Heard) -> Callable[..., Any]:
    def ask(*args: Any, **kwargs: Any) -> Any:
        words = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
        heard.depth += 1
        try:
            found = method(*args, **kwargs)
        finally:
            heard.depth -= 1
        heard.note(f"{name}({', '.join(words)})", found)
        return found

    return ask


class _HeardSnapshot(Snapshot, frozen=True, gc=False, eq=False, kw_only=True):
    _heard: Heard

    def __getattribute__(self, name: str) -> Any:
        return _answer(self, name, super().__getattribute__)


class _HeardTrade(TradeSnapshot, frozen=True, gc=False, eq=False, kw_only=True):
    _heard: Heard

    def __getattribute__(self, name: str) -> Any:
        return _answer(self, name, super().__getattribute__)


class _HeardMapping(Mapping[str, Any]):
    """Answers by symbol, of which those that are looked up are noted: looking at all would be asking for them."""

    def __init__(self, name: str, answers: Mapping[str, Any], heard: Heard) -> None:
        self._name = name
        self._answers = answers
        self._heard = heard

    def __getitem__(self, symbol: str) -> Any:
        found = self._answers[symbol]
        self._heard.note(f"{self._name}[{symbol!r}]", found)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)
