"""A small synthetic FittedModel whose right answers are known, for every test that needs a release to serve from.

The world: `n_items` items i000000, i000001, … Row r belongs to category r % n_categories. Popularity falls with the
row: row 0 is the most popular item of all, so the global list is simply the rows in order. The last `n_cold` rows are
cold (0 to 4 events) and new (a day old; all others are 60 days old or more). Vectors of a category lie around an axis
of their own, so a history in a category asks for that category, in both models. Users have `gender` and `age`; the
segment gender=F likes category 0, gender=M category 1. Golden cases and probes are computed, hence valid. Nothing here
is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from contracts.feature_encoder import Bag, FeatureEncoder, FieldVocabulary
from contracts.fitted import (
    DEPTHS,
    NEVER_EXPIRES,
    UNKNOWN_TIME,
    AlsArrays,
    ContentArrays,
    FittedModel,
    Floats,
    ItemArrays,
    ProbeArrays,
    ProbeBucket,
    RankedLists,
    TowerArrays,
    check_shapes,
)
from contracts.golden import GoldenCase
from contracts.ids import IdTable
from contracts.request import Range
from contracts.restriction import Restriction
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from contracts.segments import GLOBAL_KEY, category_key, segment_key
from retrieval.filters import ItemFilters
from retrieval.golden import golden_factor, golden_vector

NOW: Final = 1_700_000_000
"""Unix seconds of the toy world's present."""
DAY: Final = 86_400
CATEGORIES: Final = ("art", "books", "cars", "dogs", "eggs", "fish", "gold")
TAGS: Final = ("big", "old", "red")
COLD_BELOW: Final = 5
LIST_LENGTH: Final = 100
NEIGHBOURS_AMONG: Final = 2_000
"""Items that can be a neighbour: those of 50,000 would take ten gigabytes."""


def toy_model(
    n_items: int = 200,
    dim: int = 16,
    seed: int = 0,
    *,
    n_categories: int = 5,
    n_cold: int = 20,
    hidden: int = 8,
    heads: int = 2,
    crowd: int = 0,
    featureless: bool = False,
    unavailable: Sequence[int] = (),
    expired: Sequence[int] = (),
    head_items: int = 0,
) -> FittedModel:
    """A consistent model; see the module for its right answers.

    `featureless`: no user or item features, categories, texts or publication times, and time is order (what a bare
    list of sequences trains to). `unavailable`, `expired`: rows that must not be served at NOW.
    `head_items`: so many of the first, most popular rows are the head; 0: there is none.
    """
    rng = np.random.default_rng(seed)
    names = list(CATEGORIES[:n_categories])
    category = np.full(n_items, -1) if featureless else np.arange(n_items) % n_categories
    taste = np.arange(n_items) % n_categories
    events = _events(n_items, n_cold)
    columns = {} if featureless else _item_columns(names, category, n_cold, expired, unavailable)
    schema = _schema(featureless)
    item_encoder, user_encoder = _encoders(names, featureless)
    features = item_encoder.encode(columns, n_items)
    als = _vectors(rng, taste, dim) * rng.uniform(0.5, 1.0, (n_items, 1)).astype(np.float32)
    items = ItemArrays(
        ids=IdTable.from_strings(f"i{row:06d}" for row in range(n_items)),
        two_tower=_vectors(rng, taste, dim) * ((events + 1.0)[:, None] ** 0.05).astype(np.float32),
        als=als,
        head=np.arange(head_items, dtype=np.int32),
        pool_weight=((events + 1.0) ** -0.3).astype(np.float32),
        events=events,
        category=category.astype(np.int32),
        published=np.array(columns.get("published", [UNKNOWN_TIME] * n_items), np.int64),
        expires=np.array(columns.get("expires", [NEVER_EXPIRES] * n_items), np.int64),
        available=np.array([value == "true" for value in columns.get("available", ["true"] * n_items)]),
        features=features,
        numbers=_numbers(columns, n_items),
    )
    model = FittedModel(
        schema=schema,
        user_encoder=user_encoder,
        item_encoder=item_encoder,
        categories=[] if featureless else names,
        titles=list(columns.get("title", [])),
        items=items,
        tower=replace(
            _tower(rng, dim, (hidden, heads, crowd), user_encoder.n_slots, item_encoder.n_slots),
            item_slots=_slots(items, item_encoder.n_slots),
        ),
        als=AlsArrays((als.T @ als).astype(np.float32), alpha=4.0, regularisation=1.0),
        popularity=_popularity(events, category, names),
        content=_content(features, events, item_encoder.n_slots),
        probes=_probes(rng, items, item_encoder),
        golden=[],
        watermark=NOW,
    )
    check_shapes(model)
    model.golden.extend(_golden(model, rng))
    return model


def item_id(row: int) -> str:
    """The id of a row of the toy world."""
    return f"i{row:06d}"


