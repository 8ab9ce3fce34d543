"""Mean reciprocal rank: how far down the first hit stands.

    RR@K = 1 / rank of the first hit among the first K, 0 where there is none

Voorhees, "The TREC-8 question answering track report", 1999.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.hits import Hits


def reciprocal_rank(hits: Hits, k: int) -> NDArray[np.float64]:
    """Reciprocal rank of the first hit in the first k [B]; in [0, 1], NaN where there are no positives."""
    found = hits.found[:, :k]
    ranks = np.where(found.any(axis=1), 1 / (found.argmax(axis=1) + 1), 0.0)
    return np.where(hits.n_relevant > 0, ranks, np.nan)
