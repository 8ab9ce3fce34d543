"""What the arms are worth in truth: the metrics of a line in which everybody has one arm, and differences of two such.

Twins of one run have the same users, first exposed on the same days (nothing moves a first visit but the past that they
share), and the same windows, so differences are differences of means over the same people. It reads no log: a twin's
days are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from local_mode.simulation.exposing import Day, event_frame, exposure_frame
from local_mode.simulation.measuring import (
    BY_USER,
    COVERAGE,
    DIVERSITY,
    numbers_of,
    users_of,
    with_diversity,
)
from local_mode.simulation.nature import Nature
from local_mode.simulation.results import ArmEffect
from local_mode.simulation.variety import Shown, coverage_of

Values = Mapping[str, float]
"""Metric → value; NaN where it has none."""


def values_of(nature: Nature, days: Sequence[Day], arms: Sequence[str], sample: int) -> Values:
    """The metrics of a line; coverage by `sample` of its users."""
    exposures = pl.concat([exposure_frame(nature, day, arms) for day in days])
    events = pl.concat([event_frame(nature, day) for day in days]).with_columns(pl.lit(None, pl.Float64).alias("value"))
    shown = Shown.of(nature, days)
    table = with_diversity(users_of(nature, exposures, events), shown, nature)
    columns = {metric.name: metric.of for metric in BY_USER} | {DIVERSITY: DIVERSITY}
    means = {name: _mean(table[column]) for name, column in columns.items()}
    users = numbers_of(nature, table["user_id"])
    return means | {COVERAGE: coverage_of(shown, users, min(sample, len(users)), len(nature.user_ids), seed=0).value}


def with_truth(effects: Sequence[ArmEffect], twins: Mapping[str, Values], control: str) -> list[ArmEffect]:
    """Estimates with the difference between the twins of arm and control beside them."""
    return [
        msgspec.structs.replace(
            one,
            true_effect=twins[one.arm][one.metric] - twins[control][one.metric],
            true_relative=_lift(twins[one.arm][one.metric], twins[control][one.metric]),
        )
        for one in effects
    ]


def with_alone(effects: Sequence[ArmEffect], alone: Mapping[str, Values], control: str) -> list[ArmEffect]:
    """Estimates with the difference between worlds that were trained apart."""
    return [
        msgspec.structs.replace(one, alone_effect=alone[one.arm][one.metric] - alone[control][one.metric])
        for one in effects
    ]


def _lift(value: float, control: float) -> float | None:
    return value / control - 1 if control > 0 else None


def _mean(column: pl.Series) -> float:
    """Over those who have a value; NaN where nobody has."""
    known = column.cast(pl.Float64).drop_nulls().drop_nans()
    return float(known.to_numpy().mean()) if len(known) else float("nan")