def _slots(items: ItemArrays, n_slots: int) -> Floats:
    """Content that points where the items are that have it, as training would make it."""
    slots = np.zeros((n_slots, items.two_tower.shape[1]), np.float32)
    owners = np.repeat(np.arange(len(items)), np.diff(items.features.offsets))
    np.add.at(slots, items.features.slots, items.two_tower[owners] / len(items))
    return slots


def _events(n_items: int, n_cold: int) -> np.ndarray:
    hot = 10_000 / np.arange(1, n_items - n_cold + 1) + COLD_BELOW
    return np.concatenate([hot, np.arange(n_cold) % COLD_BELOW]).astype(np.int32)


def _vectors(rng: np.random.Generator, taste: np.ndarray, dim: int) -> Floats:
    """Unit vectors around the axis of their taste."""
    vectors = np.eye(dim, dtype=np.float32)[taste % dim] + 0.1 * rng.standard_normal((len(taste), dim))
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _schema(featureless: bool) -> DatasetSchema:
    if featureless:
        return DatasetSchema(time=TimeMeaning.ORDER)
    return DatasetSchema(
        users={"gender": FeatureKind.CATEGORICAL, "age": FeatureKind.NUMERIC},
        items={
            "genre": FeatureKind.CATEGORICAL,
            "tags": FeatureKind.MULTI_CATEGORICAL,
            "title": FeatureKind.TEXT,
            "price": FeatureKind.NUMERIC,
            "published": FeatureKind.TIMESTAMP,
            "expires": FeatureKind.TIMESTAMP,
            "available": FeatureKind.CATEGORICAL,
        },
        segment=("gender",),
        category="genre",
        title="title",
        published="published",
        expires="expires",
        available="available",
    )


def _encoders(names: list[str], featureless: bool) -> tuple[FeatureEncoder, FeatureEncoder]:
    """Item encoder, user encoder. Expiry is a role, not content, so it is no field of the encoder."""
    if featureless:
        return FeatureEncoder(), FeatureEncoder()
    words = ["toy", *names]
    items = [
        FieldVocabulary("genre", FeatureKind.CATEGORICAL, terms=names),
        FieldVocabulary("tags", FeatureKind.MULTI_CATEGORICAL, terms=list(TAGS)),
        FieldVocabulary("title", FeatureKind.TEXT, terms=words, idf=[1.0] + [2.0] * len(names)),
        FieldVocabulary("price", FeatureKind.NUMERIC, edges=[5.0, 10.0]),
        FieldVocabulary("published", FeatureKind.TIMESTAMP, edges=[float(NOW - 100 * DAY)]),
    ]
    users = [
        FieldVocabulary("gender", FeatureKind.CATEGORICAL, terms=["F", "M"]),
        FieldVocabulary("age", FeatureKind.NUMERIC, edges=[18.0, 30.0, 50.0]),
    ]
    return FeatureEncoder(items), FeatureEncoder(users)


def _item_columns(
    names: list[str], category: np.ndarray, n_cold: int, expired: Sequence[int], unavailable: Sequence[int]
) -> dict[str, list[Any]]:
    n_items = len(category)
    ages = np.where(np.arange(n_items) < n_items - n_cold, 60 + np.arange(n_items) % 400, 1)
    return {
        "genre": [names[c] for c in category],
        "tags": [[tag for bit, tag in enumerate(TAGS) if row >> bit & 1] for row in range(n_items)],
        "title": [f"Toy {names[c]} {row}" for row, c in enumerate(category)],
        "price": [float(row % 20) for row in range(n_items)],
        "published": [int(NOW - age * DAY) for age in ages],
        "expires": [NOW - 1 if row in expired else NEVER_EXPIRES for row in range(n_items)],
        "available": ["false" if row in unavailable else "true" for row in range(n_items)],
    }


def _numbers(columns: dict[str, list[Any]], n_items: int) -> np.ndarray:
    fields = [columns[name] for name in ("price", "published") if name in columns]
    return np.array(fields, np.float64).T if fields else np.empty((n_items, 0))


def _tower(
    rng: np.random.Generator, dim: int, shape: tuple[int, int, int], n_user_slots: int, n_item_slots: int
) -> TowerArrays:
    hidden, heads, crowd = shape

    def table(*shape: int) -> Floats:
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)

    return TowerArrays(
        slots=table(n_user_slots, dim),
        positions=(0.9 ** np.arange(50)).astype(np.float32),
        depth=table(DEPTHS if heads else 0, dim),
        match=table(heads, dim, dim) * 8,
        value=table(heads, dim, dim),
        recency=-np.outer(0.5 ** np.arange(heads), np.arange(50)).astype(np.float32),
        crowd=table(crowd, dim) * 10,
        crowd_bias=table(crowd) * 10,
        stride=0.5,
        sharpness=6.0,
        hidden_weight=table(dim, hidden),
        hidden_bias=table(hidden),
        output_weight=table(hidden, dim),
        output_bias=table(dim),
        item_slots=table(n_item_slots, dim),
        cold_norm=1.0,
    )


