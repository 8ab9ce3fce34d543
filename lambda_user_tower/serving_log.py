"""What this process served, written down: exposures before the answer leaves, slates beside the requests.

An exposure is written once per user, experiment, variation, day and process, and the answer waits for it: a process
that is killed has lost none whose answer left unmarked. Where the log does not take one in time, the answer says so,
and it is tried again with the user's next request. Slates wait in memory and are written together a few seconds later;
a process that is killed loses those, a few seconds of them under load, and what a frozen Lambda still held. Both logs
are at-least-once. It does not know what a slate is made of; `edge.py` owns one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

from contracts.deadline import Deadline
from contracts.errors import TandemError
from contracts.served import Exposure, ServedSlate
from lambda_user_tower.logs import Log
from stores.served_log import ServedLog

REMEMBERED: Final = 50_000
"""Exposures that a process knows it has written, 5 MB: more visitors than one process sees in a day, and whoever is
forgotten is written once more."""

EXPOSURE_SHARE: Final = 0.8
"""Of the time that a request has left: there is nothing to do after it."""
LEAST_PATIENCE_MS: Final = 40.0
"""An answer waits so long for its exposure even where no time is left: else the variant that is slow would lose its
users from the count. Firehose takes tens of milliseconds."""

WRITE_SECONDS: Final = 5.0
"""From the first slate that waits to the write of all: a Lambda's idle minutes are not written by the row."""
WRITE_ROWS: Final = 200
"""So many are not waited with: half of what one call of Firehose takes."""
WAITING_ROWS: Final = 5_000
"""Of a log that does not answer, 5 MB; then the oldest are dropped."""
FROZEN_SECONDS: Final = 3 * WRITE_SECONDS
"""Slates that are older have outlived their timer: the process was frozen, and may be again after this answer."""
PATIENCE_SECONDS: Final = 0.1
"""Such an answer waits so long for them."""

_DAY_SECONDS: Final = 86_400


class ServingLog:
    """The two logs of one process. Threads may share one."""

    def __init__(
        self, exposures: Callable[[], ServedLog], slates: Callable[[], ServedLog], slates_share: float, log: Log
    ) -> None:
        """Opens nothing yet. `slates_share`: of answers whose slate is written, by their recommendation ids."""
        self._exposures, self._log = exposures, log
        self._written: dict[int, None] = {}
        self._lock = threading.Lock()
        self.slates = _Slates(slates, log)
        self._share = slates_share

    def exposed(self, exposures: Sequence[Exposure], deadline: Deadline) -> bool:
        """Whether all of these are in the log, now or since earlier on their day. Waits for a share of the time."""
        news = self._unknown(exposures)
        if not news:
            return True
        done, outcome = threading.Event(), [False]
        threading.Thread(target=self._write, args=(news, outcome, done), daemon=True).start()
        done.wait(max(deadline.remaining_ms() * EXPOSURE_SHARE, LEAST_PATIENCE_MS) / 1_000)
        return outcome[0]

    def takes(self, recommendation_id: str) -> bool:
        """Whether the slate of that id is among the share that is written."""
        return is_in_share(recommendation_id, self._share)

    def served(self, slate: ServedSlate) -> None:
        """Have a slate written."""
        self.slates.add(slate)

    def close(self) -> None:
        """Write what waits, for a process that ends."""
        self.slates.close()

    def _unknown(self, exposures: Sequence[Exposure]) -> list[tuple[int, Exposure]]:
        """Those that are not known to be written, with their marks; what is asked for is forgotten last."""
        news = []
        with self._lock:
            for exposure in exposures:
                mark = _mark(exposure)
                if mark in self._written:
                    self._written[mark] = self._written.pop(mark)
                else:
                    news.append((mark, exposure))
        return news

    def _write(self, news: Sequence[tuple[int, Exposure]], outcome: list[bool], done: threading.Event) -> None:
        """Write exposures; one that arrives after its answer has left is remembered all the same."""
        try:
            reasons = self._exposures().append([exposure for _, exposure in news])
            self._remember([mark for (mark, _), reason in zip(news, reasons, strict=True) if not reason])
            outcome[0] = not any(reasons)
            if not outcome[0]:
                self._log.write("ERROR", "exposures-not-written", error=", ".join(sorted({*reasons} - {""})))
        except (TandemError, OSError) as error:
            self._log.write("ERROR", "exposures-not-written", error=str(error))
        finally:
            done.set()

    def _remember(self, marks: Sequence[int]) -> None:
        with self._lock:
            self._written.update(dict.fromkeys(marks))
            while len(self._written) > REMEMBERED:
                del self._written[next(iter(self._written))]


