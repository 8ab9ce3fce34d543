"""What this process answers slates from: a publication opened whole, its index and the settings that go with it.

`following.py` keeps it up to date; every answer of `edge.py` pins one `Served` from start to end. It does not know
requests or slates.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.errors import RequestInvalid
from contracts.release import Publication
from lambda_user_tower.engine import EngineIndex, engine_opener
from lambda_user_tower.following import Following, Opened
from lambda_user_tower.logs import Log
from lambda_user_tower.settings import LambdaSettings
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel, open_model
from retrieval.settings import RetrievalSettings
from stores.releases import Releases
from stores.vector_index import VectorIndex


@dataclass(frozen=True, kw_only=True)
class Served(Opened):
    """A publication from which slates are answered."""

    model: OpenModel
    index: VectorIndex
    """Where requests search: the search engine that the publication names, or the vectors of the release."""
    retrieval: RetrievalSettings
    """The process's, with the publication's model."""
    rerank: RerankSettings
    promoted: NDArray[np.bool_] | None
    """[n] items of the process's promotion."""


class Serving(Following[Served]):
    """The publication that serves, kept up to date."""

    def __init__(
        self,
        releases: Releases,
        settings: LambdaSettings,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing yet. `clock` gives seconds and never goes back."""
        super().__init__(releases, settings.pointer_check_seconds, log, clock)
        self._settings = settings

    def reconnect(self) -> None:
        """Reach the search engine anew: connections do not outlive a snapshot."""
        if self._opened is not None and isinstance(self._opened.index, EngineIndex):
            self._opened.index.reopen()

    def _open(self, publication: Publication, etag: str | None) -> Served:
        retrieval = replace(self._settings.retrieval, served_model=publication.served_model)
        fitted = self._releases.open(publication.release, head_only=publication.index is not None)
        model = open_model(fitted, retrieval.cold_item_events)
        self._log.write("INFO", "publication-opened", publication=publication.id, release=publication.release)
        return Served(
            publication=publication,
            etag=etag,
            model=model,
            index=self._index(publication, model),
            retrieval=retrieval,
            rerank=self._settings.rerank,
            promoted=self._promoted(model),
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
