"""Popularity: global, by demographic segment, by category, with time decay where there is time, and what is trending.

The tables are served every day, not only on the bad one: to whoever is unknown or new, and blended into short
histories. A segment is shrunken towards the one above it, so that ten people do not make a taste. Where there is time,
each window of `contracts.trending` has a table of weights at the watermark, from which live counts go on. It knows
nothing of vectors; `assemble.py` calls it, `retrieval` reads it by the keys of `contracts.segments` and of
`contracts.trending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts import large_arrays
from contracts.feature_encoder import category_text
from contracts.fitted import RankedLists
from contracts.interactions import Interactions
from contracts.large_arrays import blocks
from contracts.schema import DatasetSchema
from contracts.segments import GLOBAL_KEY, category_key, segment_key
from contracts.trending import WINDOWS, half_life_seconds, trending_key

LONGEST_LIST = 500
"""A slate of 100 after seen and excluded items are taken out, with room."""
NEW_PLACES = 100
"""Places of a category list that are kept for items without events, newest first: `prefer: new` serves them."""
MIN_SEGMENT_USERS = 20
"""Below it a segment has no table of its own; routing falls back to the one above."""
PRIOR_EVENTS = 200.0
"""Events of the segment above that a segment starts with: about what 20 users with short histories leave."""
HALF_LIVES_DAYS = (2.0, 7.0, 30.0, 90.0, 365.0)
"""Candidates of the decay, beside none; the slice that tunes chooses."""
DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Decay:
    """How fast events fade: halved with every half-life of age at `newest` (Unix seconds); None: never."""

    half_life_days: float | None
    newest: int

    @staticmethod
    def of(interactions: Interactions, half_life_days: float | None) -> Decay:
        return Decay(half_life_days, int(interactions.times.max(initial=np.iinfo(np.int64).min)))

    def weights(self, interactions: Interactions, events: slice = slice(None)) -> NDArray[np.float64]:
        """Weight of some events; never negative."""
        weights = np.maximum(interactions.weights[events].astype(np.float64), 0)
        if self.half_life_days is None:
            return weights
        ages = (self.newest - interactions.times[events]) / (self.half_life_days * DAY_SECONDS)
        decayed: NDArray[np.float64] = weights * np.exp2(-ages)
        return decayed

    def totals(self, interactions: Interactions) -> NDArray[np.float64]:
        """Weight of all events of each item [n_items], added up a block at a time."""
        totals = np.zeros(interactions.n_items)
        for block in blocks(len(interactions)):
            weights = self.weights(interactions, block)
            totals += np.bincount(interactions.items[block], weights, minlength=interactions.n_items)
        return totals


def fit_popularity(
    interactions: Interactions,
    schema: DatasetSchema,
    users: pl.DataFrame,
    item_categories: tuple[NDArray[np.int32], Sequence[str]],
    published: NDArray[np.int64],
    half_life_days: float | None,
) -> RankedLists:
    """All tables. `item_categories` are each item's category number [n] (-1 without) and the names."""
    decay = Decay.of(interactions, half_life_days)
    totals = decay.totals(interactions)
    share = totals / max(totals.sum(), 1e-12)
    tables = {GLOBAL_KEY: _top(share, np.flatnonzero(share > 0))}
    tables |= _segments(interactions, decay, schema.segment, users, share)
    tables |= _categories(share, *item_categories, published)
    if schema.timed and len(interactions):
        tables |= _trending(interactions)
    return _ranked_lists(tables)


_Table = tuple[NDArray[np.int32], NDArray[np.float32]]


def _top(share: NDArray[np.float64], rows: NDArray[np.integer], longest: int = LONGEST_LIST) -> _Table:
    """The largest shares (or weights) of some rows, descending; ties in row order."""
    if len(rows) > longest:
        rows = np.sort(rows[np.argpartition(-share[rows], longest - 1)[:longest]])
    order = rows[np.argsort(-share[rows], kind="stable")]
    return order.astype(np.int32), np.maximum(share[order], np.finfo(np.float32).tiny).astype(np.float32)


