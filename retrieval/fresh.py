"""Items that came after a release, as rows behind its own: encoded by its content part and scored exactly.

An item is encoded as training encodes one without events (`training_job/step.py`): the direction of its attributes'
slots, turned towards its TF-IDF neighbours among hot items; its ALS factor is the mean of theirs. `FreshEncoder` does
that for one release, `with_fresh` lays encoded items, stock and hidden items over an opened one: a new `OpenModel`
whose arrays are longer, so that nothing that reads rows has to know. It knows no store; the Lambda edge, the batch job
and the steps of a night bring what the store has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import (
    LOST_NORM,
    NEVER_EXPIRES,
    SHORTEST,
    FittedModel,
    Floats,
    FreshVectors,
    ItemArrays,
    Rows,
)
from contracts.live import Encoding, LiveItem, features_digest
from retrieval.eligibility import Servable
from retrieval.filters import Postings
from retrieval.fresh_table import STORED, Columns, Told, fitting
from retrieval.hot_postings import HotPostings
from retrieval.opened import ColdNeighbours, FreshRows, OpenModel, with_more_cold


class FreshEncoder:
    """Encodes items for one release."""

    def __init__(self, fitted: FittedModel, release: str) -> None:
        """Reads nothing yet: the TF-IDF rows of the hot items are turned around when the first item comes."""
        self.fitted, self.release = fitted, release

    @cached_property
    def _hot(self) -> HotPostings:
        return HotPostings(self.fitted)

    def encode(self, features: Mapping[str, Any]) -> Encoding:
        """What the release makes of an item with these features.

        The same as training makes of an item without events, but for one of which the release knows no attribute:
        training gives it a random direction, this that of the user of whom nothing is known; both no length to speak
        of. A value that does not fit its feature's kind counts as missing.
        """
        slots, weights = self.fitted.item_encoder.encode_one(fitting(self.fitted.item_encoder, features))
        rows, similarities = self._hot.nearest(slots, weights)
        return Encoding(
            digest=features_digest(features),
            two_tower=_bytes(self._two_tower(slots, weights, rows, similarities)),
            als=_bytes(self._als(rows, similarities)),
            neighbours=rows.tolist(),
            similarities=similarities.tolist(),
        )

    def missing(self, items: Mapping[str, LiveItem]) -> dict[str, Encoding]:
        """Encodings of the items that the release does not know and that have none for it, or one of other features."""
        wanted = [item for item in items.values() if item.features is not None and not self._has(item)]
        unknown = self.fitted.items.ids.rows(item.item_id for item in wanted) < 0
        return {
            item.item_id: self.encode(item.features or {})
            for item, is_new in zip(wanted, unknown.tolist(), strict=True)
            if is_new
        }

    def _has(self, item: LiveItem) -> bool:
        encoding = item.encodings.get(self.release)
        return encoding is not None and encoding.digest == item.digest

    def _two_tower(self, slots: NDArray[np.int32], weights: Floats, rows: Rows, similarities: Floats) -> Floats:
        tower = self.fitted.tower
        if not len(slots):
            return _unit(tower.output_bias) * np.float32(tower.cold_norm * LOST_NORM)
        direction = _unit(weights @ tower.item_slots[slots])
        if len(rows):
            around = _unit(similarities @ self.fitted.items.directions(rows))
            direction = _unit(direction + around)
        return direction * np.float32(tower.cold_norm)

    def _als(self, rows: Rows, similarities: Floats) -> Floats:
        if not len(rows):
            return np.zeros(len(self.fitted.als.gram), np.float32)
        factor: Floats = similarities @ self.fitted.items.vectors("als", rows) / similarities.sum()
        return factor


def with_fresh(model: OpenModel, live: Mapping[str, LiveItem], release: str, limit: int) -> OpenModel:
    """The opened release with live items over it: at most `limit` of those that it does not know, the earliest first.

    `model` must be of the release itself, not one that was laid over before; one overlay of it is made at a time. An
    item without an encoding for `release` of the features that it has now has no row. Stock and hidden items decide
    eligibility for every row; a known item whose features were told anew has the stock that they tell, and is else as
    at training.
    """
    if not live:
        return model
    told = model.table.read(live, release)
    servable = _with_states(model.servable, told)
    ids, places = _placed(list(live), told, limit)
    if not ids:
        return replace(model, servable=servable)
    columns = model.table.columns(places)
    items = _longer_items(model.items, ids, columns)
    untouched = np.flatnonzero(columns.events == 0).astype(np.int32)
    expires = items.expires if servable.expires is not None or np.any(columns.expires != NEVER_EXPIRES) else None
    return replace(
        model,
        fitted=replace(model.fitted, items=items),
        filters=model.filters.with_more(columns.features, columns.numbers),
        servable=Servable(np.concatenate([servable.rows, columns.servable]), expires),
        cold=_longer_cold(model.cold, items, columns),
        newest=_longer_newest(model.newest, items),
        fresh=FreshRows([live[item_id].encodings[release] for item_id in ids], untouched, columns.keys[untouched]),
    )


def _with_states(servable: Servable, told: Told) -> Servable:
    """What may be served of the release, by the latest that is known of stock and of hidden items."""
    changed = (told.rows >= 0) & (told.states >= 0)
    if not changed.any():
        return servable
    rows = servable.rows.copy()
    rows[told.rows[changed]] = told.states[changed] > 0
    return Servable(rows, servable.expires)


def _placed(ids: Sequence[str], told: Told, limit: int) -> tuple[list[str], NDArray[np.int64]]:
    """The ids that get a row, in the order of the rows, and their places among the columns."""
    by_id = np.array(sorted(np.flatnonzero(told.places >= 0).tolist(), key=ids.__getitem__), np.int64)
    first = by_id[np.argsort(told.created[by_id], kind="stable")[:limit]]
    return [ids[number] for number in first.tolist()], told.places[first]


def _longer_items(items: ItemArrays, ids: Sequence[str], columns: Columns) -> ItemArrays:
    # an item of fewest events is pooled like one without: popularity only rises from there
    weight = items.pool_weight[int(items.events.argmin())]
    return replace(
        items,
        ids=items.ids.with_more(ids),
        pool_weight=np.concatenate([items.pool_weight, np.full(len(ids), weight, np.float32)]),
        events=np.concatenate([items.events, columns.events]),
        category=np.concatenate([items.category, columns.category]),
        published=np.concatenate([items.published, columns.published]),
        expires=np.concatenate([items.expires, columns.expires]),
        available=np.concatenate([items.available, columns.servable]),
        fresh=FreshVectors(columns.two_tower, columns.als),
    )


def _longer_cold(cold: ColdNeighbours, items: ItemArrays, columns: Columns) -> ColdNeighbours:
    """Fresh items are reached by their neighbours as cold ones of the release are."""
    there = columns.hot >= 0
    owners = np.broadcast_to(np.arange(items.released, len(items))[:, None], there.shape)[there]
    return with_more_cold(cold, items.released, columns.hot[there], owners, columns.similarities[there])


def _longer_newest(newest: Postings, items: ItemArrays) -> Postings:
    """Rows of each category, newest first, with the fresh ones at their places."""
    rows = np.arange(items.released, len(items), dtype=np.int32)
    rows = rows[np.argsort(-items.published[rows], kind="stable")]
    groups = items.category[rows] + 1
    places = _places_by_age(newest, items.published, rows, groups)
    order = np.lexsort((groups, places))  # two groups may meet at one place
    longer = np.cumsum(np.bincount(groups, minlength=len(newest.offsets) - 1))
    offsets = newest.offsets + np.concatenate([[0], longer])
    return Postings(np.insert(newest.rows, places[order], rows[order]), offsets)


def _places_by_age(newest: Postings, published: NDArray[np.int64], rows: Rows, groups: Rows) -> NDArray[np.int64]:
    """Before which place of `newest` each row belongs, in its group: bisection of all at once."""
    first, last = newest.offsets[groups], newest.offsets[groups + 1]
    while (open_ := first < last).any():
        middle = (first + last) // 2
        older = np.zeros(len(rows), np.bool_)
        older[open_] = published[newest.rows[middle[open_]]] <= published[rows[open_]]
        last = np.where(open_ & older, middle, last)
        first = np.where(open_ & ~older, middle + 1, first)
    return first


def _bytes(vector: Floats) -> bytes:
    return vector.astype(STORED).tobytes()


def _unit(vector: Floats) -> Floats:
    unit: Floats = vector / np.maximum(np.sqrt(np.vecdot(vector, vector)), SHORTEST)
    return unit
