"""TF-IDF neighbours against brute force, in small catalogues and where slots are cut short."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfTransformer

from contracts.feature_encoder import Bag
from retrieval import hot_postings
from training_job import content
from training_job.content import fit_content


def _bag(n=60, n_slots=12, seed=0):
    matrix = sp.random(n, n_slots, density=0.3, random_state=seed, format="csr", dtype=np.float32)
    bag = Bag(matrix.indices.astype(np.int32), matrix.data, matrix.indptr.astype(np.int64))
    return bag, matrix


def _cosines(matrix):
    rows = TfidfTransformer().fit_transform(matrix)
    return (rows @ rows.T).toarray()


@pytest.mark.parametrize("block", [1, 16_000_000])
def test_neighbours_are_the_nearest_hot_items(monkeypatch, block):
    monkeypatch.setattr(content, "BLOCK_FLOATS", block)
    bag, matrix = _bag()
    events = np.random.default_rng(1).integers(0, 10, 60)
    fitted = fit_content(bag, 12, events, 5)
    cosines = _cosines(matrix)
    np.fill_diagonal(cosines, 0)
    cosines[:, events < 5] = 0
    expected = -np.sort(-cosines, axis=1)[:, : fitted.similarities.shape[1]]
    np.testing.assert_allclose(fitted.similarities, expected, atol=1e-5)
    for item in range(60):
        for neighbour, similarity in zip(fitted.neighbours[item], fitted.similarities[item], strict=True):
            if neighbour < 0:
                assert similarity == 0
            else:
                assert neighbour != item
                assert events[neighbour] >= 5
                assert similarity == pytest.approx(cosines[item, neighbour], abs=1e-5)


def test_idf_is_scikit_learns():
    bag, matrix = _bag()
    fitted = fit_content(bag, 12, np.full(60, 9), 5)
    np.testing.assert_allclose(fitted.idf, TfidfTransformer().fit(matrix).idf_, rtol=1e-6)


def test_where_nothing_is_hot_any_event_will_do():
    bag, _ = _bag()
    events = np.zeros(60, int)
    events[[3, 7, 9]] = 1
    neighbours = fit_content(bag, 12, events, 5).neighbours
    assert set(neighbours[neighbours >= 0]) <= {3, 7, 9}


def test_a_common_slot_keeps_its_most_popular_items(monkeypatch):
    """All items share slot 0; when only the 50 most popular are kept, they are the neighbours."""
    monkeypatch.setattr(hot_postings, "WORK_BUDGET", 1)
    n = 300
    bag = Bag(np.zeros(n, np.int32), np.ones(n, np.float32), np.arange(n + 1))
    events = np.random.default_rng(0).permutation(n) + 5
    fitted = fit_content(bag, 1, events, 5)
    most_popular = set(np.argsort(-events)[: hot_postings.SHORTEST_CHAMPIONS])
    assert set(fitted.neighbours[fitted.neighbours >= 0]) <= most_popular


@pytest.mark.parametrize("n_slots", [0, 4])
def test_no_features_no_neighbours(n_slots):
    bag = Bag(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(6, np.int64))
    fitted = fit_content(bag, n_slots, np.full(5, 9), 5)
    assert fitted.neighbours.shape == fitted.similarities.shape == (5, 0)
    assert fitted.idf.shape == (n_slots,)
