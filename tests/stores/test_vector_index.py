"""Exact search is exact: against a full sort, with ties, masks, NaN, and whatever the sample guesses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import stores.vector_index
from contracts.deadline import Deadline
from contracts.restriction import Restriction
from stores.vector_index import ExactIndex, best_positions


def sorted_best(scores, k):
    """Best first, ties by position, NaN and -inf never."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i) if scores[i] > -np.inf else (np.inf, i))
    return [i for i in order if scores[i] > -np.inf][:k]


some_scores = st.one_of(
    arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32, allow_nan=True)),
    arrays(np.float32, st.integers(0, 300), elements=st.sampled_from([0.0, 0.25, 0.5, -np.inf, np.nan])),
)


@given(some_scores, st.integers(0, 320))
@settings(max_examples=400)
def test_the_best_positions_are_those_of_a_full_sort(scores, k):
    assert best_positions(scores, k).tolist() == sorted_best(scores.tolist(), k)


@pytest.mark.parametrize("n", [1_000, 50_000])
@pytest.mark.parametrize("order", ["random", "rising", "falling", "best at the sample's places", "worst there"])
def test_no_order_of_the_catalogue_makes_the_sample_lie(n, order):
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(n).astype(np.float32)
    if order in ("rising", "falling"):
        scores = np.sort(scores)[:: 1 if order == "rising" else -1]
    elif order != "random":
        scores[::8] += 100 if order.startswith("best") else -100
    np.testing.assert_array_equal(best_positions(scores, 100), np.argsort(-scores, kind="stable")[:100])


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3_000, 16)).astype(np.float32)
    vectors[100:200] = vectors[0:100]  # equal items
    return vectors, rng.standard_normal((40, 16)).astype(np.float32), ExactIndex({"m": vectors})


@pytest.mark.parametrize("k", [1, 10, 2_999, 3_000, 5_000])
def test_search_is_a_full_sort(world, k):
    vectors, queries, index = world
    rows, scores = index.search("m", queries[0], k, None, Deadline(10))
    exact = vectors @ queries[0]
    np.testing.assert_array_equal(rows, np.argsort(-exact, kind="stable")[:k])
    np.testing.assert_allclose(scores, exact[rows], rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6, 1.0])
def test_a_mask_lets_through_only_what_it_holds(world, share):
    vectors, queries, index = world
    mask = np.random.default_rng(2).random(len(vectors)) < share
    rows, _ = index.search("m", queries[1], 50, Restriction((), mask), Deadline(10))
    exact = np.where(mask, vectors @ queries[1], -np.inf)
    assert rows.tolist() == sorted_best(exact.tolist(), 50)


def test_an_item_with_a_nan_is_never_found(world):
    vectors, queries, _ = world
    broken = vectors.copy()
    broken[7] = np.nan
    index = ExactIndex({"m": broken})
    assert 7 not in index.search("m", queries[0], 3_000)[0]
    assert len(index.search("m", np.full(16, np.nan, np.float32), 10)[0]) == 0


@pytest.mark.parametrize(("at_once", "tile", "sample"), [(1, 100, 64), (7, 999, 500), (128, 4_096, 2_048)])
@pytest.mark.parametrize("k", [1, 20, 2_000])
def test_many_queries_answer_like_one_by_one(world, at_once, tile, sample, k, monkeypatch):
    for name, value in (("QUERIES_AT_ONCE", at_once), ("TILE_ITEMS", tile), ("TILED_SAMPLE", sample)):
        monkeypatch.setattr(stores.vector_index, name, value)
    vectors, queries, index = world
    rows, scores = index.search_many("m", queries, k)
    for line, query in enumerate(queries):
        _, one_scores = index.search("m", query, k)
        np.testing.assert_allclose(scores[line], one_scores, rtol=1e-4, atol=1e-5)  # BLAS sums differently
        np.testing.assert_allclose(vectors[rows[line]] @ query, one_scores, rtol=1e-4, atol=1e-5)  # equal items swap
        assert len(set(rows[line].tolist())) == k


def test_excluded_rows_are_not_found_and_missing_places_are_marked():
    index = ExactIndex({"m": np.eye(3, dtype=np.float32)})
    queries = np.array([[3, 2, 1], [3, 2, 1], [1, 2, 3]], np.float32)
    excluded = (np.array([0, 0, 1, 2, -1]), np.array([0, 1, 4, 5]))
    rows, scores = index.search_many("m", queries, 3, excluded)
    assert rows.tolist() == [[1, 2, -1], [-1, -1, -1], [2, 1, 0]]
    assert scores[0].tolist() == [2, 1, -np.inf]


@given(
    arrays(np.float32, (300, 1), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, -np.inf, np.nan])),
    st.integers(1, 320),
    st.lists(st.integers(-1, 299), max_size=600),
)
@settings(max_examples=200)
def test_what_one_of_many_queries_finds_is_what_a_full_sort_has(vectors, k, struck):
    """One number per item, so that nothing is summed; a small sample, so that it lies often."""
    index, queries = ExactIndex({"m": vectors}), np.ones((3, 1), np.float32)
    expected = vectors[:, 0].copy()
    expected[[row for row in struck if row >= 0]] = -np.inf
    excluded = (np.array(struck, np.int64), np.array([0, 0, len(struck), len(struck)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores.vector_index, "TILED_SAMPLE", 20)
        patch.setattr(stores.vector_index, "TILE_ITEMS", 70)
        rows, scores = index.search_many("m", queries, k, excluded)
    for line, own in enumerate((vectors[:, 0], expected, vectors[:, 0])):
        found = rows[line][rows[line] >= 0]
        assert found.tolist() == sorted_best(own.tolist(), k)
        assert scores[line][: len(found)].tolist() == own[found].tolist()
        assert set(rows[line][len(found) :].tolist()) <= {-1}


def test_a_sample_that_lies_costs_time_and_not_the_answer(monkeypatch):
    monkeypatch.setattr(stores.vector_index, "TILED_SAMPLE", 100)
    vectors = np.arange(3_000, dtype=np.float32)[:, None]
    vectors[::30] += 10_000  # the sample's places hold the hundred best
    rows, _ = ExactIndex({"m": vectors}).search_many("m", np.ones((2, 1), np.float32), 150)
    np.testing.assert_array_equal(rows, [np.argsort(-vectors[:, 0], kind="stable")[:150]] * 2)


def test_vectors_may_be_mapped_from_a_file(world, tmp_path):
    vectors, queries, index = world
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = ExactIndex({"m": np.load(tmp_path / "vectors.npy", mmap_mode="r")})
    np.testing.assert_array_equal(mapped.search("m", queries[2], 10)[0], index.search("m", queries[2], 10)[0])
