"""Rankers agree with the obvious computation, never rank what the user has, and do not depend on blocks."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from contracts.feature_encoder import Bag
from contracts.fitted import FittedModel
from contracts.interactions import Interactions
from contracts.segments import GLOBAL_KEY, segment_key
from evaluation import rankers
from evaluation.rankers import (
    ItemKnnRanker,
    OrderedListRanker,
    Ranker,
    als_ranker,
    popularity_order,
    popularity_ranker,
    segment_popularity_ranker,
    top_k,
    two_tower_ranker,
)
from evaluation.splits import Split, leave_last_out
from retrieval.als import fold_in
from retrieval.user_tower import encode_user
from tests.toy_world import toy_model

N_USERS = 30


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return toy_model(n_items=120, n_cold=10)


@pytest.fixture(scope="module")
def split(model: FittedModel) -> Split:
    """30 users with 0 to 25 random events, the last one held out; user 0 has nothing at all."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([[0], rng.integers(1, 26, N_USERS - 1)])
    users = np.repeat(np.arange(N_USERS), lengths)
    items = rng.integers(0, len(model.items), len(users))
    times = np.arange(len(users))
    return leave_last_out(
        Interactions.from_events(users, items, times, rng.random(len(users)), N_USERS, len(model.items)), model.schema
    )


@pytest.fixture(scope="module")
def users_table() -> pl.DataFrame:
    genders = [None, "F", "M", "unseen"]
    return pl.DataFrame({"gender": [genders[user % 4] for user in range(N_USERS)], "age": [float(20)] * N_USERS})


@pytest.fixture(scope="module")
def features(model: FittedModel, users_table: pl.DataFrame) -> Bag:
    return model.user_encoder.encode({name: users_table[name].to_list() for name in users_table.columns}, N_USERS)


def build(name: str, model: FittedModel, split: Split, users_table: pl.DataFrame, features: Bag) -> Ranker:
    similarity = sp.random_array((120, 120), density=0.2, rng=np.random.default_rng(1), format="csr")
    return {
        "two_tower": lambda: two_tower_ranker(model, split, features),
        "als": lambda: als_ranker(model.als, model.items.als, split),
        "popularity": lambda: popularity_ranker(popularity_order(split.train.item_counts()), split.known),
        "segment_popularity": lambda: segment_popularity_ranker(model, users_table, split),
        "item_knn": lambda: ItemKnnRanker(similarity, split),
    }[name]()


RANKERS = ["two_tower", "als", "popularity", "segment_popularity", "item_knn"]


@pytest.mark.parametrize("name", RANKERS)
def test_no_ranker_repeats_what_the_user_has(name, model, split, users_table, features) -> None:
    users = np.arange(N_USERS)
    rows = build(name, model, split, users_table, features).rank(users, 20)
    assert rows.shape == (N_USERS, 20)
    for user, line in enumerate(rows):
        filled = line[line >= 0]
        assert len(np.unique(filled)) == len(filled)
        assert not np.isin(filled, split.known.items[split.known.of(user)]).any()
        assert (line[: len(filled)] >= 0).all(), "padding only at the end"


@pytest.mark.parametrize("name", RANKERS)
def test_blocks_and_order_of_users_do_not_matter(name, model, split, users_table, features, monkeypatch) -> None:
    ranker = build(name, model, split, users_table, features)
    whole = ranker.rank(np.arange(N_USERS), 7)
    shuffled = np.random.default_rng(5).permutation(N_USERS)
    monkeypatch.setattr(rankers, "BLOCK_FLOATS", 300)
    monkeypatch.setattr(rankers, "BLOCK_USERS", 4)
    assert np.array_equal(ranker.rank(shuffled, 7), whole[shuffled])


def best_unknown(scores: np.ndarray, split: Split, user: int, k: int) -> list[int]:
    known = set(split.known.items[split.known.of(user)].tolist())
    return [row for row in np.argsort(-scores, kind="stable").tolist() if row not in known][:k]


