"""The week after a cut: what is asked, what may be read, and what is to be found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality_days import ask, per_user
from benchmarks.quality_questions import DAY_SECONDS, DAYS, READINGS, as_split, busiest_cut, find_questions
from contracts.interactions import Interactions
from evaluation.facts import COLD_BELOW
from evaluation.pairs import pair_keys

MONDAY = 20_000 * DAY_SECONDS


@pytest.fixture(scope="module")
def events() -> Interactions:
    """Ninety days in which 200 users come and stay for half a month, with ties in time, repeats and dislikes."""
    random = np.random.default_rng(0)
    users = random.integers(0, 200, 4_000)
    days = random.integers(0, 90, 200)[users] + random.uniform(0, 15, 4_000)
    times = MONDAY + (days * DAY_SECONDS).astype(np.int64) // 600 * 600
    weights = random.choice([1.0, -2.0], 4_000, p=[0.9, 0.1])
    return Interactions.from_events(users, random.integers(0, 60, 4_000), times, weights, 200, 60)


@pytest.fixture(scope="module")
def questions(events):
    return find_questions(events)


def test_the_cut_is_a_midnight_after_half_of_the_events_with_a_week_behind_it(events):
    cut = busiest_cut(events)
    assert cut % DAY_SECONDS == 0
    assert np.mean(events.times < cut) >= 0.5
    assert cut + DAYS * DAY_SECONDS <= events.times.max() + DAY_SECONDS


def test_both_groups_are_asked_on_every_day(questions):
    for group in (True, False):
        assert set(questions.days[questions.returning == group]) == set(range(1, DAYS + 1))


@pytest.mark.parametrize("reading", READINGS)
def test_a_history_ends_where_its_reading_does(events, questions, reading):
    split = as_split(events, questions, reading)
    midnights = questions.cut + (questions.days - 1) * DAY_SECONDS
    until = {"frozen": np.full(len(questions), questions.cut), "each day": midnights, "live": questions.times}[reading]
    assert (split.histories.times < until[split.histories.users]).all()
    for number in range(0, len(questions), 7):
        own = events.of(int(questions.users[number]))
        assert len(split.histories.times[split.histories.of(number)]) == np.sum(events.times[own] < until[number])
    assert not np.isin(pair_keys(split.test), pair_keys(split.known)).any(), "what is wanted is not known"
    assert (split.known.times < questions.times[split.known.users]).all()
    assert np.array_equal(split.test.items, questions.items)
    assert (split.known.lengths >= COLD_BELOW).all()


def test_readings_differ_in_the_history_alone(events, questions):
    frozen, daily, live = (as_split(events, questions, reading) for reading in READINGS)
    for other in (daily, live):
        assert np.array_equal(pair_keys(frozen.known), pair_keys(other.known))
        assert np.array_equal(pair_keys(frozen.test), pair_keys(other.test))
    assert (frozen.histories.lengths <= daily.histories.lengths).all()
    assert (daily.histories.lengths <= live.histories.lengths).all()
    assert (frozen.histories.lengths[questions.returning] >= COLD_BELOW).all()


def test_a_model_that_knows_the_answer_finds_all_and_users_count_alike(events, questions):
    class Oracle:
        def __init__(self, split):
            self.split = split

        def rank(self, users, k):
            rows = np.full((len(users), k), -1, np.int32)
            rows[:, 0] = self.split.test.items[users]
            return rows

    values = ask(events, questions, lambda split, *_: Oracle(split))
    assert set(values) == {(reading, metric) for reading in READINGS for metric in ("recall@20", "ndcg@10")}
    assert all((found == 1).all() for found in values.values())
    first = questions.users == questions.users[0]
    columns = per_user(questions, np.where(first, 1.0, 0.0))
    assert columns.shape == (len(np.unique(questions.users)), DAYS + 1)
    assert np.nansum(columns[:, -1]) == 1, "one user of many questions is one user"
    asked_on = np.isin(np.arange(1, DAYS + 1), questions.days[first])
    assert np.array_equal(np.nanmax(columns[:, :DAYS], axis=0) == 1, asked_on)
