"""The synthetic world, written as a dataset: deterministic by its seed, a block of users at a time.

Long-tail popularity, segments with a taste, interests that drift, items that are born over time, cold users and cold
items, sessions in which one item leads to the next. Its truth is a mixture of clusters and rings, not an inner product
of vectors, so no model of Tandem is the generator in disguise. The CLI and benchmarks call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from contracts.errors import NotEnoughData
from contracts.schema import DatasetSchema, EventWeights, FeatureKind
from data_sources.dataset import is_dataset, write_schema
from data_sources.folders import replace_folder
from data_sources.world_catalogue import Catalogue, items_table, make_catalogue
from data_sources.world_events import block_events
from data_sources.world_users import Population, make_population, users_table

USERS_PER_BLOCK: Final = 20_000
"""About half a million events in memory at a time."""

DEFAULT_UNTIL: Final = date(2026, 11, 1)
"""The world's last day: fixed, so that a seed gives the same bytes on every day."""

_DAY: Final = 86_400

SCHEMA: Final = DatasetSchema(
    users={
        "gender": FeatureKind.CATEGORICAL,
        "age_group": FeatureKind.CATEGORICAL,
        "region": FeatureKind.CATEGORICAL,
        "signup_at": FeatureKind.TIMESTAMP,
    },
    items={
        "category": FeatureKind.CATEGORICAL,
        "brand": FeatureKind.CATEGORICAL,
        "tags": FeatureKind.MULTI_CATEGORICAL,
        "price": FeatureKind.NUMERIC,
        "published_at": FeatureKind.TIMESTAMP,
        "title": FeatureKind.TEXT,
        "description": FeatureKind.TEXT,
    },
    segment=("gender", "age_group"),
    category="category",
    title="title",
    published="published_at",
    event_weights=EventWeights(types={"view": 1.0, "cart": 2.0, "purchase": 3.0, "dislike": -2.0}),
)


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """What the world is made of."""

    users: int = 2_000
    items: int = 500
    seed: int = 7
    days: int = 90
    cold_share: float = 0.1
    """Share of users, and of items, with fewer than five events (some with none)."""
    events_per_user: float = 25.0
    """Mean over all users: 50 thousand events of 2,000 users, 2.5 million of 100,000."""
    until: date = DEFAULT_UNTIL

    @property
    def window(self) -> tuple[int, int]:
        """First and last second of the world: it ends at midnight (UTC) where `until` begins."""
        end = int(datetime.combine(self.until, time(), UTC).timestamp())
        return end - self.days * _DAY, end - 1


class GeneratedWorld(msgspec.Struct, frozen=True):
    """What was written."""

    dataset: str
    users: int
    items: int
    events: int
    seed: int


def generate(
    out: Path, settings: WorldSettings, progress: Callable[[int, int, str], None] | None = None
) -> GeneratedWorld:
    """Write a synthetic dataset to the folder `out`; `progress(done, total, text)` is told every block.

    Raises NotEnoughData for settings that make no world, DatasetError where `out` holds something else, StorageFull.
    """
    _check(settings)
    rng = np.random.default_rng([settings.seed, 0])
    catalogue = make_catalogue(rng, settings.items, settings.window, settings.cold_share)
    population = make_population(
        rng, catalogue, settings.users, settings.window, settings.cold_share, settings.events_per_user
    )
    with replace_folder(out, is_dataset) as folder:
        write_schema(folder, SCHEMA)
        items_table(rng, catalogue).write_parquet(folder / "items.parquet")
        users_table(rng, population).write_parquet(folder / "users.parquet")
        n_events = _write_events(folder, catalogue, population, settings, progress)
    return GeneratedWorld(str(out), settings.users, settings.items, n_events, settings.seed)


def _check(settings: WorldSettings) -> None:
    if min(settings.users, settings.items, settings.days) < 1 or settings.events_per_user < 1:
        raise NotEnoughData("a world needs users, items, days and events.", fix="Give each at least 1.")
    if not 0 <= settings.cold_share < 1:
        raise NotEnoughData(
            f"a cold share of {settings.cold_share} leaves nobody to learn from.", fix="Give a share from 0 up to 0.9."
        )


def _write_events(
    folder: Path,
    catalogue: Catalogue,
    population: Population,
    settings: WorldSettings,
    progress: Callable[[int, int, str], None] | None,
) -> int:
    """Write the events: one file, or a folder of parts where the users are more than one block."""
    blocks = np.array_split(np.arange(settings.users), -(-settings.users // USERS_PER_BLOCK))
    cold = _cold_items_by_block(catalogue, settings.seed, len(blocks))
    if len(blocks) > 1:
        (folder / "events").mkdir()
    events = sessions = 0
    for number, users in enumerate(blocks):
        rng = np.random.default_rng([settings.seed, 1, number])
        frame = block_events(rng, catalogue, population, users, settings.window, cold[number])
        last_session = int(frame["session"].max() or 0)  # type: ignore[arg-type]  # an integer column
        named = _name_events(frame, events, sessions)
        named.write_parquet(folder / (f"events/part-{number:05}.parquet" if len(blocks) > 1 else "events.parquet"))
        events, sessions = events + len(frame), sessions + last_session + 1
        if progress is not None:
            progress(number + 1, len(blocks), "Generating users in blocks")
    return events


def _cold_items_by_block(catalogue: Catalogue, seed: int, n_blocks: int) -> list[np.ndarray]:
    """Each cold item as often as it is to be met, dealt to the blocks."""
    rng = np.random.default_rng([seed, 2])
    dealt = rng.permutation(np.repeat(np.arange(len(catalogue.ids)), np.maximum(catalogue.cold_events, 0)))
    return [np.sort(part) for part in np.array_split(dealt, n_blocks)]


def _name_events(frame: pl.DataFrame, first_event: int, first_session: int) -> pl.DataFrame:
    return frame.select(
        "user_id",
        "item_id",
        "event_type",
        "timestamp",
        "value",
        pl.format("s_{}", pl.col("session") + first_session).alias("session_id"),
        pl.format("e_{}", pl.int_range(first_event, first_event + pl.len())).alias("event_id"),
    )
