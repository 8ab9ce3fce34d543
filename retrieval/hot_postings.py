"""TF-IDF rows of the hot items turned around: which of them carry a slot, and how heavily.

How serving finds the neighbours of an item that training never saw, by the rule of `training_job/content.py`: cosines
with items of enough events, each slot kept by its most popular items only where the catalogue is large. That rule is
written here once; training reads the numbers from here. It knows no ids and no vectors; `fresh.py` asks it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.feature_encoder import Bag
from contracts.fitted import HOT_EVENTS, FittedModel, Floats, Rows
from retrieval.filters import invert

WORK_BUDGET: Final = 2_000_000_000
"""Multiplications of all cosines of a catalogue: about 20 seconds of one core."""
SHORTEST_CHAMPIONS: Final = 50
"""Items that a slot keeps at least: two and a half slates of neighbours."""
BLOCK_ITEMS: Final = 65_536
"""Hot items whose pairs are weighed at once: 25 MB of numbers at a dozen pairs each."""


def hot_by_popularity(events: NDArray[np.integer], hot_threshold: int) -> NDArray[np.int64]:
    """Rows of items with at least `hot_threshold` events (all with any, where fewer than two have), most events first.

    Ties by row.
    """
    hot = np.flatnonzero(events >= hot_threshold)
    if len(hot) < 2:
        hot = np.flatnonzero(events > 0)
    return hot[np.argsort(-events[hot], kind="stable")]


def most_champions(pairs: int) -> int:
    """Most items that a slot keeps in a catalogue of so many (item, slot) pairs."""
    return max(WORK_BUDGET // max(pairs, 1), SHORTEST_CHAMPIONS)


class HotPostings:
    """The hot items of one release by slot."""

    def __init__(self, fitted: FittedModel) -> None:
        """Weigh and turn around the bags of the hot items."""
        self._idf, self._k = fitted.content.idf, fitted.content.neighbours.shape[1]
        items = fitted.items
        self._hot = hot_by_popularity(items.events[: items.released], HOT_EVENTS).astype(np.int32)
        longest = most_champions(len(items.features.slots))
        slots, places, weights = _weighed(items.features, self._hot, self._idf, longest)
        by_slot = invert(slots, np.arange(len(slots), dtype=np.int32), len(self._idf))
        self._offsets = by_slot.offsets
        self._places: Rows = places[by_slot.rows]
        self._weights: Floats = weights[by_slot.rows]

    def nearest(self, slots: NDArray[np.int32], weights: Floats) -> tuple[Rows, Floats]:
        """Rows [≤ k] of the hot items nearest to a bag of slots, best first, and their cosines; ties by popularity."""
        heavy = weights * self._idf[slots]
        length = np.sqrt(np.vecdot(heavy, heavy))
        if not length > 0 or not self._k:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        cosines = np.zeros(len(self._hot), np.float32)
        for slot, weight in zip(slots.tolist(), heavy / length, strict=True):
            mine = slice(self._offsets[slot], self._offsets[slot + 1])
            cosines[self._places[mine]] += weight * self._weights[mine]
        near = np.flatnonzero(cosines > 0)
        if len(near) > self._k:
            found = cosines[near]
            near = near[found >= np.partition(found, len(found) - self._k)[len(found) - self._k]]
        best = near[np.argsort(-cosines[near], kind="stable")[: self._k]]
        return self._hot[best], cosines[best]


def _weighed(features: Bag, hot: Rows, idf: Floats, longest: int) -> tuple[NDArray[np.int32], Rows, Floats]:
    """Slot, place among the hot and TF-IDF weight (of rows at length 1) of their pairs, `longest` of each slot.

    The most popular come first, so what a slot has had enough of is dropped block by block: a million items are never
    laid out at once.
    """
    room = np.full(len(idf), longest, np.int64)
    kept: list[tuple[NDArray[np.int32], Rows, Floats]] = []
    for first in range(0, len(hot), BLOCK_ITEMS):
        bag = features.take(hot[first : first + BLOCK_ITEMS])
        owners = np.repeat(np.arange(len(bag), dtype=np.int32), np.diff(bag.offsets))
        heavy = bag.weights * idf[bag.slots]
        lengths = np.sqrt(np.bincount(owners, heavy.astype(np.float64) ** 2, len(bag)))
        heavy /= np.maximum(lengths, 1e-12)[owners]
        taken = _within(bag.slots, room)
        room -= np.bincount(bag.slots[taken], minlength=len(idf))
        kept.append((bag.slots[taken], owners[taken] + np.int32(first), heavy[taken]))
    if not kept:
        return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)
    slots, places, weights = (np.concatenate(pieces) for pieces in zip(*kept, strict=True))
    return slots, places, weights


def _within(slots: NDArray[np.int32], room: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions, ascending, of the first `room` [n_slots] pairs of each slot."""
    by_slot = invert(slots, np.arange(len(slots), dtype=np.int32), len(room))
    rank = np.arange(len(slots)) - np.repeat(by_slot.offsets[:-1], np.diff(by_slot.offsets))
    return np.sort(by_slot.rows[rank < np.repeat(room, np.diff(by_slot.offsets))])
