"""A request's time budget on the monotonic clock, seen by every stage.

A stage asks whether there is time left and gives each dependency a share with an end of its own; what it cuts short it
names in `degraded`. Nothing here waits or interrupts. The Lambda edge starts one per request; offline work uses
`Deadline.never()`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Deadline:
    """The moment by which an answer must be ready."""

    __slots__ = ("_clock", "_ends")

    def __init__(self, budget_ms: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`budget_ms` from now; `clock` gives seconds and never goes back."""
        self._clock = clock
        self._ends = clock() + budget_ms / 1000

    @classmethod
    def never(cls) -> Deadline:
        """For offline work: infinite time."""
        return cls(math.inf)

    def remaining_ms(self) -> float:
        """Milliseconds left, never negative."""
        return max(0.0, (self._ends - self._clock()) * 1000)

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self._clock() >= self._ends

    def share(self, fraction: float, at_most_ms: float = math.inf) -> Deadline:
        """A deadline for one dependency: `fraction` of what is left now, and at most `at_most_ms`."""
        return Deadline(min(self.remaining_ms() * fraction, at_most_ms), self._clock)
