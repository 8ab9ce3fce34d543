"""A circuit breaker: a dependency that is known to fail is not asked.

After FAILURES failures in a row it opens: calls are IndexUnavailable at once, until OPEN_SECONDS have passed and one
call, and only one at a time, is let through to try. Libraries exist (pybreaker is the best kept), but they hold their
lock during the call, which would make the threads of a server wait for each other; this one holds it only to count.
`search_index.py` puts it around the calls that it really makes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from contracts.errors import IndexUnavailable

FAILURES: Final = 5
"""One lost packet is no outage; five in a row are."""
OPEN_SECONDS: Final = 5.0
"""One request in five seconds pays for the trial."""


class CircuitBreaker:
    """Counts failures; thread safe."""

    def __init__(
        self,
        failures: int = FAILURES,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds and never goes back."""
        self._limit, self._open_seconds, self._clock = failures, open_seconds, clock
        self._failed = 0
        self._open = False
        self._trying = False
        self._next_trial = 0.0
        self._era = 0
        self._lock = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call, which failed if it raises. While the breaker is open: IndexUnavailable, and no call."""
        era = self._enter()
        answered = False
        try:
            yield
            answered = True
        finally:
            self._leave(era, answered)

    def _enter(self) -> int:
        """The era of a call that may be made: openings and closings so far."""
        with self._lock:
            if self._open:
                if self._trying or self._clock() < self._next_trial:
                    raise IndexUnavailable("the index has failed repeatedly and is not asked for a while.")
                self._trying = True
            return self._era

    def _leave(self, era: int, answered: bool) -> None:
        with self._lock:
            if era != self._era:
                return  # it began before the breaker opened or closed, and says nothing of how things are now
            self._failed = 0 if answered else self._failed + 1
            if answered and self._open:
                self._open, self._trying, self._era = False, False, era + 1
            elif not answered and (self._open or self._failed >= self._limit):
                self._open, self._trying, self._era = True, False, era + 1
                self._next_trial = self._clock() + self._open_seconds