def test_two_tower_ranks_by_the_serving_forward_pass(model, split, features) -> None:
    rows = two_tower_ranker(model, split, features).rank(np.arange(N_USERS), 10)
    for user in (0, 1, 2, 17):
        past = split.train.of(user)
        bag = features.take(np.array([user]))
        query = encode_user(
            model.tower, model.items, split.train.items[past], split.train.weights[past], (bag.slots, bag.weights)
        )
        assert rows[user].tolist() == best_unknown(model.items.two_tower @ query, split, user, 10)


def test_als_ranks_by_the_serving_fold_in(model, split) -> None:
    rows = als_ranker(model.als, model.items.als, split).rank(np.arange(N_USERS), 10)
    for user in (1, 2, 17):
        past = split.train.of(user)
        factor = fold_in(model.als, model.items.als[split.train.items[past]], split.train.weights[past])
        assert rows[user].tolist() == best_unknown(model.items.als @ factor, split, user, 10)
    assert (rows[0] == -1).all(), "nobody can be folded in from nothing"


def test_popularity_by_hand() -> None:
    known = Interactions.from_events(np.array([0, 0, 1]), np.array([3, 1, 2]), np.zeros(3, int), np.ones(3), 3, 5)
    rows = popularity_ranker(popularity_order(np.array([0, 4, 9, 5, 0])), known).rank(np.array([1, 0, 2]), 3)
    assert rows.tolist() == [[3, 1, -1], [2, -1, -1], [2, 3, 1]]


@pytest.mark.parametrize(("user", "key"), [(0, "global"), (3, "global"), (1, "F"), (5, "F"), (2, "M")])
def test_segments_get_the_table_that_routing_would_choose(user, key, model, split, users_table) -> None:
    """Users 0 and 3 have no gender, and one that has no table."""
    table = model.popularity.get(GLOBAL_KEY if key == "global" else segment_key(["gender"], [key]))
    assert table is not None
    known = set(split.known.items[split.known.of(user)].tolist())
    rows = segment_popularity_ranker(model, users_table, split).rank(np.array([user]), 5)
    assert rows[0].tolist() == [row for row in table[0].tolist() if row not in known][:5]


def test_a_dataset_without_segments_falls_back_to_everybody(model, split) -> None:
    nothing = pl.DataFrame({"age": [1.0] * N_USERS})
    rows = segment_popularity_ranker(model, nothing, split).rank(np.array([0]), 5)
    world = model.popularity.get(GLOBAL_KEY)
    assert world is not None
    assert rows[0].tolist() == world[0][:5].tolist()


def test_item_knn_by_hand() -> None:
    """The user has 0 (weight 1) and 1 (weight 2); item 2 scores .5, item 3 2 x .4 + .1, item 4 nothing."""
    similarity = np.zeros((5, 5))
    similarity[0, 1], similarity[0, 2], similarity[0, 3], similarity[1, 3] = 1, 0.5, 0.1, 0.4
    past = Interactions.from_events(np.array([0, 0]), np.array([0, 1]), np.arange(2), np.array([1.0, 2.0]), 1, 5)
    ranker = ItemKnnRanker(sp.csr_array(similarity), Split(past, past, "by hand"))
    assert ranker.rank(np.array([0]), 4).tolist() == [[3, 2, -1, -1]]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 100))
def test_top_k_is_the_head_of_a_full_sort(n_items: int, k: int, seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(3 * n_items).reshape(3, n_items).astype(np.float32)
    scores[scores % 4 == 0] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.where(np.isneginf(np.take_along_axis(scores, expected, 1)), -1, expected)
    assert np.array_equal(top_k(scores, k), expected)


def test_longer_histories_than_lists_do_not_starve_a_user() -> None:
    """A user who has the 50 most popular items still gets the next ones."""
    known = Interactions.from_events(np.zeros(50, int), np.arange(50), np.arange(50), np.ones(50), 1, 60)
    ranker = OrderedListRanker([np.arange(60)], np.zeros(1, int), known)
    assert ranker.rank(np.array([0]), 5).tolist() == [[50, 51, 52, 53, 54]]
