"""The parts of a release that need no towers: ALS and popularity, with their few choices made by measurement.

How confident an event makes ALS, and how fast popularity fades, differ by an order of magnitude between data sets and
have no formula; both are chosen from a short list on the tuning half of the slice. `fit.py` calls it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.interactions import Interactions
from contracts.schema import DatasetSchema
from retrieval.als import fold_in_many
from training_job.als import FittedAls, fit_als
from training_job.batches import ragged
from training_job.popularity import HALF_LIVES_DAYS, Decay
from training_job.validation import Scorer, Validation, mean_ndcg

ALPHAS: Final = (2.0, 10.0, 40.0)
"""Measured best: 2 on dense MovieLens, 40 on sparse Gowalla; the curve is flat between neighbours of this list."""
SEARCH_ITERATIONS: Final = 4
"""Enough to rank the candidates; the chosen one is fitted in full."""


def choose_alpha(validation: Validation, users: NDArray[np.int32], dimensions: int, seed: int, threads: int) -> float:
    """The confidence of ALS with the best tuning NDCG@20."""

    def score(alpha: float) -> float:
        candidate = fit_als(
            validation.train, dimensions, alpha, iterations=SEARCH_ITERATIONS, seed=seed, threads=threads
        )
        return mean_ndcg(als_scorer(candidate, validation.train), validation.tuning, users)

    return max(ALPHAS, key=score)


def als_scorer(als: FittedAls, events: Interactions) -> Scorer:
    """Scores of all items for users, folded in from their `events` as serving does."""

    def scores(users: NDArray[np.int32]) -> torch.Tensor:
        lengths = events.lengths[users]
        history = ragged(events.offsets[users], lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        folded = fold_in_many(als.fold_in, als.factors, events.items[history], events.weights[history], offsets)
        return torch.from_numpy(folded @ als.factors.T)

    return scores


def choose_half_life(
    schema: DatasetSchema, validation: Validation, users: NDArray[np.int32]
) -> tuple[float | None, float]:
    """The half-life in days (None: no decay) whose global popularity has the best tuning NDCG@20, and that score."""
    candidates: tuple[float | None, ...] = (None, *HALF_LIVES_DAYS) if schema.timed else (None,)
    scores = {
        days: mean_ndcg(_popularity_scorer(validation.train, days), validation.tuning, users) for days in candidates
    }
    best = max(candidates, key=lambda days: scores[days])
    return best, scores[best]


def _popularity_scorer(events: Interactions, half_life_days: float | None) -> Scorer:
    totals = Decay.of(events, half_life_days).totals(events).astype(np.float32)

    def scores(users: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(np.broadcast_to(totals, (len(users), len(totals))).copy())

    return scores
