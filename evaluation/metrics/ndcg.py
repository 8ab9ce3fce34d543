"""Normalised discounted cumulative gain: hits near the top count more.

    DCG@K  = sum over places r = 1..K of hit(r) / log2(1 + r)
    NDCG@K = DCG@K / DCG@K of the best possible list, which has min(K, positives) hits at its top

Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with binary gains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.hits import Hits


def ndcg(hits: Hits, k: int) -> NDArray[np.float64]:
    """NDCG of the first k places [B]; in [0, 1], NaN where there are no positives."""
    discounts = 1 / np.log2(np.arange(k) + 2)
    found = hits.found[:, :k]
    gained = found @ discounts[: found.shape[1]]
    ideal = np.cumsum(discounts)[np.clip(hits.n_relevant, 1, k) - 1]
    return np.where(hits.n_relevant > 0, np.minimum(gained / ideal, 1.0), np.nan)