class _Segments:
    """Tables of every prefix of the segment that has enough users, the broadest first.

    Goes down one branch at a time, so that only the shares of a branch [depth, n_items] are in memory, however many
    segments there are.
    """

    def __init__(self, interactions: Interactions, decay: Decay, names: Sequence[str], users: pl.DataFrame) -> None:
        self.interactions, self.decay, self.names = interactions, decay, names
        self.lengths = interactions.lengths
        self.codes, self.values = zip(*(_category_codes(users[name]) for name in names), strict=True)
        self.tables: dict[str, _Table] = {}

    def descend(self, above: tuple[str, ...], users: NDArray[np.integer], share: NDArray[np.float64]) -> None:
        """Divide the `users` of the segment `above`, whose items have this `share` [n_items]."""
        depth = len(above)
        if depth == len(self.names):
            return
        codes, values = self.codes[depth], self.values[depth]
        user_order, user_bounds = _grouped(codes[users], len(values))
        for number, value in enumerate(values):
            members = users[user_order[user_bounds[number] : user_bounds[number + 1]]]
            if len(members) < MIN_SEGMENT_USERS:
                continue
            own = self._totals(members)
            shrunk = (own + PRIOR_EVENTS * share) / (own.sum() + PRIOR_EVENTS)
            key = segment_key(self.names[: depth + 1], (*above, value))
            self.tables[key] = _top(shrunk, np.flatnonzero(shrunk > 0))
            self.descend((*above, value), members, shrunk)

    def _totals(self, users: NDArray[np.integer]) -> NDArray[np.float64]:
        """Weight of the events of some users, of each item [n_items]; a block of their events is in memory."""
        ends, totals = np.cumsum(self.lengths[users]), np.zeros(self.interactions.n_items)
        for some in np.split(users, np.flatnonzero(np.diff(ends // large_arrays.BLOCK)) + 1):
            totals += self.decay.totals(self.interactions.take(some))
        return totals


def _segments(
    interactions: Interactions,
    decay: Decay,
    segment: Sequence[str],
    users: pl.DataFrame,
    share: NDArray[np.float64],
) -> dict[str, _Table]:
    names = [name for name in segment if name in users.columns]
    if not names:
        return {}
    segments = _Segments(interactions, decay, names, users)
    segments.descend((), np.arange(users.height), share)
    return segments.tables


def _category_codes(column: pl.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Number of each user's value [n_users] (-1 where it is missing) and the values as texts, in their order."""
    raw = column.drop_nulls().unique().sort()
    codes = column.replace_strict(raw, pl.Series(range(len(raw)), dtype=pl.Int64), default=-1, return_dtype=pl.Int64)
    return codes.fill_null(-1).to_numpy(), [category_text(value) for value in raw.to_list()]


def _grouped(codes: NDArray[np.int64], n_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places ordered by code, and where each code from 0 begins in that order [n_groups + 1]."""
    order = np.argsort(codes, kind="stable")
    return order, np.searchsorted(codes[order], np.arange(n_groups + 1))


def _categories(
    share: NDArray[np.float64], category: NDArray[np.int32], names: Sequence[str], published: NDArray[np.int64]
) -> dict[str, _Table]:
    """A table a category: its popular items, then its newest without events."""
    order = np.argsort(category, kind="stable")
    bounds = np.searchsorted(category[order], np.arange(len(names) + 1))
    tables = {}
    for number, name in enumerate(names):
        rows = order[bounds[number] : bounds[number + 1]]
        known, cold = rows[share[rows] > 0], rows[share[rows] <= 0]
        newest = cold[np.argsort(published[cold], kind="stable")[::-1]]
        newest = newest[: max(NEW_PLACES, LONGEST_LIST - len(known))]
        best, scores = _top(share, known, LONGEST_LIST - min(len(newest), NEW_PLACES))
        tail = np.full(len(newest), scores.min(initial=1.0) / 2, np.float32)  # below every item that somebody took
        tables[category_key(name)] = (
            np.concatenate([best, newest.astype(np.int32)])[:LONGEST_LIST],
            np.concatenate([scores, tail])[:LONGEST_LIST],
        )
    return tables


def _trending(interactions: Interactions) -> dict[str, _Table]:
    """A table a window: weights at the newest event, which stand beside live counts, hence no shares.

    score of an item = sum over its events of max(weight, 0) × 2^(-(watermark - t) / half-life), t within the window
    """
    newest, totals = interactions.times.max(), {window: np.zeros(interactions.n_items) for window in WINDOWS}
    for block in blocks(len(interactions)):
        items, ages = interactions.items[block], newest - interactions.times[block]
        positive = np.maximum(interactions.weights[block].astype(np.float64), 0)
        for window, seconds in WINDOWS.items():
            inside = ages < seconds
            weights = positive[inside] * np.exp2(-ages[inside] / half_life_seconds(window))
            totals[window] += np.bincount(items[inside], weights, interactions.n_items)
    found = {window: np.flatnonzero(total > 0) for window, total in totals.items()}
    return {trending_key(window): _top(totals[window], rows) for window, rows in found.items() if len(rows)}


def _ranked_lists(tables: dict[str, _Table]) -> RankedLists:
    rows, scores = zip(*tables.values(), strict=True)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in rows])]).astype(np.int64)
    return RankedLists(list(tables), np.concatenate(rows), np.concatenate(scores), offsets)
