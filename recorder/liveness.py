"""Which symbols have been heard of lately: that a connection lives does not say that a symbol does."""

from collections.abc import Callable, Iterable

from msgspec import Struct

_TOKENS_MAX = 16
_PERIODS = 4


class Silence(Struct, frozen=True):
    """Symbols that just became silent, in the venue's spelling.

    quiet:  for half of the time allowed. Perhaps nothing happens there: worth asking the venue.
    stale:  for the whole of it, although the connection lives.
    """

    quiet: list[str]
    stale: list[str]


class SymbolWatch:
    """Tells which symbols are not spoken of any more. Times are ns of any one clock.

    To read every message would cost more than to receive it. So a symbol that was heard is left alone for a quarter
    of `stale_after_ns`, and only a message that holds the name of one that is awaited is looked into. A symbol
    is found stale up to a quarter of the time late.

    names:   the symbols in the venue's spelling.
    spoken:  the symbols that a message brings news of.
    awaited: while this holds anything, `hear` wants to see the messages.
    """

    def __init__(
        self, names: Iterable[str], spoken: Callable[[bytes], list[str]], stale_after_ns: int, now_ns: int
    ) -> None:
        self._heard = dict.fromkeys(names, now_ns)
        self._spoken = spoken
        self._stale_after_ns = stale_after_ns
        self._next_period_ns = now_ns
        self._quiet: set[str] = set()
        self._stale: set[str] = set()
        self.awaited: dict[str, bytes] = {}
        self._await_all(now_ns)

    def hear(self, payload: bytes, now_ns: int) -> None:
        """A message, while symbols are awaited."""
        tokens = self.awaited.values()
        if len(tokens) <= _TOKENS_MAX and not any(token in payload for token in tokens):
            return
        for name in self._spoken(payload):
            if name in self._heard:
                self._heard[name] = now_ns
                self.awaited.pop(name, None)
                self._quiet.discard(name)
                self._stale.discard(name)

    def forget(self, name: str) -> None:
        """The venue does not send this symbol: its silence is no news."""
        self._heard.pop(name, None)
        self.awaited.pop(name, None)

    def excuse(self, ns: int) -> None:
        """Nobody listened for so long: it does not count as silence."""
        self._heard = {name: heard + ns for name, heard in self._heard.items()}

    def silence(self, now_ns: int) -> Silence:
        """What became silent since the last time; each symbol once until it is heard again."""
        if now_ns >= self._next_period_ns:
            self._await_all(now_ns)
        quiet = self._since(now_ns - self._stale_after_ns // 2, self._quiet)
        stale = self._since(now_ns - self._stale_after_ns, self._stale)
        return Silence(quiet, stale)

    def _since(self, ns: int, known: set[str]) -> list[str]:
        silent = [name for name, heard in self._heard.items() if heard <= ns and name not in known]
        known.update(silent)
        return silent

    def _await_all(self, now_ns: int) -> None:
        # What is sent contains the name, in some case: Binance's streams say btcusdt, and BTCUSDT within.
        self.awaited = {name: name.encode() for name in self._heard}
        self._next_period_ns = now_ns + self._stale_after_ns // _PERIODS
