"""A store that is looked at now and then, in a thread beside the requests, by however many of them ask.

What was seen last is what requests use. A process that was frozen wakes up with old news: its next request waits a
moment for a look, and goes on with the old news where none comes. A store that fails is logged, tried again later, and
fails no request. It does not know what is read; who follows a store owns one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from contracts.deadline import Deadline
from contracts.errors import TandemError
from lambda_user_tower.logs import Log

PATIENCE_MS: Final = 60.0
"""Most that a request waits for a look: several times what a query of the store takes."""

PATIENCE_SHARE: Final = 0.4
"""The same, of the time that the request has left."""

_ROUNDS: Final = 2
"""Looks that a request may wait for: one that was under way when the process was frozen, and its own."""


_CHANCE_BYTES: Final = 4


class Moment(NamedTuple):
    """By two clocks: one that never goes back, and one that a frozen process finds moved on."""

    monotonic: float
    wall: float


NEVER: Final = Moment(-float("inf"), -float("inf"))


_FOR_GOOD: Final = Moment(float("inf"), float("inf"))
"""As a moment of the last try: nothing is due any more."""

_CLOSING_SECONDS: Final = 1.0
"""Longer than a store of this machine takes; one in AWS is not closed before its process ends."""


class Clocks(NamedTuple):
    """Where the time comes from, in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def now(self) -> Moment:
        return Moment(self.monotonic(), self.wall())

    def since(self, moment: Moment) -> float:
        """Seconds, by the clock that has gone further."""
        now = self.now()
        return max(now.monotonic - moment.monotonic, now.wall - moment.wall)


class Rhythm(NamedTuple):
    """How often a store is looked at, in seconds, and from which age on what was seen is old."""

    check_seconds: float
    old_seconds: float
    jitter: float = 0.0
    """Share of `check_seconds` by which each look is earlier or later at random, so that a thousand processes that
    began together do not look together."""
    failed: str = "live-data-not-read"
    """What the log calls a look that failed."""

    def next_seconds(self) -> float:
        """From one look to the next. By the system's own chance: processes of one snapshot share every other."""
        if not self.jitter:
            return self.check_seconds
        chance = int.from_bytes(os.urandom(_CHANCE_BYTES)) / 256**_CHANCE_BYTES
        return self.check_seconds * (1 + self.jitter * (2 * chance - 1))


class Looks:
    """When a store was looked at, and the look that is under way."""

    def __init__(self, read: Callable[[], None], rhythm: Rhythm, log: Log, clocks: Clocks | None = None) -> None:
        """Looks at nothing yet. `read` reads the store and keeps what it saw; it is called by one thread at a time."""
        self._read, self._rhythm, self._log, self._clocks = read, rhythm, log, clocks or Clocks()
        self._succeeded, self._tried = NEVER, NEVER
        self._next_seconds = rhythm.next_seconds()
        self._starting = threading.Lock()
        self._under_way: threading.Event | None = None

    @property
    def age_seconds(self) -> float:
        """Since the store was read; infinite before it was."""
        return self._clocks.since(self._succeeded)

    @property
    def is_old(self) -> bool:
        """Whether what was seen cannot be relied on any more."""
        return self.age_seconds > self._rhythm.old_seconds

    def forget(self) -> None:
        """Hold what was seen for old, and have the next request look at once."""
        self._succeeded, self._tried = NEVER, NEVER

    def close(self) -> None:
        """Look no more, and let the look that is under way end, where a process does not end with its edge."""
        with self._starting:
            self._tried, look = _FOR_GOOD, self._under_way
        if look is not None:
            look.wait(_CLOSING_SECONDS)

    def refresh(self, patience_seconds: float = 0.0) -> bool:
        """Have the store looked at where that is due, and wait so long where what was seen is old.

        Returns whether it can be relied on. Never raises.
        """
        patience = Deadline(patience_seconds * 1_000)
        for _ in range(_ROUNDS):
            look = self._look_if_due()
            if not self.is_old:
                return True
            if look is not None:
                look.wait(patience.remaining_ms() / 1_000)
        return not self.is_old

    def refresh_within(self, deadline: Deadline) -> bool:
        """As `refresh`, for a request: it waits for a share of the time that it has."""
        return self.refresh(deadline.share(PATIENCE_SHARE, PATIENCE_MS).remaining_ms() / 1_000)

    def _look_if_due(self) -> threading.Event | None:
        """The look that is under way, or begins now; None where it is too early for another one."""
        with self._starting:
            if self._under_way is None and self._clocks.since(self._tried) >= self._next_seconds:
                self._next_seconds = self._rhythm.next_seconds()
                self._tried, self._under_way = self._clocks.now(), threading.Event()
                threading.Thread(target=self._look, args=(self._under_way,), daemon=True).start()
            return self._under_way

    def _look(self, done: threading.Event) -> None:
        try:
            began = self._clocks.now()
            self._read()
            self._succeeded = began
        except (TandemError, OSError) as error:
            self._log.write("ERROR", self._rhythm.failed, error=str(error))
        finally:
            with self._starting:
                self._under_way = None
            done.set()
