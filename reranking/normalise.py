"""One scale before any penalty: the best candidate scores 1, the worst 0.

Routes score on scales of their own (inner products, ranks). A penalty in absolute terms means nothing on an unknown
scale: on raw popularity counts it vanishes, on probabilities it decides alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def to_unit_scale(scores: Floats) -> Floats:
    """Min-max scores [c] to [0, 1], keeping their gaps; equal scores are all 1. `scores` must be finite."""
    if not len(scores):
        return scores
    wide = scores.astype(np.float64)  # the spread of float32 extremes is no float32
    wide -= wide.min()
    spread = wide.max()
    return (wide / spread).astype(np.float32) if spread > 0 else np.ones(len(scores), np.float32)
