"""What this process has seen happen in these ten minutes, counted beside the events and written now and then.

A process keeps one sum an item and bucket, and writes its own record over as it grows (`stores/live_counts.py`), so a
write that is repeated changes nothing. Nothing here fails an event or holds it up for long: a store that does not
answer is tried again later, with all that has come until then. A Lambda that is frozen writes what is left at its next
event, under the bucket in which it happened; one that ends unasked loses the events since its last write. It does not
know what is counted; `intake.py` adds each batch that it takes in, `edge.py` owns one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from heapq import nlargest
from operator import itemgetter
from typing import Final

from contracts.errors import TandemError
from contracts.live import BUCKET_SECONDS, COUNTED_ITEMS, Counts
from lambda_user_tower.fresh_id import fresh_id
from lambda_user_tower.logs import Log
from stores.live_counts import LiveCounts

WRITE_SECONDS: Final = 10.0
"""From one write to the next: a sixth of how often readers look, and a thousand writes of 40 KB a bucket at most for
sixteen busy processes."""

PATIENCE_SECONDS: Final = 0.1
"""An event waits so long for a write that it began: several times what one takes, and once in WRITE_SECONDS."""

KEPT_ITEMS: Final = 4 * COUNTED_ITEMS
"""Items of a bucket in memory, 400 KB of them. Of more, the better half stays; an item that was dropped starts anew, so
counts are exact below this, and above it nothing is dropped that has more than one part in 2 × COUNTED_ITEMS of all."""

_BY_WEIGHT: Final = itemgetter(1)


class LiveCounter:
    """The counts of one process. Threads may share one."""

    def __init__(self, counts: Callable[[], LiveCounts], writer: str, log: Log | None = None) -> None:
        """Opens nothing yet. `writer` is this process's own name, which no other has or gets; `log` is told of
        writes that failed."""
        self._counts, self._writer, self._log = counts, writer, log
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._bucket = 0
        self._weights: dict[str, float] = {}
        self._closed: Counts | None = None
        self._changed = False
        self._next_write = -float("inf")
        self._writing: threading.Timer | None = None

    def add(self, item_ids: Sequence[str], weights: Sequence[float], now_seconds: int) -> None:
        """Count events that happened now; one of no positive weight makes nothing popular. Never raises.

        Leave out what happened before these ten minutes (a batch that was replayed): it would be counted as of now.
        """
        counted = [(item, weight) for item, weight in zip(item_ids, weights, strict=True) if weight > 0]
        if not counted:
            return
        with self._lock:
            self._turn_to(now_seconds // BUCKET_SECONDS)
            for item, weight in counted:
                self._weights[item] = self._weights.get(item, 0.0) + weight
            if len(self._weights) > KEPT_ITEMS:
                self._weights = self._best(KEPT_ITEMS // 2)
            self._changed = True
            due = time.monotonic() >= self._next_write
            writing = self._begin()
        if due:
            writing.join(PATIENCE_SECONDS)

    def renew(self) -> None:
        """Begin anew under a new name: for a process that was restored from a snapshot, as others were with it."""
        with self._lock:
            if self._writing is not None:
                self._writing.cancel()
            self._writer = fresh_id()
            self._clear()

    def close(self) -> None:
        """Write what is left, for a process that ends."""
        with self._lock:
            writing = self._writing
        if writing is not None:
            writing.cancel()
            writing.join(PATIENCE_SECONDS)
        with self._lock:
            records = self._take()
        self._try(records)

    def _turn_to(self, bucket: int) -> None:
        """Count in this bucket from now on; a clock that was set back goes on in the one that it had reached.

        Of a bucket that ended, what is not written yet is kept for the next write; of the one before it, no more.
        """
        if bucket <= self._bucket:
            return
        if self._changed:
            self._closed = self._record()
        self._bucket, self._weights, self._changed = bucket, {}, False

    def _record(self) -> Counts:
        return Counts(self._bucket, self._writer, self._best(COUNTED_ITEMS))

    def _best(self, number: int) -> dict[str, float]:
        if len(self._weights) <= number:
            return dict(self._weights)
        return dict(nlargest(number, self._weights.items(), key=_BY_WEIGHT))

    def _begin(self) -> threading.Timer:
        """The write that waits for its time or is under way."""
        if self._writing is None:
            self._writing = threading.Timer(max(0.0, self._next_write - time.monotonic()), self._write)
            self._writing.daemon = True
            self._writing.start()
        return self._writing

    def _write(self) -> None:
        """Write what has changed, and come back later for what changes meanwhile or was not taken."""
        with self._lock:
            writer, records = self._writer, self._take()
        written = False
        try:
            written = self._try(records)
        finally:
            with self._lock:
                if writer == self._writer:  # else renewed meanwhile: what was counted before is nothing to this process
                    self._settle(records, written)

    def _take(self) -> list[Counts]:
        """What is to be written now: the rest of the bucket that ended, and the present one."""
        self._next_write = time.monotonic() + WRITE_SECONDS
        records = [] if self._closed is None else [self._closed]
        if self._changed:
            records.append(self._record())
        self._closed, self._changed = None, False
        return records

    def _settle(self, records: Sequence[Counts], written: bool) -> None:
        self._writing = None
        if records and not written:
            self._put_back(records)
        if self._changed or self._closed is not None:
            self._begin()

    def _put_back(self, records: Sequence[Counts]) -> None:
        """Have the newest of what ended, and what is not over, written once more."""
        ended = [record for record in records if record.bucket < self._bucket]
        if self._closed is None and ended:
            self._closed = ended[-1]
        self._changed |= records[-1].bucket == self._bucket

    def _try(self, records: Sequence[Counts]) -> bool:
        try:
            for record in records:
                self._counts().write(record)
        except (TandemError, OSError) as error:
            if self._log is not None:
                self._log.write("ERROR", "live-counts-not-written", error=str(error))
            return False
        return True
