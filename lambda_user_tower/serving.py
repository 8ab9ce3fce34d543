"""What this process serves: one opened publication, swapped whole for the next one.

The first request opens `current`. Later ones look at the pointer now and then; a new publication is opened beside the
one that serves, in a thread, and takes over in one assignment, so that no request waits for it or sees half of it. One
that cannot be opened leaves the last good one serving, with a note. It does not know requests or slates; every answer
of `edge.py` pins one `Served` from start to end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NothingPublished, RequestInvalid, TandemError
from contracts.release import Publication
from lambda_user_tower.engine import EngineIndex, engine_opener
from lambda_user_tower.logs import Log
from lambda_user_tower.settings import LambdaSettings
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel, open_model
from retrieval.settings import RetrievalSettings
from stores.releases import Current, Releases
from stores.vector_index import VectorIndex

RETRY_SECONDS: Final = 60.0
"""A publication that could not be opened is tried again after this: hashing a large release is seconds of work."""

EARLIER_TRIED: Final = 3
"""Publications before `current` that a cold start falls back to: as many as a sweep keeps."""

PUBLICATION_NOT_OPENED: Final = "publication_not_opened"
"""What is published could not be opened: the last good publication serves."""

_CANNOT_OPEN: Final = (TandemError, OSError, ValueError, MemoryError)
"""What opening files that are cut, altered, unreadable or too large raises."""


@dataclass(frozen=True)
class Served:
    """An opened publication. Immutable: a request that holds one is not touched by a swap."""

    publication: Publication
    model: OpenModel
    index: VectorIndex
    """Where requests search: the search engine that the publication names, or the vectors of the release."""
    retrieval: RetrievalSettings
    """The process's, with the publication's model."""
    rerank: RerankSettings
    promoted: NDArray[np.bool_] | None
    """[n] items of the process's promotion."""
    etag: str | None
    """Of the pointer that named it; None where it serves in place of one that could not be opened."""
    degraded: tuple[str, ...] = ()


class Serving:
    """The publication that serves, kept up to date."""

    def __init__(
        self,
        releases: Releases,
        settings: LambdaSettings,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing yet. `clock` gives seconds and never goes back."""
        self._releases, self._settings, self._log = releases, settings, log
        self._clock = clock
        self._served: Served | None = None
        self._next_check = 0.0
        self._failure: Exception | None = None
        self._failed_etag: str | None = None
        self._retry_at = 0.0
        self._opening = threading.Lock()

    def pin(self) -> Served:
        """The publication for one request.

        Raises NothingPublished where there is none, and, where neither it nor those before it open, the reason
        (ReleaseCorrupt, ReleaseUnreadable, ReleaseNotFound, ParityBroken).
        """
        if self._served is None:
            return self._open_first()
        if self._clock() >= self._next_check:
            self._look()
        return self._served

    def _open_first(self) -> Served:
        with self._opening:
            if self._served is None:  # another thread may have been first
                current = self._releases.current()
                if current is None:
                    raise NothingPublished("nothing is published yet.", fix="Run `tandem train DATASET` first.")
                if self._failure is not None and not self._is_news(current):
                    raise self._failure.with_traceback(None)
                self._served = self._first_that_opens(current)
                self._next_check = self._clock() + self._settings.pointer_check_seconds
            return self._served

    def _first_that_opens(self, current: Current) -> Served:
        """`current`, or the nearest one before it that opens."""
        try:
            return self._open(current.publication, current.etag)
        except _CANNOT_OPEN as error:
            self._note_failure(current, error)
            for earlier in self._earlier(current.publication):
                try:
                    return replace(self._open(earlier, None), degraded=(PUBLICATION_NOT_OPENED,))
                except _CANNOT_OPEN as another:
                    self._log.write("ERROR", "publication-not-opened", publication=earlier.id, error=str(another))
            raise

    def _earlier(self, publication: Publication) -> Iterator[Publication]:
        for _ in range(EARLIER_TRIED):
            if publication.previous is None:
                return
            publication = self._releases.publication(publication.previous)
            yield publication

    def _look(self) -> None:
        """Read the pointer; where it names something new, start to open it."""
        if not self._opening.acquire(blocking=False):
            return  # another request is looking, or the next one is being opened
        handed_over = False  # to the thread, which then gives the lock back
        try:
            self._next_check = self._clock() + self._settings.pointer_check_seconds
            current = self._pointer()
            if current is not None and self._is_news(current):
                threading.Thread(target=self._open_next, args=(current,), daemon=True).start()
                handed_over = True
        finally:
            if not handed_over:
                self._opening.release()

    def _pointer(self) -> Current | None:
        """The pointer, or None where it cannot be read: what serves goes on serving."""
        try:
            return self._releases.current()
        except _CANNOT_OPEN as error:
            self._log.write("ERROR", "pointer-not-read", error=str(error))
            return None

    def _is_news(self, current: Current) -> bool:
        served = self._served
        if served is not None and current.etag == served.etag:
            self._served = replace(served, degraded=()) if served.degraded else served
            return False
        return current.etag != self._failed_etag or self._clock() >= self._retry_at

    def _open_next(self, current: Current) -> None:
        try:
            self._served = self._open(current.publication, current.etag)
        except _CANNOT_OPEN as error:
            self._note_failure(current, error)
            if self._served is not None:
                self._served = replace(self._served, degraded=(PUBLICATION_NOT_OPENED,))
        finally:
            self._opening.release()

    def _open(self, publication: Publication, etag: str | None) -> Served:
        """Open and check a publication. Everything is loaded before anything of it serves."""
        retrieval = replace(self._settings.retrieval, served_model=publication.served_model)
        fitted = self._releases.open(publication.release, head_only=publication.index is not None)
        model = open_model(fitted, retrieval.cold_item_events)
        self._log.write("INFO", "publication-opened", publication=publication.id, release=publication.release)
        promoted = self._promoted(model)
        return Served(
            publication, model, self._index(publication, model), retrieval, self._settings.rerank, promoted, etag
        )

    def _index(self, publication: Publication, model: OpenModel) -> VectorIndex:
        if publication.index is None:
            return model.index
        manifest = self._releases.manifest(publication.release)
        return EngineIndex(engine_opener(publication, manifest, self._settings), self._log)

    def _promoted(self, model: OpenModel) -> NDArray[np.bool_] | None:
        """What is promoted in a release; nothing where its items cannot answer the filters, and the log says so."""
        try:
            return model.filters.mask(self._settings.promoted_filters())
        except RequestInvalid as error:
            self._log.write("ERROR", "promotion-not-understood", error=str(error))
            return None

    def _note_failure(self, current: Current, error: Exception) -> None:
        self._failure, self._failed_etag, self._retry_at = error, current.etag, self._clock() + RETRY_SECONDS
        self._log.write("ERROR", "publication-not-opened", publication=current.publication.id, error=str(error))
