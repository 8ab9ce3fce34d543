"""Folding a user into ALS at request time: history → factor, without a user table.

    x = (YᵀY + Σ alpha·|w_j| y_j y_jᵀ + reg·I)⁻¹ Σ over w_j > 0 of (1 + alpha·w_j) y_j,   score = x · y

(Hu, Koren, Volinsky 2008, equation 4, confidence 1 + alpha·|w|.) An event of negative weight is a preference of 0 that
is believed as firmly as its weight is large: it pulls the item's score to zero, and with it what is like it. One of
weight 0 says nothing, as in training. YᵀY comes with the release. The sums are solved in float64: a Gram matrix of
popular items is badly conditioned in float32. It does not know ids or requests. Routing folds one user in a request;
evaluation and the batch job fold many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import AlsArrays, Floats

BLOCK_FLOATS: Final = 4_000_000
"""float64 numbers that a block of users may occupy (32 MB): padded histories and one matrix per user."""

LONGEST_PIECE: Final = 16_384
"""Events of a history summed at once (8 MB of vectors at d = 64): somebody's million would take a gigabyte."""


def fold_in(als: AlsArrays, factors: Floats, weights: NDArray[np.floating]) -> Floats:
    """Factor [d] of one user. `factors` [events, d] of the items of the history, `weights` [events] with their signs.

    A history without anything liked folds to zeros. The same numbers as `fold_in_many`, without its padding.
    """
    vectors = factors.astype(np.float64)
    confidence = als.alpha * np.abs(weights.astype(np.float64))
    matrix = _base(als) + (vectors.T * confidence) @ vectors
    return np.linalg.solve(matrix, np.where(weights > 0, 1 + confidence, 0) @ vectors).astype(np.float32)


def fold_in_many(
    als: AlsArrays,
    factors: Floats,
    rows: NDArray[np.integer],
    weights: NDArray[np.floating],
    offsets: NDArray[np.integer],
) -> Floats:
    """Factors [B, d] of many users; user u owns the events offsets[u]:offsets[u + 1]."""
    dim = factors.shape[1]
    folded = np.zeros((len(offsets) - 1, dim), np.float32)
    base = _base(als)
    for users, longest in _blocks_of_similar_length(np.diff(offsets), dim):
        matrices, targets = base, np.zeros((len(users), 1, dim))
        for first in range(0, longest, LONGEST_PIECE):
            slots = offsets[users, None] + np.arange(first, min(first + LONGEST_PIECE, longest))
            inside = slots < offsets[users + 1, None]
            slots = np.where(inside, slots, 0)
            inside &= rows[slots] >= 0
            vectors = factors[np.where(inside, rows[slots], 0)].astype(np.float64)
            confidence = np.where(inside, als.alpha * np.abs(weights[slots]), 0.0)
            matrices = matrices + (vectors * confidence[..., None]).transpose(0, 2, 1) @ vectors
            targets += np.where(inside & (weights[slots] > 0), 1 + confidence, 0.0)[:, None, :] @ vectors
        folded[users] = np.linalg.solve(matrices, targets.transpose(0, 2, 1))[..., 0]
    return folded


def _base(als: AlsArrays) -> NDArray[np.float64]:
    """YᵀY + reg·I [d, d]."""
    base = als.gram.astype(np.float64)
    base.flat[:: len(base) + 1] += als.regularisation
    return base


def _blocks_of_similar_length(lengths: NDArray[np.integer], dim: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Users with events, in blocks that pad to their longest history without passing BLOCK_FLOATS."""
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    while len(order):
        longest = int(lengths[order[-1]])
        size = max(1, BLOCK_FLOATS // (dim * (2 * min(longest, LONGEST_PIECE) + 2 * dim)))
        yield order[-size:], longest
        order = order[:-size]
