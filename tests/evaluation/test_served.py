"""The served policy as a ranker: routes as in serving, nothing known repeated, nothing that may not be served."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from contracts.interactions import Interactions
from contracts.segments import GLOBAL_KEY
from evaluation.served import ServedRanker
from evaluation.splits import Split
from retrieval.opened import OpenModel, open_model
from retrieval.settings import RetrievalSettings
from tests.toy_world import NOW, toy_model

UNAVAILABLE = (1, 2)


@pytest.fixture(scope="module")
def opened() -> OpenModel:
    return open_model(toy_model(120, n_cold=10, unavailable=UNAVAILABLE))


@pytest.fixture(scope="module")
def split() -> Split:
    """User 0 has nothing, user 1 two events, user 2 ten events in category 3, user 3 ten in category 0."""
    users = np.array([1, 1, *[2] * 10, *[3] * 10])
    items = np.array([5, 10, *range(3, 53, 5), *range(0, 50, 5)])
    train = Interactions.from_events(users, items, NOW - 100 + np.arange(22), np.ones(22), 4, 120)
    test = Interactions.from_events(np.array([2]), np.array([88]), np.array([NOW + 1]), np.ones(1), 4, 120)
    return Split(train, test, "by hand", NOW)


@pytest.fixture(scope="module")
def users() -> pl.DataFrame:
    return pl.DataFrame({"gender": [None, "F", "M", "F"], "age": [None, 20.0, 30.0, 40.0]})


def test_slates_are_what_serving_would_answer(opened: OpenModel, split: Split, users: pl.DataFrame) -> None:
    rows = ServedRanker(opened, split, users).rank(np.arange(4), 10)
    assert rows.shape == (4, 10)
    assert (rows >= 0).all(), "no answer is ever short in a catalogue of 120"
    assert not np.isin(rows, UNAVAILABLE).any()
    for user, line in enumerate(rows):
        assert len(set(line.tolist())) == 10
        assert not np.isin(line, split.known.items[split.known.of(user)]).any()
    assert (rows[2] % 5 == 3).sum() > 5, "user 2 is known for category 3"
    assert (rows[3] % 5 == 0).sum() > 5
    popular = opened.fitted.popularity.get(GLOBAL_KEY)
    assert popular is not None
    assert np.isin(rows[0], popular[0][:40]).all(), "of user 0 nothing is known: popularity answers"


def test_the_served_model_is_a_setting(opened: OpenModel, split: Split, users: pl.DataFrame) -> None:
    everybody = np.arange(4)
    popularity = ServedRanker(opened, split, users, RetrievalSettings(served_model="popularity")).rank(everybody, 10)
    assert not np.array_equal(popularity[2], ServedRanker(opened, split, users).rank(everybody, 10)[2])


def test_a_subset_of_users_gets_the_same(opened: OpenModel, split: Split, users: pl.DataFrame) -> None:
    ranker = ServedRanker(opened, split, users)
    assert np.array_equal(ranker.rank(np.array([3, 1]), 7), ranker.rank(np.arange(4), 7)[[3, 1]])


def test_masked_items_are_not_served_though_they_are_no_history(
    opened: OpenModel, split: Split, users: pl.DataFrame
) -> None:
    before = ServedRanker(opened, split, users).rank(np.array([2]), 10)[0]
    masked = Interactions.from_events(
        np.full(5, 2), before[:5].astype(int), np.zeros(5, int), np.ones(5), 4, split.train.n_items
    )
    hidden = Split(split.train, split.test, "by hand", NOW, split.train, masked)
    after = ServedRanker(opened, hidden, users).rank(np.array([2]), 10)[0]
    assert not np.isin(after, before[:5]).any()


def test_what_is_held_out_changes_no_slate(opened: OpenModel, split: Split, users: pl.DataFrame) -> None:
    other = Split(split.train, split.train, split.protocol, split.cut)
    everybody = np.arange(4)
    ours, theirs = (ServedRanker(opened, of, users).rank(everybody, 10) for of in (split, other))
    assert np.array_equal(ours, theirs)
