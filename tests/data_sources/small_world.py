"""A small healthy dataset that tests break on purpose: the doctor finds nothing wrong with it.

60 users, 40 items, 1,500 events over 50 days before NOW; two user features that form segments of 20 and more users, and
item features of every kind. `save` writes frames as they are, whatever the schema would say to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from contracts.schema import DatasetSchema, EventWeights, FeatureKind
from data_sources.dataset import write_schema

NOW = 1_790_000_000
DAY = 86_400
USERS, ITEMS, EVENTS = 60, 40, 1_500

SCHEMA = DatasetSchema(
    users={"gender": FeatureKind.CATEGORICAL, "joined": FeatureKind.TIMESTAMP},
    items={
        "kind": FeatureKind.CATEGORICAL,
        "tags": FeatureKind.MULTI_CATEGORICAL,
        "price": FeatureKind.NUMERIC,
        "title": FeatureKind.TEXT,
        "born": FeatureKind.TIMESTAMP,
        "over": FeatureKind.TIMESTAMP,
        "on_sale": FeatureKind.CATEGORICAL,
    },
    segment=("gender",),
    category="kind",
    title="title",
    published="born",
    expires="over",
    available="on_sale",
    event_weights=EventWeights(types={"view": 1.0, "buy": 3.0}),
)


@dataclass
class SmallWorld:
    """Frames and schema, to be changed and saved."""

    schema: DatasetSchema
    events: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame

    def with_schema(self, **changes: Any) -> None:
        self.schema = _rebuilt(self.schema, changes)

    def set(self, table: str, column: str, rows: int | list[int], value: Any) -> None:
        """Put a value into some rows of a column, casting the column to what holds it."""
        frame: pl.DataFrame = getattr(self, table)
        values = frame[column].to_list()
        for row in range(rows) if isinstance(rows, int) else rows:
            values[row] = value
        setattr(self, table, frame.with_columns(pl.Series(column, values, strict=False)))

    def map(self, table: str, **columns: pl.Expr) -> None:
        setattr(self, table, getattr(self, table).with_columns(**columns))

    def save(self, folder: Path) -> Path:
        folder.mkdir(exist_ok=True)
        write_schema(folder, self.schema)
        for name in ("events", "users", "items"):
            getattr(self, name).write_parquet(folder / f"{name}.parquet")
        return folder


def _rebuilt(schema: DatasetSchema, changes: dict[str, Any]) -> DatasetSchema:
    fields = {name: getattr(schema, name) for name in schema.__struct_fields__}
    return DatasetSchema(**{**fields, **changes})


def small_world() -> SmallWorld:
    rng = np.random.default_rng(5)
    user = np.concatenate([np.repeat(np.arange(USERS), 5), rng.integers(0, USERS, EVENTS - 5 * USERS)])
    item = np.concatenate([np.repeat(np.arange(ITEMS), 5), rng.integers(0, ITEMS, EVENTS - 5 * ITEMS)])
    events = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in user],
            "item_id": [f"i{number}" for number in rng.permutation(item)],
            "event_type": pl.Series(["view", "buy"]).gather(rng.integers(0, 2, EVENTS)),
            "timestamp": NOW - 50 * DAY + rng.permutation(EVENTS) * (50 * DAY // EVENTS),
            "event_id": [f"e{number}" for number in range(EVENTS)],
        }
    )
    users = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in range(USERS)],
            "gender": ["F" if number % 2 else "M" for number in range(USERS)],
            "joined": [NOW - (100 + number) * DAY for number in range(USERS)],
        }
    )
    items = pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(ITEMS)],
            "kind": [f"kind{number % 4}" for number in range(ITEMS)],
            "tags": [[f"t{number % 3}", f"t{number % 5}"] for number in range(ITEMS)],
            "price": [float(number) for number in range(ITEMS)],
            "title": [f"thing number {number}" for number in range(ITEMS)],
            "born": [NOW - (200 + number) * DAY for number in range(ITEMS)],
            "over": [NOW + (10 + number) * DAY for number in range(ITEMS)],
            "on_sale": ["true"] * (ITEMS - 1) + ["false"],
        }
    )
    return SmallWorld(SCHEMA, events, users, items)


Mutation = Callable[[SmallWorld], None]
