"""A small model of what comes of an item in a place, for the doubly robust estimate: logistic regression with ridge.

Cross-fitted by users: what is predicted for a user comes from a model that saw none of their outcomes, without which
its errors would be too small where it is corrected by them (Chernozhukov et al., "Double/debiased machine learning",
2018). It need not be good: a poor model makes the estimate noisier, not wrong. `off_policy.doubly_robust` takes what
it predicts; it knows neither policies nor any world.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.analysis.off_policy import Predicted

Floats = NDArray[np.float64]

FOLDS: Final = 5
_RIDGE: Final = 1.0
"""Of standardised features: as strong as one observation each."""
_STEPS: Final = 25
"""Of Newton's method, which needs under ten; the ridge keeps separable data finite."""
_CONVERGED: Final = 1e-8


def cross_fitted(
    features: Floats, choices: Floats, targets: Floats, rewards: Floats, users: NDArray[Any], *, seed: int = 0
) -> Predicted:
    """Expected rewards of what was logged and of what a target would choose. n places, c choices, d features.

    `features` [n, d] of the logged item at its place, `choices` [n, c, d] of all that could be there, `targets` [n, c]
    the target's probability of each (rows sum to 1), `rewards` [n] in {0, 1}, `users` [n]. Folds come from `seed`.
    """
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    fold = _folds(users, seed)
    logged, target = np.empty(len(rewards)), np.empty(len(rewards))
    for number in range(FOLDS):
        held, seen = fold == number, fold != number
        if not held.any():
            continue
        weights = fit_logistic((features[seen] - centre) / scale, rewards[seen])
        logged[held] = _probability((features[held] - centre) / scale, weights)
        target[held] = (targets[held] * _probability((choices[held] - centre) / scale, weights)).sum(axis=1)
    return Predicted(logged, target)


def fit_logistic(features: Floats, rewards: Floats) -> Floats:
    """Intercept and weights [1 + d] of the ridge-penalised likelihood, by Newton's method (the intercept is free)."""
    design = np.column_stack([np.ones(len(features)), features])
    penalty = np.full(design.shape[1], _RIDGE)
    penalty[0] = 1e-6  # only that an empty or one-sided fold has a solution
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = expit(design @ weights)
        slope = design.T @ (rewards - chance) - penalty * weights
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights = weights + step
        if float(np.abs(step).max()) < _CONVERGED:
            break
    return weights


def _probability(features: Floats, weights: Floats) -> Floats:
    """[…] of features […, d]."""
    chance: Floats = expit(features @ weights[1:] + weights[0])
    return chance


def _folds(users: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """[n] number of the fold; all places of a user are in one."""
    known, index = np.unique(users, return_inverse=True)
    return np.random.default_rng(seed).permutation(len(known))[index] % FOLDS
