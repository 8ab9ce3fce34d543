"""Probe queries: real query vectors of held-out users with their exact answers, unfiltered and filtered.

The loader compares an index with them before it may serve. They are queries as serving makes them, for what a graph
finds depends on where queries lie: random vectors would flatter it. A filter is probed at every selectivity, because
that is where approximate search breaks: large categories, and the newest half, fifth, ... hundredth. `assemble.py`
calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.feature_encoder import Bag, FeatureEncoder
from contracts.fitted import SHORTEST, AlsArrays, Floats, ItemArrays, ProbeArrays, ProbeBucket, Rows, TowerArrays
from contracts.interactions import Interactions
from contracts.request import FilterValue, Range
from contracts.schema import DatasetSchema, FeatureKind
from retrieval.als import fold_in_many
from retrieval.filters import ItemFilters
from retrieval.user_tower import encode_users
from stores.vector_index import ExactIndex
from training_job.batches import ragged
from training_job.validation import Validation

PROBES: Final = 256
"""Queries that an index must answer: at 100 answers each, a recall below .99 shows with certainty."""
PROBE_PLACES: Final = 100
BUCKET_PROBES: Final = 64
"""Queries per filter: the standard error of a recall near .95 is then below .01."""
SHARES: Final = (0.5, 0.2, 0.1, 0.05, 0.01)
"""Selectivities that are probed by a range."""
LARGE_CATEGORY: Final = 0.01
MOST_CATEGORIES: Final = 10


@dataclass(frozen=True)
class ProbedModel:
    """What answers of a trained model depend on."""

    tower: TowerArrays
    als: AlsArrays
    items: ItemArrays
    item_encoder: FeatureEncoder
    schema: DatasetSchema
    categories: list[str]
    """Most items first."""


@dataclass(frozen=True)
class ProbeUsers:
    """Histories of p users, oldest first, user u owning offsets[u]:offsets[u + 1], and their features."""

    rows: Rows
    weights: Floats
    offsets: NDArray[np.int64]
    features: Bag


def held_out_users(validation: Validation, events: Interactions, user_features: Bag) -> ProbeUsers:
    """Users of the validation slice, evenly over their codes, with what they did before it."""
    users = np.union1d(validation.tuning.judged, validation.judging.judged)
    users = users[:: max(1, len(users) // PROBES)][:PROBES]
    lengths = events.lengths[users]
    history = ragged(events.offsets[users], lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ProbeUsers(events.items[history], events.weights[history], offsets, user_features.take(users))


def probe_arrays(model: ProbedModel, users: ProbeUsers) -> ProbeArrays:
    """Queries of both models with their exact answers, those of the towers also under every filter."""
    items = model.items
    queries = encode_users(model.tower, items, users.rows, users.weights, users.offsets, users.features)
    als_queries = fold_in_many(model.als, items.als, users.rows, users.weights, users.offsets)
    # without history every item scores 0, and any answer is exact
    als_queries = als_queries[np.linalg.norm(als_queries, axis=1) > SHORTEST]
    some = queries[:BUCKET_PROBES]
    buckets, rows = [], [np.empty((0, len(some), _places(len(items))), np.int32)]
    filters = ItemFilters(model.item_encoder, items)
    for name, filter_ in _filters(model).items():
        if (restriction := filters.restriction(filter_)) is not None and restriction.mask.any():
            buckets.append(ProbeBucket(name, float(restriction.mask.mean()), restriction.clauses))
            rows.append(_exact(some, items.two_tower, restriction.mask)[None])
    return ProbeArrays(
        queries=queries,
        rows=_exact(queries, items.two_tower),
        als_queries=als_queries,
        als_rows=_exact(als_queries, items.als),
        buckets=buckets,
        bucket_rows=np.concatenate(rows),
    )


def _filters(model: ProbedModel) -> dict[str, dict[str, FilterValue]]:
    """Name → filter of every bucket."""
    return _category_filters(model) | _range_filters(model)


def _category_filters(model: ProbedModel) -> dict[str, dict[str, FilterValue]]:
    feature = model.schema.category
    if feature is None or all(field.name != feature for field in model.item_encoder.fields):
        return {}
    sizes = np.bincount(model.items.category[model.items.category >= 0], minlength=len(model.categories))
    large = np.flatnonzero(sizes >= LARGE_CATEGORY * len(model.items))[:MOST_CATEGORIES]
    names = [
        model.categories[category]
        for category in large
        if model.item_encoder.slot(feature, model.categories[category]) >= 0
    ]
    return {f"{feature}={name}": {feature: [name]} for name in names}


def _range_filters(model: ProbedModel) -> dict[str, dict[str, FilterValue]]:
    """The largest share of a number: of the time of publication where it is known, else of the first that varies."""
    counted = (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP)
    names = [field.name for field in model.item_encoder.fields if field.kind in counted]
    for name in sorted(names, key=lambda name: name != model.schema.published):
        numbers = model.items.numbers[:, names.index(name)]
        known = numbers[np.isfinite(numbers)]
        if len(known) and known.min() < known.max():
            bounds = np.quantile(known, [1 - share for share in SHARES])
            return {
                f"{name}, highest {share:.0%}": {name: Range(gte=float(bound))}
                for share, bound in zip(SHARES, bounds, strict=True)
            }
    return {}


def _places(n_items: int) -> int:
    return min(PROBE_PLACES, n_items)


def _exact(queries: Floats, vectors: Floats, mask: NDArray[np.bool_] | None = None) -> Rows:
    """Rows [p, k] of the largest inner products among the items that pass, -1 where fewer do."""
    allowed = np.arange(len(vectors), dtype=np.int32) if mask is None else np.flatnonzero(mask).astype(np.int32)
    index = ExactIndex({"": vectors if mask is None else vectors[allowed]})
    places = index.search_many("", queries, _places(len(vectors)))[0]
    return np.where(places >= 0, allowed[places], -1).astype(np.int32)
