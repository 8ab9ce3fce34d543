"""Intra-list diversity: how different the items of one list are.

    diversity@K = mean over pairs i < j of the list of 1 - cos(v_i, v_j)

Intra-list similarity of Ziegler et al., "Improving recommendation lists through topic diversification", WWW 2005, as
cosine distance. With unit vectors the sum over pairs is (|sum of v|^2 - number of vectors) / 2, so a list costs its
length, not its square. An item without a vector (nothing known of it) is at distance 1 from everything. The vectors
belong to no model that is judged: attributes and text where the data have them, else who took the item.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.feature_encoder import Bag
from contracts.interactions import Interactions
from evaluation.metrics.means import ratio

BLOCK_LISTS: Final = 512
"""Lists summed at once: 60 MB where each touches 10,000 holders."""


def content_space(features: Bag, slot_weight: NDArray[np.floating]) -> sp.csr_array:
    """Unit item vectors [n_items, n_slots] from feature bags, each slot weighted (by idf)."""
    weights = features.weights * slot_weight[features.slots]
    return _unit(sp.csr_array((weights, features.slots, features.offsets), shape=(len(features), len(slot_weight))))


def holder_space(train: Interactions) -> sp.csr_array:
    """Unit item vectors [n_items, n_users] of who took an item, for data without features."""
    ones = np.ones(len(train))
    by_user = sp.csr_array((ones, train.items, train.offsets), shape=(train.n_users, train.n_items))
    return _unit(by_user.T.tocsr().sign())


def diversity(rows: NDArray[np.integer], space: sp.csr_array, k: int) -> NDArray[np.float64]:
    """Mean pairwise cosine distance of the first k items [B] by unit vectors `space` [n_items, m], none negative.

    In [0, 1]; NaN where the list has fewer than two items. A list of items that many people took sums thousands of
    entries, so lists are worked off in blocks.
    """
    blocks = [_block(rows[first : first + BLOCK_LISTS, :k], space) for first in range(0, len(rows), BLOCK_LISTS)]
    return np.concatenate([np.empty(0), *blocks])


def _block(lists: NDArray[np.integer], space: sp.csr_array) -> NDArray[np.float64]:
    filled = lists >= 0
    lengths = filled.sum(axis=1)
    picked, offsets = lists[filled], np.concatenate([[0], np.cumsum(lengths)])
    member = sp.csr_array((np.ones(len(picked)), picked, offsets), shape=(len(lists), space.shape[0]))
    summed = member @ space
    vectors = member @ (np.diff(space.indptr) > 0).astype(np.float64)
    similar = (summed.multiply(summed).sum(axis=1) - vectors) / 2
    distance: NDArray[np.float64] = np.clip(1 - ratio(similar, lengths * (lengths - 1) / 2), 0.0, 1.0)
    return distance


def _unit(matrix: sp.csr_array) -> sp.csr_array:
    """Rows scaled to length 1; rows that are zero become empty."""
    matrix = sp.csr_array(matrix, dtype=np.float64)
    matrix.sum_duplicates()
    lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    scale = np.nan_to_num(ratio(np.ones(len(lengths)), lengths))
    unit = sp.csr_array(sp.diags_array(scale) @ matrix)
    unit.eliminate_zeros()
    return unit
