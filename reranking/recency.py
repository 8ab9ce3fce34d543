"""Recency decay: what is old loses a share of its score, half of that share per half-life.

    factor = 1 - weight × (1 - 2^(-age / half-life))

An item of unknown age is treated as of middle age: it loses half of the share, so it is neither favoured nor buried.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import UNKNOWN_TIME

DAY_SECONDS: Final = 86_400


def recency_factor(
    published: NDArray[np.int64], now_seconds: int, weight: float, half_life_days: float
) -> NDArray[np.float32]:
    """Factors [c] in [1 - weight, 1] for items published at Unix seconds [c]; the future counts as now."""
    ages = np.maximum(now_seconds - published.astype(np.float64), 0.0)
    ages[published == UNKNOWN_TIME] = half_life_days * DAY_SECONDS
    freshness = np.exp2(ages / (-half_life_days * DAY_SECONDS))
    return (1 - weight * (1 - freshness)).astype(np.float32)
