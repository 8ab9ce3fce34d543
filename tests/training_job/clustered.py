"""A small data set with known structure. Apart from the fixtures, so that a process of its own can make it, too."""

from __future__ import annotations

import numpy as np
import polars as pl

from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from data_sources.indexed import IndexedDataset

CLUSTERS = 4


def clustered_world(
    n_users: int = 120,
    n_items: int = 60,
    per_user: int = 10,
    *,
    time: TimeMeaning = TimeMeaning.TIMESTAMP,
    features: bool = True,
    n_cold: int = 4,
    seed: int = 0,
) -> IndexedDataset:
    """Item i and user u belong to clusters i % CLUSTERS and u % CLUSTERS; the last `n_cold` items have no events."""
    random = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), per_user)
    ranks = np.minimum(random.geometric(0.15, len(users)) - 1, (n_items - n_cold) // CLUSTERS - 1)
    items = ranks * CLUSTERS + users % CLUSTERS
    times = 1_700_000_000 + random.integers(0, 90 * 86_400, len(users))
    times = times if time is TimeMeaning.TIMESTAMP else np.arange(len(users)) % per_user
    if time is TimeMeaning.NONE:
        times = np.zeros(len(users), np.int64)
    events = Interactions.from_events(users, items, times, np.ones(len(users)), n_users, n_items)
    kinds = (
        {"users": {"gender": FeatureKind.CATEGORICAL}, "items": {
            "kind": FeatureKind.CATEGORICAL, "tags": FeatureKind.MULTI_CATEGORICAL, "title": FeatureKind.TEXT,
            "price": FeatureKind.NUMERIC, "born": FeatureKind.TIMESTAMP}}
        if features
        else {}
    )  # fmt: skip
    roles = {"segment": ("gender",), "category": "kind", "title": "title", "published": "born"} if features else {}
    cluster = np.arange(n_items) % CLUSTERS
    return IndexedDataset(
        DatasetSchema(time=time, **kinds, **roles),
        pl.Series([f"u{number:06d}" for number in range(n_users)]),
        pl.Series([f"i{number:06d}" for number in range(n_items)]),
        events,
        None,
        pl.DataFrame(
            {"gender": [f"g{number % CLUSTERS}" for number in range(n_users)]} if features else {"x": [None] * n_users}
        ),
        pl.DataFrame(
            {
                "kind": [f"k{number}" for number in cluster],
                "tags": [[f"t{number}", "all"] for number in cluster],
                "title": [f"word{number} thing" for number in cluster],
                "price": [None if number % 7 == 0 else number % CLUSTERS * 10.0 for number in range(n_items)],
                "born": 1_690_000_000 + np.arange(n_items) * 86_400,
            }
        )
        if features
        else pl.DataFrame({"x": [None] * n_items}),
    )
