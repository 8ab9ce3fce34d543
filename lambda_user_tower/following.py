"""What a process has opened of the publication that serves, kept up to date: opened beside, swapped whole.

The first request opens `current`. Later ones have the pointer looked at now and then; a new publication is opened
beside the one that serves, in a thread, and takes over in one assignment, so that no request waits for it or sees half
of it. One that cannot be opened leaves the last good one serving, with a note. What of a publication is opened is
decided by who derives from it: `serving.py` all that a slate needs, `catalogue.py` what an event is held against.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from contracts.errors import NothingPublished, TandemError
from contracts.release import Publication
from lambda_user_tower.logs import Log
from stores.releases import Current, Releases

RETRY_SECONDS: Final = 60.0
"""A publication that could not be opened is tried again after this: hashing a large release is seconds of work."""

EARLIER_TRIED: Final = 3
"""Publications before `current` that a cold start falls back to: as many as a sweep keeps."""

PUBLICATION_NOT_OPENED: Final = "publication_not_opened"
"""What is published could not be opened: the last good publication serves."""

CANNOT_OPEN: Final = (TandemError, OSError, ValueError, MemoryError)
"""What opening files that are cut, altered, unreadable or too large raises."""

FIRST_STEP: Final = "Run `tandem train DATASET`, or `tandem aws seed DATASET` where the stores are in AWS."


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Of an opened publication. Immutable: a request that holds one is not touched by a swap."""

    publication: Publication
    etag: str | None
    """Of the pointer that named it; None where it serves in place of one that could not be opened."""
    degraded: tuple[str, ...] = ()

    def age_seconds(self, now_seconds: float) -> int:
        """Since the publication was made; a clock that was set back makes nothing negative."""
        return max(0, int(now_seconds - datetime.fromisoformat(self.publication.created_at).timestamp()))


Kind = TypeVar("Kind", bound=Opened)


class Following(ABC, Generic[Kind]):
    """The publication that serves, as far as it is opened here."""

    def __init__(
        self,
        releases: Releases,
        pointer_check_seconds: float,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing yet. `clock` gives seconds and never goes back."""
        self._releases, self._check_seconds, self._log = releases, pointer_check_seconds, log
        self._clock = clock
        self._opened: Kind | None = None
        self._next_check = 0.0
        self._failure: Exception | None = None
        self._failed_etag: str | None = None
        self._retry_at = 0.0
        self._opening = threading.Lock()
        self._swapping = threading.Lock()
        """Held for every assignment of `_opened`, so that two threads that make it out of itself lose nothing."""

    @abstractmethod
    def _open(self, publication: Publication, etag: str | None) -> Kind:
        """Open and check a publication. Everything is loaded before anything of it serves."""

    def _completed(self, opened: Kind) -> Kind:
        """What was opened, with what changed meanwhile; called when it takes over, under `_swapping`."""
        return opened

    def pin(self) -> Kind:
        """The publication for one request.

        Raises NothingPublished where there is none, and, where neither it nor those before it open, the reason
        (ReleaseCorrupt, ReleaseUnreadable, ReleaseNotFound, ParityBroken, StoreUnavailable).
        """
        if self._opened is None:
            return self._open_first()
        if self._clock() >= self._next_check:
            self._look()
        return self._opened

    def look_now(self, patience_seconds: float) -> None:
        """Look at the pointer at once; where it has moved, wait so long for what it names, and then no longer.

        For a process that is thawed or restored after an unknown time: its next request should find what serves now.
        """
        self._next_check = -float("inf")
        self.pin()
        if self._opening.acquire(timeout=patience_seconds):
            self._opening.release()

    def _open_first(self) -> Kind:
        with self._opening:
            if self._opened is None:  # another thread may have been first
                current = self._releases.current()
                if current is None:
                    raise NothingPublished("nothing is published yet.", fix=FIRST_STEP)
                if self._failure is not None and not self._is_news(current):
                    raise self._failure.with_traceback(None)
                opened = self._first_that_opens(current)
                with self._swapping:
                    self._opened = self._completed(opened)
                self._next_check = self._clock() + self._check_seconds
            return self._opened

    def _first_that_opens(self, current: Current) -> Kind:
        """`current`, or the nearest one before it that opens."""
        try:
            return self._open(current.publication, current.etag)
        except CANNOT_OPEN as error:
            self._note_failure(current, error)
            for earlier in self._earlier(current.publication):
                try:
                    return replace(self._open(earlier, None), degraded=(PUBLICATION_NOT_OPENED,))
                except CANNOT_OPEN as another:
                    self._log.write("ERROR", "publication-not-opened", publication=earlier.id, error=str(another))
            raise

    def _earlier(self, publication: Publication) -> Iterator[Publication]:
        for _ in range(EARLIER_TRIED):
            if publication.previous is None:
                return
            publication = self._releases.publication(publication.previous)
            yield publication

    def _look(self) -> None:
        """Have the pointer read, and what it newly names opened, in a thread: no request waits for a store."""
        if self._opening.acquire(blocking=False):  # else somebody is looking already
            self._next_check = self._clock() + self._check_seconds
            threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        """Read the pointer, and open what it names where that is news; the caller's lock is given back here."""
        try:
            current = self._pointer()
            if current is not None and self._is_news(current):
                self._open_next(current)
        finally:
            self._opening.release()

    def _pointer(self) -> Current | None:
        """The pointer, or None where it cannot be read: what serves goes on serving."""
        try:
            return self._releases.current()
        except CANNOT_OPEN as error:
            self._log.write("ERROR", "pointer-not-read", error=str(error))
            return None

    def _is_news(self, current: Current) -> bool:
        if self._opened is not None and current.etag == self._opened.etag:
            self._note(())
            return False
        return current.etag != self._failed_etag or self._clock() >= self._retry_at

    def _open_next(self, current: Current) -> None:
        try:
            opened = self._open(current.publication, current.etag)
            with self._swapping:
                self._opened = self._completed(opened)
        except CANNOT_OPEN as error:
            self._note_failure(current, error)
            self._note((PUBLICATION_NOT_OPENED,))

    def _note(self, degraded: tuple[str, ...]) -> None:
        """Say with what serves what is wrong with what should."""
        with self._swapping:
            if self._opened is not None and self._opened.degraded != degraded:
                self._opened = replace(self._opened, degraded=degraded)

    def _note_failure(self, current: Current, error: Exception) -> None:
        self._failure, self._failed_etag, self._retry_at = error, current.etag, self._clock() + RETRY_SECONDS
        self._log.write("ERROR", "publication-not-opened", publication=current.publication.id, error=str(error))
