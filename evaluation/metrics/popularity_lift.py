"""Popularity lift: how much more popular the list is than what the user takes.

    lift@K = (mean popularity of the list - mean popularity of the history) / mean popularity of the history

Abdollahpouri, Mansoury, Burke, Mobasher, "The unfairness of popularity bias in recommendation", RMSE at RecSys 2019.
0 means that the list is as popular as the user's own taste; popularity is the number of training events of an item.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from evaluation.metrics.means import list_mean, ratio


def popularity_lift(
    rows: NDArray[np.integer], events: NDArray[np.integer], own: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    """Lift of the first k items [B] over `own` [B], the mean popularity of each user's history; ≥ -1.

    `events` [n_items] is the popularity of an item. NaN for an empty list or history.
    """
    shown = list_mean(rows[:, :k], events.astype(np.float64))
    return ratio(shown - own, own)


def history_popularity(
    histories: Interactions, events: NDArray[np.integer], users: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Mean popularity of the items in each user's history [B]; NaN for an empty one."""
    sums = np.concatenate([[0.0], np.cumsum(events[histories.items], dtype=np.float64)])
    starts, ends = histories.offsets[users], histories.offsets[np.asarray(users) + 1]
    return ratio(sums[ends] - sums[starts], ends - starts)
