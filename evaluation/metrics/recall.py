"""Recall, precision and hit rate: how much of what the user took stands in the list.

    recall@K    = hits in the first K / positives of the user
    precision@K = hits in the first K / K
    hit_rate@K  = 1 where at least one of the first K is a hit, else 0

Set-based measures of Manning, Raghavan, Schütze, "Introduction to Information Retrieval" (2008), §8.3-8.4. Recall
divides by all positives, also where there are more than K, as in LightGCN (He et al. 2020) and its tables; dividing by
min(K, positives) gives larger numbers and must not be compared with these. With one positive a user, recall and hit
rate are the same number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.hits import Hits
from evaluation.metrics.means import ratio


def recall(hits: Hits, k: int) -> NDArray[np.float64]:
    """Share of the user's positives among the first k [B]; in [0, 1], NaN where there are none."""
    return ratio(hits.found[:, :k].sum(axis=1), hits.n_relevant)


def precision(hits: Hits, k: int) -> NDArray[np.float64]:
    """Share of the k places that hold a positive [B]; in [0, 1], NaN where there are no positives."""
    return np.where(hits.n_relevant > 0, hits.found[:, :k].sum(axis=1) / k, np.nan)


def hit_rate(hits: Hits, k: int) -> NDArray[np.float64]:
    """1 where one of the first k is a positive, else 0 [B]; NaN where there are no positives."""
    return np.where(hits.n_relevant > 0, hits.found[:, :k].any(axis=1), np.nan)
