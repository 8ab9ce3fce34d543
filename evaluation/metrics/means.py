"""Means that say so where they are not defined: NaN instead of a made-up zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> NDArray[np.float64]:
    """part / whole, element by element; NaN where `whole` is not above zero (or itself NaN)."""
    quotient: NDArray[np.float64] = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient


def list_mean(rows: NDArray[np.integer], value: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of `value` [n_items] over each line of `rows` [B, k] (-1 = no item) → [B]; NaN for an empty line."""
    filled = rows >= 0
    return ratio(np.where(filled, value[rows], 0.0).sum(axis=1), filled.sum(axis=1))