class _Slates:
    """Slates on their way to the log."""

    def __init__(self, slates: Callable[[], ServedLog], log: Log) -> None:
        self._slates, self._log = slates, log
        self._lock = threading.Lock()
        self._writing_turn = threading.Lock()
        self._waiting: deque[ServedSlate] = deque()
        self._oldest = 0.0
        """When the first of those that wait came, by the wall: a frozen process finds it moved on."""
        self._dropped = 0
        self._timer: threading.Timer | None = None
        self._closed = False

    def add(self, slate: ServedSlate) -> None:
        """Put a slate with those that wait, and see to it that they are written. Never raises."""
        now = time.time()
        with self._lock:
            if not self._waiting:
                self._oldest = now
            self._waiting.append(slate)
            self._drop()
            frozen = now - self._oldest > FROZEN_SECONDS
            if self._timer is None or frozen or len(self._waiting) == WRITE_ROWS:
                timer = self._begin(0.0 if frozen or len(self._waiting) >= WRITE_ROWS else WRITE_SECONDS)
        if frozen:
            timer.join(PATIENCE_SECONDS)

    def close(self) -> None:
        """Write what waits."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
        self._write()

    def _begin(self, seconds: float) -> threading.Timer:
        """A write in so many seconds, instead of the one that was to come."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._write)
        self._timer.daemon = True
        self._timer.start()
        return self._timer

    def _write(self) -> None:
        """Write all that wait; what the log does not take waits on, before what came meanwhile."""
        with self._writing_turn:
            with self._lock:
                rows, self._waiting, dropped = list(self._waiting), deque(), self._dropped
                self._dropped, self._timer = 0, None
            if dropped:
                self._log.write("ERROR", "slates-dropped", number=dropped)
            left = self._append(rows) if rows else []
            if left:
                with self._lock:
                    self._waiting.extendleft(reversed(left))
                    self._oldest = time.time()
                    self._drop()
                    if self._timer is None and not self._closed:
                        self._begin(WRITE_SECONDS)

    def _append(self, rows: list[ServedSlate]) -> list[ServedSlate]:
        """Write rows; those that were not taken."""
        try:
            reasons = self._slates().append(rows)
        except (TandemError, OSError) as error:
            self._log.write("ERROR", "slates-not-written", error=str(error))
            return rows
        left = [row for row, reason in zip(rows, reasons, strict=True) if reason]
        if left:
            self._log.write("ERROR", "slates-not-written", error=", ".join(sorted({*reasons} - {""})))
        return left

    def _drop(self) -> None:
        """The oldest give way where too many wait."""
        while len(self._waiting) > WAITING_ROWS:
            self._waiting.popleft()
            self._dropped += 1


def _mark(exposure: Exposure) -> int:
    """What `exposure_key` tells apart, in 64 bits of this process's own: a tenth of the time, in every request."""
    day = exposure.timestamp // _DAY_SECONDS
    return hash((exposure.user_id, exposure.experiment_id, exposure.variation_id, day))


def is_in_share(recommendation_id: str, share: float) -> bool:
    """Whether a slate is among the share that is logged: the same for everybody who knows its id."""
    if share >= 1:
        return True
    digest = blake2b(recommendation_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
