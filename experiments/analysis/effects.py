"""How far each arm is from the control, a metric at a time: differences with intervals, over users and nothing smaller.

Users were randomised, so users are what is counted: sessions and impressions of one user resemble each other, and a
test over those finds effects where there are none (`benchmarks/experiment_statistics.py` shows how often). tea-tasting
computes means, ratios by the delta method and CUPED; Holm's correction is over the arms of a metric. It does not know
files, nor whether the split was right: `sample_ratio.py` does. The report, the simulation and the benchmarks call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Any, Final, Literal

import numpy as np
import polars as pl
import tea_tasting as tt
from scipy.stats import norm
from tea_tasting.aggr import Aggregates, read_aggregates
from tea_tasting.experiment import ExperimentResult
from tea_tasting.metrics.mean import MeanResult

from contracts.errors import ExposuresInvalid
from experiments.analysis.sequential import PLANNED_USERS, sequential_half_width, sequential_p_value

LEVEL: Final = 0.95
"""Of every interval."""
_FEWEST_USERS: Final = 2
"""Of an arm: one user has no variance."""


@dataclass(frozen=True)
class Metric:
    """What is compared: columns of a frame with one row a user; who is null in `of` or `per` is in no count of it."""

    name: str
    kind: Literal["mean", "share", "ratio"]
    of: str
    """The value; of a share 0 or 1 (or a boolean), of a ratio what is divided."""
    per: str | None = None
    """Of a ratio: what `of` is divided by, sum over sum."""
    before: str | None = None
    """Covariate of CUPED: of the same user, from before the first exposure. Left out where it says nothing."""
    before_per: str | None = None
    """Of a ratio: what `before` is divided by."""


@dataclass(frozen=True)
class Effect:
    """One arm against the control in one metric. What cannot be computed is NaN: too few users, or all alike."""

    metric: str
    arm: str
    control: str
    users: int
    control_users: int
    value: float
    control_value: float
    """As they are; the estimate of CUPED is not their difference, but that at equal histories."""
    estimate: float
    """arm - control, with its 95 % interval."""
    low: float
    high: float
    relative: float
    """Lift over the control, with its 95 % interval; NaN where the control is not above zero."""
    relative_low: float
    relative_high: float
    p_value: float
    p_adjusted: float
    """By Holm over the arms of the metric: what a verdict goes by."""
    sequential_low: float | None = None
    """The interval of `estimate` for who looks before the end, as often as they like."""
    sequential_high: float | None = None
    sequential_p: float | None = None
    """By Holm over the arms: what a verdict goes by before the end."""
    cuped: bool = False
    """Whether what users did before was used."""


def effects(
    users: pl.DataFrame,
    metrics: Sequence[Metric],
    control: str,
    *,
    arm: str = "variation_id",
    looks: bool = False,
    planned_users: int = PLANNED_USERS,
) -> list[Effect]:
    """Every other arm against the control, in the order of metrics and then of arms' names.

    `users` has one row a user; rows without an arm are left out. `looks`: also the sequential interval, narrowest at
    `planned_users`. Raises ExposuresInvalid where nobody is in the control, or nobody in another arm.
    """
    arms = _arms(users, control, arm)
    found: list[Effect] = []
    for metric in metrics:
        usable = with_usable_covariate(metric, users)
        of_arms = moments(users, usable, arm)
        compared = {name: _compared(usable, (name, control), of_arms) for name in arms}
        if looks:
            compared = _looked_at(compared, usable, of_arms, planned_users)
        found += _holm_adjusted(compared)
    return found


def with_usable_covariate(metric: Metric, users: pl.DataFrame) -> Metric:
    """The metric, without CUPED where the covariate is missing, unknown of everybody, or the same for all."""
    columns = [name for name in (metric.before, metric.before_per) if name is not None]
    if metric.before is None or any(name not in users.columns for name in columns):
        return replace(metric, before=None, before_per=None)
    says_something = (users[metric.before].drop_nulls().n_unique() > 1) and all(
        users[name].cast(pl.Float64).sum() > 0 for name in columns[1:]
    )
    return metric if says_something else replace(metric, before=None, before_per=None)


def moments(users: pl.DataFrame, metric: Metric, arm: str) -> dict[str, Aggregates]:
    """Counts, means, variances and covariances of a metric's columns by arm, of the users whose value is known.

    A covariate that is not known of a user is the mean of the others': it is from before any treatment, so it biases
    nothing.
    """
    values = [name for name in (metric.of, metric.per) if name is not None]
    before = [name for name in (metric.before, metric.before_per) if name is not None]
    known = users.select(arm, pl.col(values + before).cast(pl.Float64)).drop_nulls([arm, *values])
    known = known.with_columns(pl.col(before).fill_null(strategy="mean"))
    columns = welch_test(metric).aggr_cols._asdict()
    read: Mapping[object, Aggregates] = read_aggregates(known, arm, **columns) if len(known) else {}
    of_nobody = Aggregates(count_=0)
    return {name: read.get(name, of_nobody) for name in users[arm].drop_nulls().unique()}


def welch_test(metric: Metric, **settings: Any) -> tt.RatioOfMeans:
    """tea-tasting's test of a metric: Welch's t, with the delta method for a ratio and CUPED where `before` is.

    `settings` are tea-tasting's own, of the distribution and of power.
    """
    how = {"confidence_level": LEVEL, "alpha": 1 - LEVEL, "use_t": True, "equal_var": False} | settings
    if metric.kind == "ratio":
        return tt.RatioOfMeans(metric.of, metric.per, metric.before, metric.before_per, **how)
    return tt.Mean(metric.of, metric.before, **how)


def compare(metric: Metric, control: Aggregates, arm: Aggregates) -> MeanResult:
    """One arm against the control from their moments; what cannot be said is NaN."""
    if not comparable(metric, control, arm):
        return _without_interval(_value(metric, control), _value(metric, arm))
    with np.errstate(all="ignore"):  # what is undefined comes out as NaN, and is said so
        result = welch_test(metric).analyze_aggregates(control, arm)
    if result.control > 0 and result.treatment > 0:
        return result
    return result._replace(rel_effect_size=nan, rel_effect_size_ci_lower=nan, rel_effect_size_ci_upper=nan)


def standard_error(metric: Metric, control: Aggregates, arm: Aggregates) -> float:
    """Of the difference: half the width of its normal interval over the normal quantile."""
    if not comparable(metric, control, arm):
        return nan
    with np.errstate(all="ignore"):
        result = welch_test(metric, use_t=False).analyze_aggregates(control, arm)
    return float((result.effect_size_ci_upper - result.effect_size_ci_lower) / 2 / norm.ppf((1 + LEVEL) / 2))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for their number (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979).

    NaN stays NaN and counts as no test.
    """
    known = {name: value for name, value in p_values.items() if isfinite(value)}
    if not known:
        return dict(p_values)
    results = {name: ExperimentResult({"metric": {"pvalue": value}}) for name, value in known.items()}
    adjusted = tt.adjust_fwer(results, arbitrary_dependence=True, method="bonferroni")
    found = {name: float(adjusted[name]["metric"]["pvalue_adj"]) for name in known}
    return {name: found.get(name, nan) for name in p_values}


