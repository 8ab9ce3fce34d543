"""ALS agrees with its own normal equations, and cold items borrow from their neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import NotEnoughData
from contracts.interactions import Interactions
from retrieval.als import fold_in_many
from training_job.als import event_matrix, fit_als, with_neighbours


def test_users_folded_in_prefer_their_cluster(clustered):
    events = clustered(n_cold=0).interactions
    als = fit_als(events, factors=8, alpha=10, threads=1)
    folded = fold_in_many(als.fold_in, als.factors, events.items, events.weights, events.offsets)
    scores = folded @ als.factors.T
    best = np.argsort(-scores, axis=1)[:, :5]
    assert (best % 4 == np.arange(events.n_users)[:, None] % 4).mean() > 0.95


def test_item_factors_solve_their_least_squares_given_the_users(clustered):
    """At a fixed point, solving the items again from the folded-in users moves almost nothing."""
    events = clustered(n_users=60, n_items=20, n_cold=0).interactions
    alpha, regularisation = 5.0, 1.0
    als = fit_als(events, 4, alpha, regularisation, iterations=200, threads=1)
    matrix = event_matrix(events)
    pairs = matrix.tocoo()
    by_user = Interactions.from_events(
        pairs.row, pairs.col, np.zeros(pairs.nnz, int), pairs.data, events.n_users, events.n_items
    )
    x = fold_in_many(als.fold_in, als.factors, by_user.items, by_user.weights, by_user.offsets).astype(np.float64)
    base = x.T @ x + regularisation * np.eye(4)
    for item in range(events.n_items):
        r = matrix[:, [item]].toarray()[:, 0]
        a = base + (x * (alpha * r)[:, None]).T @ x
        b = x.T @ np.where(r > 0, 1 + alpha * r, 0)
        np.testing.assert_allclose(np.linalg.solve(a, b), als.factors[item], atol=0.02)


def test_the_gram_matrix_is_of_the_items_with_events(clustered):
    als = fit_als(clustered(n_cold=4).interactions, factors=8, threads=1)
    assert np.all(als.factors[-4:] == 0)
    np.testing.assert_allclose(als.fold_in.gram, als.factors.T @ als.factors, rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_bytes(clustered):
    events = clustered().interactions
    first, second, other = (fit_als(events, 8, seed=seed, threads=1).factors for seed in (1, 1, 2))
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_events_without_positive_weight_are_not_enough():
    events = Interactions.from_events(np.arange(3), np.arange(3), np.zeros(3, int), np.zeros(3), 3, 3)
    with pytest.raises(NotEnoughData):
        fit_als(events)


def test_a_cold_item_is_the_weighted_mean_of_its_neighbours():
    factors = np.array([[2.0, 0.0], [0.0, 4.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    neighbours = np.array([[1, -1], [0, -1], [0, 1], [-1, -1]], np.int32)
    similarity = np.array([[0.5, 0], [0.5, 0], [0.75, 0.25], [0, 0]], np.float32)
    filled = with_neighbours(factors, np.array([3, 3, 0, 0]), neighbours, similarity)
    np.testing.assert_allclose(filled, [[2, 0], [0, 4], [1.5, 1.0], [0, 0]])
