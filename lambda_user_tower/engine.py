"""The index of a search engine that a publication names, opened so that no request ever waits for it.

Opening imports a client (most of a second) and asks the engine what the index says of itself. That happens when a
publication is opened, and where it fails, in a thread beside the requests: until it succeeds every search is
IndexUnavailable at once, and retrieval answers from the vectors of the release. `serving.py` makes one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable, TandemError
from contracts.fitted import Floats, Rows
from contracts.release import Manifest, Publication
from contracts.restriction import Restriction
from lambda_user_tower.logs import Log
from lambda_user_tower.settings import LambdaSettings
from stores.vector_index import VectorIndex

REOPEN_SECONDS: Final = 5.0
"""Between two attempts to open an index: a domain that restarts takes a minute, a wrong one stays wrong."""

OPENING_SECONDS: Final = 2.0
"""A cold start waits so long for an engine that does not answer, and then serves without it."""


class EngineIndex:
    """A VectorIndex that is there as soon as the engine is."""

    def __init__(
        self, opener: Callable[[], VectorIndex], log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`opener` opens the index or raises; it is tried here once, and waited for."""
        self._opener, self._log, self._clock = opener, log, clock
        self._index: VectorIndex | None = None
        self._next_try = 0.0
        self._opening = threading.Lock()
        self._opening.acquire()
        self._open()

    @property
    def is_open(self) -> bool:
        """Whether searches reach the engine."""
        return self._index is not None

    def search(
        self, model_name: str, query: Floats, k: int, restriction: Restriction | None, deadline: Deadline
    ) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`. Raises IndexUnavailable at once while the index is not open."""
        if (index := self._index) is not None:
            return index.search(model_name, query, k, restriction, deadline)
        if self._clock() >= self._next_try and self._opening.acquire(blocking=False):
            threading.Thread(target=self._open, daemon=True).start()
        raise IndexUnavailable("the index of the publication is not open yet.")

    def reopen(self) -> None:
        """Let go of the index and open it anew, waiting for it once."""
        with self._opening:
            self._index = None
        if self._opening.acquire(blocking=False):  # else a request has been faster, and opens it
            self._open()

    def _open(self) -> None:
        """Open the index; the caller holds `_opening`, which is given back here."""
        try:
            self._index = self._opener()
        except (TandemError, OSError, ImportError) as error:
            self._log.write("ERROR", "index-not-opened", error=str(error))
        finally:
            self._next_try = self._clock() + REOPEN_SECONDS
            self._opening.release()


def engine_opener(publication: Publication, manifest: Manifest, settings: LambdaSettings) -> Callable[[], VectorIndex]:
    """How to open the index that a publication names, held against the manifest of its release."""

    def opener() -> VectorIndex:
        if not settings.opensearch_url or publication.index is None:
            raise IndexUnavailable(
                f"{publication.id} serves from {publication.index}, and no search engine is set.",
                fix="Set TANDEM_OPENSEARCH_URL.",
            )
        from stores.search_engine import connect  # only where a release names an index
        from stores.search_index import OpenSearchIndex

        region = settings.opensearch_region or None
        client = connect(settings.opensearch_url, region=region, timeout_seconds=OPENING_SECONDS)
        return OpenSearchIndex.open(client, publication.index, manifest, publication.ef_search)

    return opener
