"""The experiment's own verdict on a run: every metric of every arm against the control, from what was logged.

Clicks, sessions and retention are read from the files of exposures and events by the analysis that anybody's test goes
through; coverage and diversity are of the slates. It knows nothing of the truth (`truth.py`), and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from experiments.analysis.effects import LEVEL, Effect, Metric, effects, holm
from experiments.analysis.event_files import read_events
from experiments.analysis.exposures import read_exposures
from experiments.analysis.sample_ratio import equal_weights, sample_ratio
from experiments.analysis.user_metrics import user_table
from local_mode.simulation.arms import EXPERIMENT
from local_mode.simulation.exposing import DAY_SECONDS
from local_mode.simulation.nature import Nature
from local_mode.simulation.results import ArmEffect, ArmUsers
from local_mode.simulation.variety import Coverage, Shown, coverage_of

COVERAGE: Final = "coverage"
DIVERSITY: Final = "diversity"

BY_USER: Final = (
    Metric("clicks", "mean", "clicks", before="clicks_before"),
    Metric("sessions", "mean", "sessions", before="active_days_before"),
    Metric("retention", "share", "retained", before="active_days_before"),
)
"""Chosen before anything was seen. What users did before cannot have been moved by an arm, and explains a good part."""

_VARIETY: Final = Metric(DIVERSITY, "mean", DIVERSITY)
_QUANTILE: Final = float(norm.ppf((1 + LEVEL) / 2))


def users_of(nature: Nature, exposures: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """One row a user, see `user_table`; the logs are whole up to the last day of the settings."""
    end = nature.settings.start + nature.settings.total_days * DAY_SECONDS
    return user_table(exposures, events, EXPERIMENT, until=end)


def read_users(nature: Nature, exposures: Path, events: Path) -> pl.DataFrame:
    """The same from the files of both logs."""
    return users_of(nature, read_exposures(exposures), read_events(events))


def with_diversity(table: pl.DataFrame, shown: Shown, nature: Nature) -> pl.DataFrame:
    """With the diversity of what each user was shown."""
    means = shown.diversity(len(nature.user_ids))
    frame = pl.DataFrame({"user_id": nature.user_ids, DIVERSITY: means})
    return table.join(frame, on="user_id", how="left", maintain_order="left")


def measured(nature: Nature, table: pl.DataFrame, shown: Shown, arms: Sequence[str]) -> list[ArmEffect]:
    """Every metric of every arm but the first, the control, in that order."""
    found = effects(with_diversity(table, shown, nature), (*BY_USER, _VARIETY), arms[0])
    of = {(one.metric, one.arm): _arm_effect(one) for one in found}
    of |= {(COVERAGE, one.arm): one for one in _coverage(nature, table, shown, arms)}
    names = (*(metric.name for metric in BY_USER), COVERAGE, DIVERSITY)
    return [of[name, arm] for name in names for arm in arms[1:]]


def split_of(table: pl.DataFrame, arms: Sequence[str]) -> tuple[list[ArmUsers], float]:
    """Users by arm, and the p-value of their split into equal shares."""
    counts = dict.fromkeys(arms, 0) | dict(table.group_by("variation_id").len().iter_rows())
    return [ArmUsers(arm=arm, users=counts[arm]) for arm in arms], sample_ratio(counts, equal_weights(counts))


def smallest_arm(table: pl.DataFrame) -> int:
    """Users by which coverage is compared."""
    return int(table.group_by("variation_id").len()["len"].to_numpy().min())


def numbers_of(nature: Nature, user_ids: pl.Series) -> NDArray[np.int64]:
    """The numbers of some users."""
    numbers = pl.Series(np.arange(len(nature.user_ids)))
    return user_ids.replace_strict(pl.Series(nature.user_ids), numbers, return_dtype=pl.Int64).to_numpy()


def _coverage(nature: Nature, table: pl.DataFrame, shown: Shown, arms: Sequence[str]) -> list[ArmEffect]:
    sample, n_users = smallest_arm(table), len(nature.user_ids)
    of = {}
    for place, arm in enumerate(arms):
        users = numbers_of(nature, table.filter(pl.col("variation_id") == arm)["user_id"])
        of[arm] = coverage_of(shown, users, sample, n_users, seed=place)
    control = of[arms[0]]
    differences = {arm: _difference(of[arm], control) for arm in arms[1:]}
    adjusted = holm({arm: p for arm, (*_, p) in differences.items()})
    return [
        ArmEffect(
            arm=arm,
            metric=COVERAGE,
            value=of[arm].value,
            control_value=control.value,
            **_around(of[arm].value - control.value, error, ""),
            **_around(of[arm].value / control.value - 1, relative, "relative_"),
            p_adjusted=adjusted[arm],
        )
        for arm, (error, relative, _) in differences.items()
    ]


def _difference(arm: Coverage, control: Coverage) -> tuple[float, float, float]:
    """Standard errors of the difference and of the lift, and the p-value of the difference."""
    error = float(np.std(arm.halves - control.halves, ddof=1))
    relative = float(np.std(arm.halves / control.halves, ddof=1))
    return error, relative, p_value(arm.value - control.value, error)


def p_value(estimate: float, error: float) -> float:
    """Two-sided, of a normal estimate; of one without error whether it is zero."""
    if not error > 0:
        return float(estimate == 0)
    return float(2 * norm.sf(abs(estimate) / error))


def interval(estimate: float, error: float) -> tuple[float, float]:
    """At LEVEL, of a normal estimate."""
    return estimate - _QUANTILE * error, estimate + _QUANTILE * error


def error_of(low: float, high: float) -> float:
    """The standard error that an interval at LEVEL was made of."""
    return (high - low) / 2 / _QUANTILE


def _around(estimate: float, error: float, prefix: str) -> Mapping[str, float]:
    low, high = interval(estimate, error)
    return {prefix.removesuffix("_") or "estimate": estimate, f"{prefix}low": low, f"{prefix}high": high}


def _arm_effect(effect: Effect) -> ArmEffect:
    names = ("arm", "metric", "value", "control_value", "estimate", "low", "high", "p_adjusted")
    lift = ("relative", "relative_low", "relative_high")
    return ArmEffect(**{name: getattr(effect, name) for name in (*names, *lift)})
