"""A vector index that is not asked while it is known to fail.

After FAILURES failures in a row the breaker opens: searches are IndexUnavailable at once, until OPEN_SECONDS have
passed and one request, and only one, is let through to try. Libraries exist (pybreaker is the best kept), but they
hold their lock during the call, which would make the threads of a server wait for each other; this one holds it only
to count. `lambda_user_tower/engine.py` puts it before the search engine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import Floats, Rows
from contracts.restriction import Restriction
from stores.vector_index import VectorIndex

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
        self._next_trial = 0.0
        self._lock = threading.Lock()

    def lets_through(self) -> bool:
        """Whether this call may be made; where the breaker is open, one caller in `open_seconds` may try."""
        with self._lock:
            if self._failed < self._limit:
                return True
            if self._clock() < self._next_trial:
                return False
            self._next_trial = self._clock() + self._open_seconds
            return True

    def succeeded(self) -> None:
        """A call was answered: closed again."""
        with self._lock:
            self._failed = 0

    def failed(self) -> None:
        """A call was not answered."""
        with self._lock:
            self._failed += 1
            if self._failed >= self._limit:
                self._next_trial = self._clock() + self._open_seconds


class GuardedIndex:
    """A VectorIndex behind a breaker."""

    def __init__(self, index: VectorIndex, breaker: CircuitBreaker) -> None:
        self.index, self.breaker = index, breaker

    def search(
        self, model_name: str, query: Floats, k: int, restriction: Restriction | None, deadline: Deadline
    ) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`. Raises IndexUnavailable without a call while the breaker is open."""
        if not self.breaker.lets_through():
            raise IndexUnavailable("the index has failed repeatedly and is not asked for a while.")
        try:
            found = self.index.search(model_name, query, k, restriction, deadline)
        except IndexUnavailable:
            self.breaker.failed()
            raise
        self.breaker.succeeded()
        return found
