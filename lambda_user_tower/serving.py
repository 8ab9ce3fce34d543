"""What this process answers slates from: a publication opened whole, its index and settings, with live items over it.

`following.py` keeps the publication up to date and `live.py` what changes during the day; every answer of `edge.py`
pins one `Served` from start to end. Whichever of the two moves, the other's newest state goes with it: the next
publication takes over with the live items laid over it, in one assignment. It does not know requests or slates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Degraded
from contracts.deadline import Deadline
from contracts.errors import RequestInvalid
from contracts.live import LiveItem
from contracts.release import Publication
from lambda_user_tower.engine import EngineIndex, engine_opener
from lambda_user_tower.following import CANNOT_OPEN, Following, Opened
from lambda_user_tower.live import FIRST_PATIENCE_SECONDS, LiveItems
from lambda_user_tower.logs import Log
from lambda_user_tower.overlay import Overlay
from lambda_user_tower.settings import LambdaSettings
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel, open_model
from retrieval.settings import RetrievalSettings
from stores.releases import Releases
from stores.vector_index import VectorIndex


@dataclass(frozen=True, kw_only=True)
class Served(Opened):
    """A publication from which slates are answered."""

    overlay: Overlay
    """The release alone, and how live items are laid over it."""
    model: OpenModel
    """The release with live items over it."""
    index: VectorIndex
    """Where requests search: the search engine that the publication names, or the vectors of the release."""
    retrieval: RetrievalSettings
    """The process's, with the publication's model."""
    rerank: RerankSettings
    promoted: NDArray[np.bool_] | None
    """[n] items of the process's promotion, fresh ones included."""


class Serving(Following[Served]):
    """The publication that serves, kept up to date, with live items over it."""

    def __init__(
        self,
        releases: Releases,
        live: LiveItems,
        settings: LambdaSettings,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing yet. `live` gets its `apply` here; `clock` gives seconds and never goes back."""
        super().__init__(releases, settings.pointer_check_seconds, log, clock)
        self._settings, self._live = settings, live
        self._items: Mapping[str, LiveItem] = {}
        live.apply = self._apply

    def pin(self) -> Served:
        """See `Following.pin`. The live items are looked at where that is due, and not waited for."""
        served = super().pin()
        self._live.looks.refresh()
        return served

    def pin_fresh(self, deadline: Deadline) -> Served:
        """As `pin`, and where the live items are old, wait for them for a share of the time; else it says so."""
        self.pin()
        up_to_date = not self._live.looks.is_old or self._live.looks.refresh_within(deadline)
        served = super().pin()  # once it is known what is old: a look may have ended since
        return served if up_to_date else replace(served, degraded=(*served.degraded, Degraded.LIVE_DATA_OLD))

    def look_now(self, patience_seconds: float) -> None:
        """See `Following.look_now`; the live items are looked at once, too."""
        self._live.looks.forget()
        super().look_now(patience_seconds)
        self._live.looks.refresh(patience_seconds)

    def reconnect(self) -> None:
        """Reach the search engine anew: connections do not outlive a snapshot."""
        if self._opened is not None and isinstance(self._opened.index, EngineIndex):
            self._opened.index.reopen()

    def _open(self, publication: Publication, etag: str | None) -> Served:
        self._live.looks.refresh()  # the store is read while the files are opened
        retrieval = replace(self._settings.retrieval, served_model=publication.served_model)
        fitted = self._releases.open(publication.release, head_only=publication.index is not None)
        model = open_model(fitted, retrieval.cold_item_events)
        self._log.write("INFO", "publication-opened", publication=publication.id, release=publication.release)
        opened = Served(
            publication=publication,
            etag=etag,
            overlay=Overlay(model, publication.release, retrieval.fresh_items),
            model=model,
            index=self._index(publication, model),
            retrieval=retrieval,
            rerank=self._settings.rerank,
            promoted=self._promoted(model),
        )
        self._live.looks.refresh(FIRST_PATIENCE_SECONDS)
        opened.overlay.encode(self._items)  # before it takes over, for then nothing else can change what serves
        return opened

    def _completed(self, opened: Served) -> Served:
        """With the live items over it. Where they cannot be laid over, a release without them is better than none."""
        try:
            return self._laid_over(opened, self._items)
        except CANNOT_OPEN as error:
            self._log.write("ERROR", "live-data-not-laid-over", release=opened.publication.release, error=str(error))
            self._live.start_over()
            return opened

    def _apply(self, items: Mapping[str, LiveItem]) -> None:
        """Lay new live items over what serves, in the thread that read them."""
        with self._swapping:
            if self._opened is not None:
                self._opened = self._laid_over(self._opened, items)
            self._items = items

    def _laid_over(self, served: Served, items: Mapping[str, LiveItem]) -> Served:
        """What serves, with these live items over its release and no others."""
        model = served.overlay.over(items)
        # None: nothing is promoted, or it was not understood when the publication was opened
        return replace(served, model=model, promoted=None if served.promoted is None else self._promoted(model))

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
