"""The release that serves a day of a simulated world, and its slates: by the batch path, for a variant's treatment.

A release is opened as a process opens it, with the items born since its night laid over as fresh ones, encoded by its
own content part. It knows nothing of tastes; `lines.py` asks for slates and tells how often each item was clicked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from batch_job.recommend_block import BLOCK_USERS, Ground, UserSlate, slates_of
from contracts.live import EVENTS_COUNTED, LiveItem, features_digest
from contracts.profile import Profile
from contracts.treatment import Treatment
from local_mode.simulation.exposing import DAY_SECONDS
from local_mode.simulation.nature import Nature
from reranking.settings import RerankSettings
from retrieval.fresh import FreshEncoder, with_fresh
from retrieval.opened import OpenModel, open_model
from retrieval.settings import RetrievalSettings
from stores.releases import Releases

NO_ITEM: Final = -1
"""In a place that stays empty."""


class Served(NamedTuple):
    """Slates of some users [a]."""

    items: NDArray[np.int32]
    """[a, places] item numbers, NO_ITEM where there was none."""
    routes: list[str]
    models: list[str]


@dataclass
class _Release:
    """An opened release, and what was told since."""

    id: str
    model: OpenModel
    encoder: FreshEncoder
    told: dict[str, LiveItem] = field(default_factory=dict)


class Shop:
    """One process's view of the releases of a line; the one that serves stays open."""

    def __init__(self, releases: Releases, nature: Nature) -> None:
        self._releases, self._nature = releases, nature
        self._retrieval, self._rerank = RetrievalSettings(), RerankSettings()
        self._number = {item_id: number for number, item_id in enumerate(nature.item_ids)}
        self._release: _Release | None = None

    def open(self, release: str, day: int, clicks: NDArray[np.int64], now_seconds: int) -> Counter:
        """Have a release serve a day, with all items born by then; `clicks` [items] so far tell the untouched ones."""
        if self._release is None or self._release.id != release:
            model = open_model(self._releases.open(release), self._retrieval.cold_item_events)
            self._release = _Release(release, model, FreshEncoder(model.fitted, release))
        told = self._tell(self._release, day)
        live = {item_id: self._counted(item, clicks) for item_id, item in told.items()}
        model = with_fresh(self._release.model, live, release, self._retrieval.fresh_items)
        numbers = [self._number[item_id] for item_id in model.items.ids.texts(np.arange(len(model.items)))]
        places = self._nature.settings.places
        ground = Ground(model, self._retrieval, self._rerank, places, now_seconds)
        return Counter(ground, np.array(numbers, np.int32))

    def _tell(self, release: _Release, day: int) -> dict[str, LiveItem]:
        """Items born since the release was trained, as the owner of the catalogue tells them, oldest first."""
        table = self._nature.items_table(day)
        is_new = release.model.items.ids.rows(table["item_id"]) < 0
        for row in table.filter(is_new).iter_rows(named=True):
            if (item_id := row.pop("item_id")) not in release.told:
                release.told[item_id] = self._live_item(release, item_id, row)
        return release.told

    def _live_item(self, release: _Release, item_id: str, row: dict[str, Any]) -> LiveItem:
        features = {name: value for name, value in row.items() if value is not None}
        born = self._nature.settings.start + int(self._nature.born_day[self._number[item_id]]) * DAY_SECONDS
        return LiveItem(
            item_id=item_id,
            features=features,
            digest=features_digest(features),
            created_at=born,
            encodings={release.id: release.encoder.encode(features)},
        )

    def _counted(self, item: LiveItem, clicks: NDArray[np.int64]) -> LiveItem:
        seen = min(int(clicks[self._number[item.item_id]]), EVENTS_COUNTED)
        return item if seen == item.events else msgspec.structs.replace(item, events=seen)


@dataclass(frozen=True)
class Counter:
    """Where the slates of one day are made."""

    ground: Ground
    """Of the control that changes nothing."""
    numbers: NDArray[np.int32]
    """[n] the item number of each row."""

    def slates(self, user_ids: Sequence[str], profiles: Sequence[Profile], treatment: Treatment) -> Served:
        """What these users [a] are served by a variant."""
        ground = replace(self.ground, treatment=treatment)
        slates: list[UserSlate] = []
        for first in range(0, len(user_ids), BLOCK_USERS):
            block = slice(first, first + BLOCK_USERS)
            slates += slates_of(ground, user_ids[block], profiles[block])
        items = np.full((len(user_ids), ground.places), NO_ITEM, np.int32)
        for line, slate in enumerate(slates):
            items[line, : len(slate.ranked.rows)] = self.numbers[slate.ranked.rows]
        return Served(items, [slate.route for slate in slates], [slate.model for slate in slates])
