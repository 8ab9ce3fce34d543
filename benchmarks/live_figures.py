"""What users got, as means and ratios of means with paired intervals; the parts of `live_quality` report with it.

All columns of one figure are of the same users in the same order, so their draws are the same and what is said of two
of them is paired.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import Interval, column_means, intervals_of, mean_intervals, resample_means

PerUser = NDArray[np.float64]
"""[users]"""


def means(columns: Mapping[str, PerUser], seed: int) -> dict[str, Interval]:
    """The interval of the mean of each column."""
    return dict(zip(columns, mean_intervals(np.stack([*columns.values()], axis=1), seed), strict=True))


def mean_ratio(ours: PerUser, theirs: PerUser, seed: int) -> Interval:
    """The interval of mean(ours) / mean(theirs) over the same users."""
    both = np.stack([ours, theirs], axis=1)
    drawn, measured = resample_means(both, seed), column_means(both)
    return intervals_of(measured[:1] / measured[1:], drawn[:, :1] / drawn[:, 1:])[0]
