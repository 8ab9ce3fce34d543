"""Catalogue coverage: how much of the catalogue is shown to anybody.

    coverage@K = different items in all first-K lists / items of the catalogue

Ge, Delgado-Battenfeld, Jannach, "Beyond accuracy: evaluating recommender systems by coverage and serendipity", RecSys
2010. A fact of all lists together: it grows with the number of users judged, so compare it within one run only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def exposures(rows: NDArray[np.integer], n_items: int) -> NDArray[np.int64]:
    """How often each item stands in lists `rows` [B, k] (-1 = no item) → [n_items]."""
    return np.bincount(rows[rows >= 0], minlength=n_items)


def coverage(shown: NDArray[np.int64]) -> float:
    """Share of items with at least one of the exposures `shown` [n_items]; in [0, 1]."""
    return float(np.count_nonzero(shown) / len(shown)) if len(shown) else 0.0
