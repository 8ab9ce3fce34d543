"""A release opened for serving: the fitted arrays plus what is derived from them once, so that a request derives none.

Opening replays the golden cases first, so a release that this code computes differently never serves. Who opens: the
Lambda at cold start and at a swap, evaluation and the batch job for arrays they were given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.fitted import UNKNOWN_TIME, ContentArrays, FittedModel, Floats, ItemArrays, Rows
from retrieval.eligibility import Servable, servable
from retrieval.filters import ItemFilters, Postings, invert
from retrieval.golden import replay_golden
from stores.vector_index import ExactIndex

COLD_PER_HOT: Final = 4
"""Cold items remembered for each hot one: ten recent items then offer up to forty, and a quota takes a few."""

NEIGHBOURS_OF_COLD: Final = 5
"""Nearest hot items through which a cold item can be reached."""


@dataclass(frozen=True)
class ColdNeighbours:
    """Hot item → cold items that resemble it (TF-IDF), the nearest first."""

    rows: Rows
    """[n, COLD_PER_HOT], -1 where there are fewer; [0, 0] where no item is cold."""
    similarities: Floats
    """[n, COLD_PER_HOT] cosine."""


@dataclass(frozen=True)
class OpenModel:
    """A FittedModel and what is derived from it."""

    fitted: FittedModel
    index: ExactIndex
    filters: ItemFilters
    servable: Servable
    cold: ColdNeighbours
    newest: Postings
    """Dated rows by category + 1 (0: without one), newest first; the cold rows where the release knows no dates."""

    cold_item_events: int
    """Below this many events an item is cold."""

    @property
    def items(self) -> ItemArrays:
        return self.fitted.items

    def is_cold(self, row: int) -> bool:
        return bool(self.items.events[row] < self.cold_item_events)


def open_model(fitted: FittedModel, cold_item_events: int = 5) -> OpenModel:
    """Open a model for serving. Raises ParityBroken where a golden case does not replay."""
    replay_golden(fitted)
    items = fitted.items
    return OpenModel(
        fitted=fitted,
        index=ExactIndex({"two_tower": items.two_tower, "als": items.als}, items.head if items.head_only else None),
        filters=ItemFilters(fitted.item_encoder, items),
        servable=servable(items),
        cold=cold_neighbours(fitted.content, items, cold_item_events),
        newest=newest_by_category(items, len(fitted.categories), cold_item_events),
        cold_item_events=cold_item_events,
    )


def newest_by_category(items: ItemArrays, n_categories: int, cold_item_events: int) -> Postings:
    """Rows of each category, newest first, for `prefer: new`."""
    rows = np.flatnonzero(items.published != UNKNOWN_TIME).astype(np.int32)
    if not len(rows):
        rows = np.flatnonzero(items.events < cold_item_events).astype(np.int32)
    rows = rows[np.argsort(-items.published[rows], kind="stable")]
    return invert(items.category[rows] + 1, rows, n_categories + 1)


def cold_neighbours(content: ContentArrays, items: ItemArrays, cold_item_events: int) -> ColdNeighbours:
    """Turn each cold item's list of hot neighbours around."""
    cold = np.flatnonzero(items.events < cold_item_events)
    hot = content.neighbours[cold, :NEIGHBOURS_OF_COLD]
    similarity = content.similarities[cold, :NEIGHBOURS_OF_COLD]
    owners = np.broadcast_to(cold[:, None], hot.shape)[hot >= 0]
    if not len(owners):
        return ColdNeighbours(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32))
    similarity, hot = similarity[hot >= 0], hot[hot >= 0]
    # by hot item, then by falling similarity, then by owner: cosines are within 1, so one key sorts what three would
    order = np.argsort(hot * 4.0 - similarity, kind="stable")
    owners, similarity, hot = owners[order], similarity[order], hot[order]
    place = np.arange(len(hot)) - np.searchsorted(hot, hot)  # how many nearer ones the hot item has
    kept = place < COLD_PER_HOT
    rows = np.full((len(items), COLD_PER_HOT), -1, np.int32)
    similarities = np.zeros((len(items), COLD_PER_HOT), np.float32)
    rows[hot[kept], place[kept]] = owners[kept]
    similarities[hot[kept], place[kept]] = similarity[kept]
    return ColdNeighbours(rows, similarities)