def _popularity(events: np.ndarray, category: np.ndarray, names: list[str]) -> RankedLists:
    """Global, by category, and two segments: F likes category 0 ten times more, M category 1."""
    tables = {GLOBAL_KEY: events.astype(float)}
    for number, name in enumerate(names if category[0] >= 0 else []):
        tables[category_key(name)] = np.where(category == number, events, 0)
    for gender, liked in (("F", 0), ("M", 1)) if category[0] >= 0 else ():
        tables[segment_key(["gender"], [gender])] = np.where(category == liked, 10.0 * events, events)
    ranked = {
        key: np.argsort(-weight, kind="stable")[: min(LIST_LENGTH, (weight > 0).sum())]
        for key, weight in tables.items()
    }
    rows = np.concatenate(list(ranked.values())).astype(np.int32)
    scores = np.concatenate([tables[key][ranked[key]] / tables[key].sum() for key in ranked]).astype(np.float32)
    offsets = np.cumsum([0, *map(len, ranked.values())]).astype(np.int64)
    return RankedLists(list(ranked), rows, scores, offsets)


def _content(features: Bag, events: np.ndarray, n_slots: int, k: int = 10) -> ContentArrays:
    """Dense TF-IDF cosine with the first NEIGHBOURS_AMONG items, which are hot: fine at toy size."""
    n_items = len(events)
    counts = np.bincount(features.slots, minlength=n_slots)
    idf = np.log((1 + n_items) / (1 + counts)) + 1
    owners = np.repeat(np.arange(n_items), np.diff(features.offsets))
    dense = np.zeros((n_items, max(n_slots, 1)), np.float32)
    np.add.at(dense, (owners, features.slots), features.weights * idf[features.slots])
    dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-6)
    among = slice(NEIGHBOURS_AMONG)
    cosine = dense @ dense[among].T
    cosine[:, events[among] < COLD_BELOW] = 0
    np.fill_diagonal(cosine, 0)
    neighbours = np.argsort(-cosine, axis=1, kind="stable")[:, :k].astype(np.int32)
    similarities = np.take_along_axis(cosine, neighbours, 1)
    return ContentArrays(idf.astype(np.float32), np.where(similarities > 0, neighbours, -1), similarities)


def _probes(rng: np.random.Generator, items: ItemArrays, encoder: FeatureEncoder, n_probes: int = 5) -> ProbeArrays:
    queries, als_queries = rng.standard_normal((2, n_probes, items.two_tower.shape[1])).astype(np.float32)
    everything = np.ones(len(items), np.bool_)
    restrictions: dict[str, Restriction | None] = {}
    if encoder.fields:
        filters = ItemFilters(encoder, items)
        restrictions["genre=art"] = filters.restriction({"genre": ["art"]})
        restrictions["price from 10"] = filters.restriction({"price": Range(gte=10.0)})
    known = {name: found for name, found in restrictions.items() if found is not None}
    return ProbeArrays(
        queries=queries,
        rows=_exact(queries, items.two_tower, everything),
        als_queries=als_queries,
        als_rows=_exact(als_queries, items.als, everything),
        buckets=[ProbeBucket(name, float(found.mask.mean()), found.clauses) for name, found in known.items()],
        bucket_rows=np.array(
            [_exact(queries, items.two_tower, found.mask) for found in known.values()], np.int32
        ).reshape(len(known), n_probes, min(100, len(items))),
    )


def _exact(queries: Floats, vectors: Floats, mask: np.ndarray) -> np.ndarray:
    """By a full sort; -1 where fewer pass."""
    scores = np.where(mask, queries @ vectors.T, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :100]
    return np.where(np.take_along_axis(scores, order, 1) > -np.inf, order, -1).astype(np.int32)


def _golden(model: FittedModel, rng: np.random.Generator) -> list[GoldenCase]:
    lengths = [0, 1, 3, 70]
    rows = rng.integers(0, len(model.items.head) or len(model.items), sum(lengths)).tolist()
    users: list[dict[str, Any]] = [{}, {"gender": "F"}, {"gender": "M", "age": 44.0}, {"gender": "unseen"}]
    spans = [slice(a, b) for a, b in pairwise(np.cumsum([0, *lengths]).tolist())]
    return [_golden_case(model, rows[span], user) for span, user in zip(spans, users, strict=True)]


def _golden_case(model: FittedModel, rows: list[int], features: dict[str, Any]) -> GoldenCase:
    weights = [1.0 + 0.5 * (row % 2) for row in rows]
    return GoldenCase(
        rows=rows,
        weights=weights,
        features=features,
        two_tower=golden_vector(model, rows, weights, features).tolist(),
        als=golden_factor(model, rows, weights).tolist(),
    )