def _arms(users: pl.DataFrame, control: str, arm: str) -> list[str]:
    """Names of the other arms, sorted."""
    named = sorted(users[arm].drop_nulls().unique())
    if control not in named:
        raise ExposuresInvalid(
            f"nobody is in the control {control!r}; the arms are {', '.join(map(repr, named)) or 'none'}.",
            fix="Name one of them as the control (--control).",
        )
    if len(named) == 1:
        raise ExposuresInvalid(
            f"everybody is in {control!r}: there is nothing to compare with.", fix="Look whether the split was running."
        )
    return [name for name in named if name != control]


def _value(metric: Metric, of: Aggregates) -> float:
    if of.count() == 0 or (metric.per is not None and of.mean(metric.per) == 0):
        return nan
    return float(of.mean(metric.of) / of.mean(metric.per))


def _without_interval(control: float, arm: float) -> MeanResult:
    unknown = dict.fromkeys(MeanResult._fields, nan)
    return MeanResult(**unknown | {"control": control, "treatment": arm, "effect_size": arm - control})


def comparable(metric: Metric, control: Aggregates, arm: Aggregates) -> bool:
    """Whether there are users enough, of whom not all are alike."""
    if min(control.count(), arm.count()) < _FEWEST_USERS:
        return False
    if metric.per is not None and min(control.mean(metric.per), arm.mean(metric.per)) <= 0:
        return False
    return bool(max(of.ratio_var(metric.of, metric.per) for of in (control, arm)) > 0)


def _compared(metric: Metric, arms: tuple[str, str], of_arms: Mapping[str, Aggregates]) -> Effect:
    arm, control = (of_arms[name] for name in arms)
    result = compare(metric, control, arm)
    return Effect(
        metric=metric.name,
        arm=arms[0],
        control=arms[1],
        users=int(arm.count()),
        control_users=int(control.count()),
        value=_value(metric, arm),
        control_value=_value(metric, control),
        estimate=float(result.effect_size),
        low=float(result.effect_size_ci_lower),
        high=float(result.effect_size_ci_upper),
        relative=float(result.rel_effect_size),
        relative_low=float(result.rel_effect_size_ci_lower),
        relative_high=float(result.rel_effect_size_ci_upper),
        p_value=float(result.pvalue),
        p_adjusted=nan,
        cuped=metric.before is not None,
    )


def _looked_at(
    compared: Mapping[str, Effect], metric: Metric, of_arms: Mapping[str, Aggregates], planned_users: int
) -> dict[str, Effect]:
    """The same with sequential intervals and p-values."""
    found = {}
    for name, effect in compared.items():
        error = standard_error(metric, of_arms[effect.control], of_arms[name])
        half, p_value = nan, nan
        if isfinite(error):
            users = effect.users + effect.control_users
            half = sequential_half_width(error, users, planned_users, LEVEL)
            p_value = sequential_p_value(effect.estimate, error, users, planned_users)
        low, high = effect.estimate - half, effect.estimate + half
        found[name] = replace(effect, sequential_low=low, sequential_high=high, sequential_p=p_value)
    return found


def _holm_adjusted(compared: Mapping[str, Effect]) -> list[Effect]:
    p_values = holm({name: effect.p_value for name, effect in compared.items()})
    adjusted = [replace(effect, p_adjusted=p_values[name]) for name, effect in compared.items()]
    looked = {effect.arm: effect.sequential_p for effect in adjusted if effect.sequential_p is not None}
    sequential = holm(looked)
    return [replace(effect, sequential_p=sequential.get(effect.arm)) for effect in adjusted]
