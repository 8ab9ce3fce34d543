"""Runs put together: one estimate of each effect over all of them, weighted by how sharp each run's is.

Fixed-effect inverse-variance weighting, as a meta-analysis of trials of one treatment does it; the truth beside it is
weighted alike, so that interval and truth speak of the same mean. A run without a value counts for nothing. It knows
results only; `simulate.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from experiments.analysis.effects import holm
from local_mode.simulation.measuring import error_of, interval, p_value
from local_mode.simulation.results import ArmEffect

_MEANS: Final = ("value", "control_value", "true_effect", "true_relative", "alone_effect")
"""Fields of which the weighted mean is taken."""


def pooled(runs: Sequence[Sequence[ArmEffect]]) -> list[ArmEffect]:
    """The effects of all runs together, in their order; every run has the same metrics and arms."""
    together = [_together(of_runs) for of_runs in zip(*runs, strict=True)]
    adjusted = {
        metric: holm({one.arm: p_of(one) for one in together if one.metric == metric})
        for metric in dict.fromkeys(one.metric for one in together)
    }
    return [msgspec.structs.replace(one, p_adjusted=adjusted[one.metric][one.arm]) for one in together]


def p_of(effect: ArmEffect) -> float:
    """Two-sided p-value of one effect, not adjusted; NaN where it has no interval."""
    error = error_of(effect.low, effect.high)
    return p_value(effect.estimate, error) if isfinite(error) else nan


def _together(runs: Sequence[ArmEffect]) -> ArmEffect:
    weights, error = _weights([error_of(one.low, one.high) for one in runs])
    lifts, lift_error = _weights([error_of(one.relative_low, one.relative_high) for one in runs])
    estimate = _mean([one.estimate for one in runs], weights)
    relative = _mean([one.relative for one in runs], lifts)
    low, high = interval(estimate, error)
    relative_low, relative_high = interval(relative, lift_error)
    means = {name: _known_mean([getattr(one, name) for one in runs], weights) for name in _MEANS}
    return msgspec.structs.replace(
        runs[0],
        **means,
        estimate=estimate,
        low=low,
        high=high,
        relative=relative,
        relative_low=relative_low,
        relative_high=relative_high,
    )


def _weights(errors: Sequence[float]) -> tuple[NDArray[np.float64], float]:
    """[runs] weights that sum to one, and the standard error of the mean under them; NaN where no run has one.

    A run where all users were alike has no error and no more to say than the sharpest that has one.
    """
    known = np.array(errors)
    there = np.isfinite(known)
    if not there.any():
        return np.full(len(known), 1 / len(known)), nan
    if not (known[there] > 0).any():
        return there / there.sum(), 0.0
    known = np.where(known > 0, known, known[known > 0].min())
    precision = np.where(there, 1 / known**2, 0.0)
    return precision / precision.sum(), float(precision.sum() ** -0.5)


def _mean(values: Sequence[float], weights: NDArray[np.float64]) -> float:
    """Of what has a weight."""
    known = np.array(values)
    return float(np.sum(weights * np.where(weights > 0, known, 0.0)))


def _known_mean(values: Sequence[float | None], weights: NDArray[np.float64]) -> float | None:
    """None where a run has none."""
    known = [value for value in values if value is not None]
    return _mean(known, weights) if len(known) == len(values) else None
