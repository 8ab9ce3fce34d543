"""Bootstrap intervals: how far a mean over users could have fallen otherwise.

Users are drawn with replacement; every model is measured on the same draws, so the difference of two models is paired
and its interval is as narrow as their agreement allows. Percentile intervals (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, ch. 13); for comparing rankers: Sakai, "Evaluating evaluation metrics based on the bootstrap",
SIGIR 2006. It does not know metrics. `evaluation.judge` and the gate call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.means import ratio

RESAMPLES: Final = 1_000
"""Draws: the ends of a 95 % interval are then the 25th smallest and largest, stable to about a tenth of its width."""

CONFIDENCE: Final = 0.95

BLOCK_DRAWS: Final = 8_000_000
"""Users drawn at once over all resamples of a block (64 MB)."""


class Interval(msgspec.Struct, frozen=True):
    """A measured value and where it could have fallen in 95 of 100 repetitions."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        return self.high < 0


def fixed(value: float) -> Interval:
    """A fact of the lists as a whole (coverage, Gini), which resampling users would bias: no interval around it."""
    return Interval(value, value, value)


def resample_means(values: NDArray[np.floating], seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """Means of `values` [users, m] over users drawn with replacement → [resamples, m].

    The draws depend on the seed and the number of users alone, so columns, and calls with the same users, are paired.
    NaN (not defined for that user) is left out of a mean; a draw without any defined value is NaN.
    """
    rng = np.random.default_rng(seed)
    defined = ~np.isnan(values)
    stacked = np.concatenate([np.where(defined, values, 0.0), defined], axis=1)
    sums = np.concatenate([weights @ stacked for weights in _draws(len(values), resamples, rng)])
    totals, counts = np.split(sums, 2, axis=1)
    return ratio(totals, counts)


def mean_intervals(values: NDArray[np.floating], seed: int, resamples: int = RESAMPLES) -> list[Interval]:
    """The interval of the mean of each column of `values` [users, m]."""
    return intervals_of(column_means(values), resample_means(values, seed, resamples))


def paired_difference(
    ours: NDArray[np.floating], theirs: NDArray[np.floating], seed: int, resamples: int = RESAMPLES
) -> Interval:
    """The interval of mean(ours - theirs) over the same users [users] in both."""
    return mean_intervals((ours - theirs)[:, None], seed, resamples)[0]


def column_means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of the defined values of each column [m]; NaN where there is none."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))


def intervals_of(means: NDArray[np.floating], resampled: NDArray[np.floating]) -> list[Interval]:
    """Percentile intervals of the columns: `means` [m] as measured, `resampled` [resamples, m].

    A column that was never defined has NaN at both ends.
    """
    tail = (1 - CONFIDENCE) / 2
    ends = np.full((2, len(means)), np.nan)
    known = ~np.isnan(resampled).all(axis=0)
    ends[:, known] = np.nanquantile(resampled[:, known], [tail, 1 - tail], axis=0)
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in zip(means, *ends, strict=True)]


def _draws(n_users: int, resamples: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """How often each user is drawn, in blocks of resamples [block, n_users]."""
    block = max(1, BLOCK_DRAWS // max(n_users, 1))
    for first in range(0, resamples, block):
        size = min(block, resamples - first)
        drawn = rng.integers(0, n_users, (size, n_users)) + n_users * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_users).reshape(size, n_users).astype(np.float64)
