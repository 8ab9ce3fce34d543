"""Implicit ALS: the second model of the index, and the baseline that the towers must beat.

Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets", fitted by the `implicit`
library. The user factors are thrown away: serving folds a user in from their history and the Gram matrix, by the same
formula (`retrieval/als.py`). It knows nothing of features; `fit.py` and the evaluation's grid call it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from contracts.errors import NotEnoughData, TrainingDiverged
from contracts.fitted import AlsArrays
from contracts.interactions import Interactions
from training_job.user_sample import sample_users

ITERATIONS = 15
"""The library's default; measured: recall no longer moves after it."""
REGULARISATION = 10.0
"""`implicit` does not scale it by frequency, so it is almost inert: measured flat over 1 to 50 on Gowalla."""
ALPHA = 40.0
"""Confidence of one event over none (the paper's). Weak on dense data, where 2 is better: `fit.py` chooses."""


@dataclass(frozen=True)
class FittedAls:
    """Item factors [n, d] (zero rows for items without events) and what folding in needs."""

    factors: NDArray[np.float32]
    fold_in: AlsArrays


def event_matrix(interactions: Interactions) -> sp.csr_matrix:
    """User × item matrix of summed positive event weights [n_users, n_items]."""
    weights = np.maximum(interactions.weights, 0)
    shape = (interactions.n_users, interactions.n_items)
    matrix = sp.csr_matrix((weights, interactions.items.copy(), interactions.offsets), shape=shape)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def fit_als(
    interactions: Interactions,
    factors: int = 64,
    alpha: float = ALPHA,
    regularisation: float = REGULARISATION,
    iterations: int = ITERATIONS,
    seed: int = 0,
    threads: int = 0,
) -> FittedAls:
    """Fit on CPU threads (0 = all), on a sample of many users. Raises NotEnoughData without any positive weight,
    TrainingDiverged where weights are too large for its arithmetic.
    """
    confidence = event_matrix(sample_users(interactions, seed))
    if confidence.nnz == 0:
        raise NotEnoughData("no event has a positive weight.", fix="Check [event_weights] of schema.toml.")
    largest = confidence.data.max()
    with np.errstate(over="ignore"):  # the library finds what overflows
        confidence.data = (1 + alpha * confidence.data).astype(np.float32)
    with threadpool_limits(1, "blas"):  # the library's own threads and OpenBLAS's would fight, as it warns
        model = AlternatingLeastSquares(
            factors=factors,
            alpha=1.0,  # confidence is in the data, so that the library and the fold-in agree on 1 + alpha * weight
            regularization=regularisation,
            iterations=iterations,
            random_state=seed,
            num_threads=threads,
        )
        try:
            model.fit(confidence, show_progress=False)
        except ModelFitError as error:
            raise TrainingDiverged(
                f"ALS: {error}. Summed event weights of a user and an item go up to {largest:g}.",
                fix="Give [event_weights] of schema.toml that are finite and near 1.",
            ) from error
    items = np.asarray(model.item_factors, np.float32)
    items[np.bincount(confidence.indices, minlength=interactions.n_items) == 0] = 0
    gram = (items.astype(np.float64).T @ items.astype(np.float64)).astype(np.float32)
    return FittedAls(items, AlsArrays(gram, float(alpha), float(regularisation)))


def with_neighbours(
    factors: NDArray[np.float32],
    events: NDArray[np.integer],
    neighbours: NDArray[np.int32],
    similarity: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Give items without events [n, d] the similarity-weighted mean of their neighbours' factors.

    `neighbours`, `similarity` [n, k], -1 and 0 where there is none. An item without neighbours stays zero.
    """
    cold = np.flatnonzero(events == 0)
    filled = factors.copy()
    weights = np.where(neighbours[cold] >= 0, similarity[cold], 0)
    total = weights.sum(axis=1)
    for place in range(neighbours.shape[1]):
        filled[cold] += factors[neighbours[cold, place]] * weights[:, place, None]
    filled[cold] /= np.maximum(total, 1e-6)[:, None]
    return filled
