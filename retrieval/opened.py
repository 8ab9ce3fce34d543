"""A release opened for serving: the fitted arrays plus what is derived from them once, so that a request derives none.

Opening replays the golden cases first, so a release that this code computes differently never serves. Who opens: the
Lambda at cold start and at a swap, evaluation and the batch job for arrays they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import UNKNOWN_TIME, ContentArrays, FittedModel, Floats, ItemArrays, Rows
from contracts.live import Encoding
from retrieval.eligibility import Servable, servable
from retrieval.filters import ItemFilters, Postings, invert
from retrieval.fresh_table import NEIGHBOURS_OF_COLD, FreshTable
from retrieval.golden import replay_golden
from stores.vector_index import ExactIndex

COLD_PER_HOT: Final = 4
"""Cold items remembered for each hot one: ten recent items then offer up to forty, and a quota takes a few."""


@dataclass(frozen=True)
class ColdNeighbours:
    """Hot item → cold items that resemble it (TF-IDF), the nearest first."""

    rows: Rows
    """[n, COLD_PER_HOT], -1 where there are fewer; [0, 0] where no item is cold."""
    similarities: Floats
    """[n, COLD_PER_HOT] cosine."""


@dataclass(frozen=True)
class FreshRows:
    """What is known of the rows behind the release's own (`fresh.py`), beyond what `ItemArrays` has of every row."""

    encodings: Sequence[Encoding]
    """[f] of the first of these rows, of the next one, …"""
    untouched: Rows
    """[u] numbers among them, ascending, of those without a single event: what is shown to find out whom it pleases."""
    keys: NDArray[np.uint64]
    """[u] a number of each one's id, to draw by."""


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

    table: FreshTable
    """What was read of live items, for the next overlay."""
    fresh: FreshRows | None = None
    """Of items that came after the release; None where there are none."""

    @property
    def items(self) -> ItemArrays:
        return self.fitted.items

    def can_serve(self, model_name: str) -> bool:
        """Whether the release has the vectors of a model; popularity needs none."""
        if model_name == "popularity":
            return True
        if model_name == "als" and not self.fitted.als.gram.any():  # no item has a factor
            return False
        vectors = self.index.vectors.get(model_name)
        return vectors is not None and vectors.size > 0

    def is_cold(self, row: int) -> bool:
        """Whether its vector is mostly a guess from its content; that of a fresh item is, whatever came in since."""
        return row >= self.items.released or bool(self.items.events[row] < self.cold_item_events)

    def neighbours_of(self, row: int) -> tuple[Rows, Floats]:
        """The nearest hot items by TF-IDF [≤ k] of an item of the release or a fresh one, and their cosines."""
        if self.fresh is not None and row >= self.items.released:
            encoding = self.fresh.encodings[row - self.items.released]
            return np.array(encoding.neighbours, np.int32), np.array(encoding.similarities, np.float32)
        content = self.fitted.content
        known = content.neighbours[row] >= 0
        return content.neighbours[row][known], content.similarities[row][known]


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
        table=FreshTable(fitted),
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
    owners = np.broadcast_to(cold[:, None], hot.shape)[hot >= 0]
    nothing = ColdNeighbours(np.empty((0, 0), np.int32), np.empty((0, 0), np.float32))
    similarity = content.similarities[cold, :NEIGHBOURS_OF_COLD][hot >= 0]
    return with_more_cold(nothing, len(items), hot[hot >= 0], owners, similarity)


def with_more_cold(
    cold: ColdNeighbours, n_items: int, hot: Rows, owners: NDArray[np.integer], similarity: Floats
) -> ColdNeighbours:
    """Cold items by hot item, of `n_items`, with more pairs [p] of a hot item and a cold one that resembles it."""
    if not len(hot):
        return cold
    if cold.rows.size:
        touched = np.unique(hot)
        there = cold.rows[touched] >= 0
        hot = np.concatenate([np.broadcast_to(touched[:, None], there.shape)[there], hot])
        owners = np.concatenate([cold.rows[touched][there], owners])
        similarity = np.concatenate([cold.similarities[touched][there], similarity])
        rows, similarities = cold.rows.copy(), cold.similarities.copy()
    else:
        rows = np.full((n_items, COLD_PER_HOT), -1, np.int32)
        similarities = np.zeros((n_items, COLD_PER_HOT), np.float32)
    # by hot item, then by falling similarity, then by owner: cosines are within 1, so one key sorts what three would
    order = np.argsort(hot * 4.0 - similarity, kind="stable")
    owners, similarity, hot = owners[order], similarity[order], hot[order]
    starts = np.flatnonzero(np.diff(hot, prepend=-1))
    place = np.arange(len(hot)) - np.repeat(starts, np.diff(starts, append=len(hot)))  # nearer ones of the hot item
    kept = place < COLD_PER_HOT
    rows[hot[kept], place[kept]] = owners[kept]
    similarities[hot[kept], place[kept]] = similarity[kept]
    return ColdNeighbours(rows, similarities)
