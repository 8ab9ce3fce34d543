"""Vectors in eight bits a number: what a process holds of the items whose exact vectors only the search engine has.

Each row has a scale of its own, the largest number of it over 127 (symmetric linear quantisation; Jacob et al. 2018,
§2.1, without the zero point). Good enough to pool a history and to tell items apart, at a quarter of the memory; what
is served is still found and scored by exact vectors. A release of a large catalogue carries them beside its head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LARGEST: Final = 127
SMALLEST: Final = np.float32(1e-30)
"""Vectors of smaller numbers become zeros: their scales would leave float32."""
BLOCK_ROWS: Final = 65_536
"""Rows that are encoded at once: 16 MB of floats at d = 64."""


@dataclass(frozen=True)
class CoarseVectors:
    """n vectors of d dimensions."""

    codes: NDArray[np.int8]
    """[n, d]"""
    scales: Floats
    """[n]; 0 for a vector of zeros."""

    def read(self, rows: NDArray[np.integer]) -> Floats:
        """The vectors of some rows, [r, d]; each number is at most half a scale from the exact one."""
        vectors: Floats = self.codes[rows] * self.scales[rows][:, None]
        return vectors


def coarse(vectors: Floats) -> CoarseVectors:
    """Encode vectors [n, d]; a number that is none becomes 0."""
    codes = np.empty(vectors.shape, np.int8)
    scales = np.empty(len(vectors), np.float32)
    for first in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[first : first + BLOCK_ROWS]
        largest = np.abs(block).max(axis=1, initial=0)
        scales[first : first + len(block)] = largest / LARGEST
        stretch = LARGEST / np.maximum(largest, SMALLEST)
        codes[first : first + len(block)] = np.nan_to_num(np.rint(block * stretch[:, None])).astype(np.int8)
    return CoarseVectors(codes, scales)
