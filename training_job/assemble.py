"""Trained parts → FittedModel: every array in the shape that serving reads.

The last look at the torch side: vectors of all items, the user tower's arrays, item facts from the catalogue. It
trains nothing and writes no file; `fit.py` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.feature_encoder import FeatureEncoder, category_text, multi_values
from contracts.fitted import (
    NEVER_EXPIRES,
    UNKNOWN_TIME,
    ContentArrays,
    FittedModel,
    ItemArrays,
    TowerArrays,
)
from contracts.ids import IdTable
from contracts.schema import DatasetSchema, FeatureKind
from data_sources.indexed import IndexedDataset
from training_job.als import FittedAls, with_neighbours
from training_job.attention import STEEPNESS
from training_job.golden_cases import golden_cases
from training_job.popularity import fit_popularity
from training_job.probes import ProbedModel, held_out_users, probe_arrays
from training_job.step import Stepper
from training_job.validation import Validation
from training_job.vocabulary import numbers, raw_numbers


def item_categories(schema: DatasetSchema, items: pl.DataFrame) -> tuple[NDArray[np.int32], list[str]]:
    """Category number of each item [n] (-1 without one) and the names, most items first."""
    if schema.category is None or schema.category not in items.columns:
        return np.full(items.height, -1, np.int32), []
    multi = schema.items[schema.category] is FeatureKind.MULTI_CATEGORICAL
    texts = [_category(value, multi) for value in items[schema.category].to_list()]
    column = pl.Series("name", texts, dtype=pl.String)
    counts = column.drop_nulls().value_counts().sort(["count", "name"], descending=[True, False])
    names = counts["name"].to_list()
    number = {name: place for place, name in enumerate(names)}
    return np.fromiter((number.get(text, -1) for text in texts), np.int32, len(texts)), names


def _category(value: object, multi: bool) -> str | None:
    """One category of a value: the first of several."""
    if value is None:
        return None
    if multi:
        return next(iter(multi_values(value)), None)
    return category_text(value)


def item_times(items: pl.DataFrame, feature: str | None, unknown: int) -> NDArray[np.int64]:
    """A timestamp feature in Unix seconds [n], `unknown` where it is missing."""
    if feature is None or feature not in items.columns:
        return np.full(items.height, unknown, np.int64)
    seconds = numbers(items[feature])
    return np.where(np.isfinite(seconds), np.nan_to_num(seconds), 0).astype(np.int64) + np.where(
        np.isfinite(seconds), 0, unknown
    )


@dataclass(frozen=True)
class Facts:
    """What the towers do not know."""

    indexed: IndexedDataset
    encoders: tuple[FeatureEncoder, FeatureEncoder]
    """Of users and of items."""
    validation: Validation
    content: ContentArrays
    half_life_days: float | None
    seed: int
    head_items: int


def assemble(stepper: Stepper, als: FittedAls, facts: Facts) -> FittedModel:
    """The whole model of a training."""
    indexed, data, (user_encoder, item_encoder) = facts.indexed, stepper.data, facts.encoders
    schema, counts = indexed.schema, data.events.item_counts()
    category, categories = item_categories(schema, indexed.items)
    published = item_times(indexed.items, schema.published, UNKNOWN_TIME)
    content = facts.content
    factors = with_neighbours(als.factors, counts, content.neighbours, content.similarities)
    items = ItemArrays(
        ids=IdTable.from_strings(indexed.item_ids.to_list()),
        two_tower=stepper.catalogue().cpu().numpy(),
        als=factors,
        head=head_rows(counts, facts.head_items),
        pool_weight=stepper.pool_weights().cpu().numpy(),
        events=np.minimum(counts, np.iinfo(np.int32).max).astype(np.int32),
        category=category,
        published=published,
        expires=item_times(indexed.items, schema.expires, NEVER_EXPIRES),
        available=_available(schema, indexed.items),
        features=data.item_features,
        numbers=raw_numbers(item_encoder, indexed.items),
    )
    tower = tower_arrays(stepper)
    users = held_out_users(facts.validation, data.events, data.user_features)
    return FittedModel(
        schema=schema,
        user_encoder=user_encoder,
        item_encoder=item_encoder,
        categories=categories,
        titles=_titles(schema, indexed.items),
        items=items,
        tower=tower,
        als=als.fold_in,
        popularity=fit_popularity(
            data.events, schema, indexed.users, (category, categories), published, facts.half_life_days
        ),
        content=content,
        probes=probe_arrays(ProbedModel(tower, als.fold_in, items, item_encoder, schema, categories), users),
        golden=golden_cases(stepper, als.fold_in, items, user_encoder, facts.seed),
        watermark=int(data.events.times.max()),
    )


def head_rows(events: NDArray[np.integer], head_items: int) -> NDArray[np.int32]:
    """Rows [head_items] of the items with most events, ascending; none where the catalogue is no larger."""
    if len(events) <= head_items:
        return np.empty(0, np.int32)
    return np.sort(np.argsort(-events, kind="stable")[:head_items]).astype(np.int32)


def _available(schema: DatasetSchema, items: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether an item is served [n]: what is not said to be unavailable is."""
    if schema.available is None or schema.available not in items.columns:
        return np.ones(items.height, np.bool_)
    return np.array([value is None or category_text(value) != "false" for value in items[schema.available].to_list()])


def _titles(schema: DatasetSchema, items: pl.DataFrame) -> list[str]:
    if schema.title is None or schema.title not in items.columns:
        return []
    return [str(title) for title in items[schema.title].cast(pl.String).fill_null("").to_list()]


def tower_arrays(stepper: Stepper) -> TowerArrays:
    """The user tower, and the content part of the item tower."""
    towers = stepper.towers
    dense = {name: tensor.detach().cpu().numpy() for name, tensor in towers.dense.items() if name != "pool_power"}
    stride = float(dense.pop("stride"))
    dense |= {name: dense[name] * np.float32(STEEPNESS) for name in ("match", "value")}
    return TowerArrays(
        slots=towers.user_slots.values.cpu().numpy(),
        item_slots=towers.item_slots.values.cpu().numpy(),
        cold_norm=stepper.cold_norm,
        stride=stride,
        sharpness=1 / stepper.recipe.temperature,
        **dense,
    )
