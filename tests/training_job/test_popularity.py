"""Popularity tables, by hand; what is trending, against a sum over events."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.fitted import UNKNOWN_TIME
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from contracts.segments import GLOBAL_KEY, category_key, segment_key
from contracts.trending import WINDOWS, half_life_seconds, trending_key
from training_job import popularity
from training_job.popularity import LONGEST_LIST, NEW_PLACES, Decay, fit_popularity

DAY = 86_400
TRENDING = [trending_key(window) for window in WINDOWS]
SCHEMA = DatasetSchema(
    users={"gender": FeatureKind.CATEGORICAL, "age": FeatureKind.CATEGORICAL}, segment=("gender", "age")
)


def _events(users, items, times=None, weights=None, n_items=4):
    n = len(users)
    times = np.zeros(n, int) if times is None else np.array(times)
    weights = np.ones(n) if weights is None else np.array(weights)
    return Interactions.from_events(np.array(users), np.array(items), times, weights, max(users) + 1, n_items)


def _fit(events, users=None, category=None, published=None, half_life=None, names=(), schema=SCHEMA):
    n = events.n_items
    category = np.full(n, -1, np.int32) if category is None else np.array(category, np.int32)
    published = np.full(n, UNKNOWN_TIME) if published is None else np.array(published)
    users = pl.DataFrame({"gender": [None] * events.n_users}) if users is None else users
    return fit_popularity(events, schema, users, (category, list(names)), published, half_life)


def test_global_shares_by_hand():
    rows, scores = _fit(_events([0, 0, 1, 1], [2, 1, 2, 3], weights=[1, 1, 2, 0])).get("global")
    assert rows.tolist() == [2, 1]
    assert scores.tolist() == pytest.approx([0.75, 0.25])


def test_an_event_a_half_life_old_weighs_half():
    events = _events([0, 0], [0, 1], times=[0, 7 * DAY])
    assert Decay.of(events, 7.0).weights(events).tolist() == pytest.approx([0.5, 1.0])
    assert _fit(events, half_life=7.0).get("global")[1].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_negative_weights_do_not_make_unpopularity():
    events = _events([0, 0], [0, 1], weights=[-5, 1])
    assert Decay.of(events, None).weights(events).tolist() == [0, 1]


def _two_segments(monkeypatch, prior):
    """30 women who took item 0, 30 men who took item 1; five of the women are 18."""
    monkeypatch.setattr(popularity, "PRIOR_EVENTS", prior)
    users = pl.DataFrame({"gender": ["F"] * 30 + ["M"] * 30, "age": ["18"] * 5 + ["25"] * 55})
    return _fit(_events(list(range(60)), [0] * 30 + [1] * 30), users)


def test_segments_are_shrunken_towards_the_one_above(monkeypatch):
    tables = _two_segments(monkeypatch, prior=30.0)
    rows, scores = tables.get(segment_key(["gender"], ["F"]))
    assert rows.tolist() == [0, 1]
    assert scores.tolist() == pytest.approx([(30 + 15) / 60, 15 / 60])  # own 30 of item 0, prior 30 halved by global
    deeper_rows, deeper_scores = tables.get(segment_key(["gender", "age"], ["F", "25"]))
    assert deeper_rows.tolist() == [0, 1]
    assert deeper_scores.tolist() == pytest.approx([(25 + 30 * 0.75) / 55, 30 * 0.25 / 55])


def test_a_segment_of_a_few_has_no_table(monkeypatch):
    tables = _two_segments(monkeypatch, prior=30.0)
    assert tables.get(segment_key(["gender", "age"], ["F", "18"])) is None
    assert tables.get(segment_key(["gender", "age"], ["M", "25"])) is not None


def test_users_without_the_feature_are_in_no_segment(monkeypatch):
    monkeypatch.setattr(popularity, "MIN_SEGMENT_USERS", 1)
    tables = _fit(_events([0, 1], [0, 1]), pl.DataFrame({"gender": [None, "F"], "age": ["18", None]}))
    assert set(tables.keys) - set(TRENDING) == {"global", segment_key(["gender"], ["F"])}


def test_a_category_lists_its_popular_items_then_its_newest(monkeypatch):
    published = [5, UNKNOWN_TIME, 7, 6]
    tables = _fit(_events([0, 0, 1], [0, 0, 1]), category=[0, 1, 0, 0], published=published, names=["a", "b"])
    rows, scores = tables.get(category_key("a"))
    assert rows.tolist() == [0, 2, 3]
    assert np.all(np.diff(scores) <= 0)
    assert np.all(scores > 0)
    assert tables.get(category_key("b"))[0].tolist() == [1]


def test_a_long_category_keeps_places_for_the_new():
    n = 900
    events = _events([0] * 700, list(range(700)), n_items=n)
    rows, scores = _fit(events, category=[0] * n, names=["a"]).get(category_key("a"))
    assert len(rows) == LONGEST_LIST == len(set(rows.tolist()))
    assert (rows >= 700).sum() == NEW_PLACES
    assert np.all(np.diff(scores) <= 0)


def test_a_category_of_only_new_items_is_not_empty():
    rows, scores = _fit(_events([0], [0]), category=[-1, 0, 0, 0], names=["new"]).get(category_key("new"))
    assert len(rows) == 3
    assert np.all(scores > 0)


AGES = st.integers(0, 8 * DAY) | st.sampled_from([0, *WINDOWS.values()])


class _Click(NamedTuple):
    item: int
    age: int
    weight: float


@given(st.lists(st.builds(_Click, st.integers(0, 5), AGES, st.floats(-2, 50, width=16)), min_size=1))
def test_what_is_trending_is_the_sum_of_faded_weights(clicks):
    ages = np.array([click.age for click in clicks])
    newest = ages.min()
    events = _events(
        [0] * len(clicks), [click.item for click in clicks], 10**9 - ages, [click.weight for click in clicks], n_items=6
    )
    tables = _fit(events)
    for window, seconds in WINDOWS.items():
        expected = Counter()
        for item, age, weight in clicks:
            if age - newest < seconds and weight > 0:
                expected[item] += weight * 2 ** (-(age - newest) / half_life_seconds(window))
        rows, scores = tables.get(trending_key(window)) or (np.empty(0, int), np.empty(0))
        assert dict(zip(rows.tolist(), scores.tolist(), strict=True)) == pytest.approx(dict(expected))
        assert np.all(np.diff(scores) <= 0)


def test_a_window_lists_its_best_items_only():
    n = LONGEST_LIST + 50
    events = _events([0] * n, list(range(n)), times=[DAY] * n, weights=np.arange(1, n + 1), n_items=n)
    rows, scores = _fit(events).get(trending_key("1h"))
    assert rows.tolist() == list(range(n - 1, 49, -1))
    assert scores.max() == n  # weights, not shares


@pytest.mark.parametrize("time", [TimeMeaning.ORDER, TimeMeaning.NONE])
def test_nothing_is_trending_where_there_is_no_time(time):
    tables = _fit(_events([0, 0], [0, 1], times=[0, 1]), schema=DatasetSchema(time=time))
    assert tables.keys == [GLOBAL_KEY]


def test_a_window_without_a_positive_event_has_no_table():
    tables = _fit(_events([0, 0], [0, 1], times=[0, 2 * DAY], weights=[1, -1]))
    assert set(TRENDING) & set(tables.keys) == {trending_key("7d")}
