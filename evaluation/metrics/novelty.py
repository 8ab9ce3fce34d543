"""Novelty: how little known the recommended items are, in bits.

    novelty@K = mean over the list of -log2 p(i),  p(i) = (users who have i in training + 1) / (users + 2)

Mean self-information of Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS
2010. The added one and two (Laplace) keep an item that nobody has finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.means import list_mean


def self_information(holders: NDArray[np.int64], n_users: int) -> NDArray[np.float64]:
    """Bits of surprise of each item [n_items], given how many of `n_users` users have it."""
    return -np.log2((holders + 1) / (n_users + 2))


def novelty(rows: NDArray[np.integer], surprise: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Mean surprise of the first k items [B]; ≥ 0 bits, NaN where the list is empty."""
    return list_mean(rows[:, :k], surprise)
