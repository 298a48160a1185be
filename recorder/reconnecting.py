"""When to try a venue again: growing pauses, within what the venue allows."""

import random
from collections import deque
from collections.abc import Callable

_JITTER = 0.5


class Reconnects:
    """The pauses between attempts to connect. Times are seconds of any one clock.

    The first attempt starts at once. After a failure the pause doubles, from `first_s` to `longest_s`, and up to half
    of it is left to chance, so that clients which lost a venue together do not return together. Venues count attempts
    (Kraken bans an address for ten minutes): the first half of `attempts_max` may be spent as fast as the pauses
    allow, the second is spread over the window, and past the last nothing is tried until the oldest is forgotten.

    attempts_max:  attempts that the venue allows within `window_s`.
    chance:        a number from 0 to 1, each time another.
    """

    def __init__(
        self,
        attempts_max: int,
        window_s: float,
        *,
        first_s: float,
        longest_s: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._attempts_max = attempts_max
        self._window_s = window_s
        self._first_s = first_s
        self._longest_s = longest_s
        self._chance = chance
        self._attempts: deque[float] = deque()
        self._failures = 0
        self._least_s = 0.0

    def attempt(self, now: float) -> None:
        """An attempt starts. Until `succeeded` is called it counts as failed."""
        self._attempts.append(now)
        self._failures += 1
        self._least_s = 0.0

    def succeeded(self) -> None:
        """The venue does what it was asked: the next pause is the shortest again."""
        self._failures = 1

    def wait_at_least(self, seconds: float) -> None:
        """The venue is under maintenance: the next pause is no shorter than this."""
        self._least_s = max(self._least_s, seconds)

    def pause_s(self, now: float) -> float:
        """Seconds from `now` to the next attempt."""
        while self._attempts and self._attempts[0] <= now - self._window_s:
            self._attempts.popleft()
        if not self._failures:
            return 0.0
        grown = min(self._longest_s, self._first_s * 2.0 ** min(self._failures - 1, 60))
        pause = grown * (1.0 - _JITTER * self._chance())
        return max(pause, self._least_s, self._budget_s(now))

    def _budget_s(self, now: float) -> float:
        spent = len(self._attempts)
        if spent >= self._attempts_max:
            return self._attempts[spent - self._attempts_max] + self._window_s - now
        calm = self._attempts_max // 2
        return self._window_s / (self._attempts_max - calm) if spent >= calm else 0.0
