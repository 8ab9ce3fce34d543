"""Interleaving finds which model users prefer with fewer users than an A/B test, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from contracts.errors import ExposuresInvalid, SupportTooThin
from experiments.analysis.interleaving import LEAST_USERS, Preference, preference

PLACES, SLATES = 10, 4
Ints = NDArray[np.int64]


def interleaved(chance: np.random.Generator, users: int, better: float) -> Preference:
    """Slates of drafted places; items of the second team are clicked `better` times as often, users differ widely."""
    of_user = np.repeat(np.arange(users), SLATES * PLACES)
    teams = chance.permuted(np.tile(np.arange(PLACES) % 2, (users * SLATES, 1)), axis=1).ravel()
    eagerness = np.minimum(0.05 * chance.lognormal(0, 0.8, users), 0.4)[of_user]
    clicks = chance.random(len(teams)) < eagerness * np.where(teams == 1, better, 1.0)
    return preference(of_user, teams, clicks.astype(np.float64))


def compared(chance: np.random.Generator, users: int, better: float) -> float:
    """p-value of an A/B test of clicks a user, of as many users and slates."""
    eagerness = np.minimum(0.05 * chance.lognormal(0, 0.8, users), 0.4) * np.where(np.arange(users) % 2, better, 1.0)
    clicks = chance.binomial(SLATES * PLACES, eagerness)
    return float(stats.ttest_ind(clicks[1::2], clicks[::2], equal_var=False).pvalue)


def test_it_needs_fewer_users_than_an_ab_test() -> None:
    chance = np.random.default_rng(0)
    found = [interleaved(chance, 300, 1.25) for _ in range(60)]
    apart = np.mean([one.sign_p < 0.05 and one.share > 0.5 for one in found])
    by_ab = np.mean([compared(chance, 300, 1.25) < 0.05 for _ in range(600)])
    assert apart > 0.7
    assert by_ab < 0.5
    assert np.mean([one.difference_p < 0.05 for one in found]) > 0.7


def test_models_that_are_alike_are_told_apart_as_often_as_stated() -> None:
    chance = np.random.default_rng(1)
    found = [interleaved(chance, 100, 1.0) for _ in range(400)]
    for wrong in (
        sum(not one.share_low <= 0.5 <= one.share_high for one in found),
        sum(not one.low <= 0 <= one.high for one in found),
    ):
        assert stats.binomtest(wrong, len(found), 0.05).pvalue > 0.001
    assert sum(one.sign_p < 0.05 for one in found) <= stats.binom.ppf(0.999, len(found), 0.05)  # exact: conservative


def test_clicks_are_credited_to_teams_and_counted_by_user() -> None:
    users = np.repeat(np.arange(40), 4)
    teams = np.tile([0, 1, -1, 1], 40)
    clicks = np.zeros(160)
    clicks[0::4] = np.arange(40) < 10  # the first 10 click the first team's
    clicks[1::4] = np.arange(40) >= 5  # all but 5 the second's
    clicks[2::4] = 1  # nobody's
    found = preference(users, teams, clicks)
    assert (found.users, found.preferring_first, found.preferring_second, found.ties) == (40, 5, 30, 5)
    assert found.share == pytest.approx((30 + 2.5) / 40)
    assert found.difference == pytest.approx(25 / 40)
    assert found.sign_p == pytest.approx(stats.binomtest(30, 35).pvalue)


def test_one_user_with_a_thousand_clicks_is_one_user() -> None:
    users = np.concatenate([np.arange(60), np.full(1_000, 60)])
    teams = np.concatenate([np.arange(60) % 2, np.ones(1_000, np.int64)])
    found = preference(users, teams, np.ones(len(users)))
    assert (found.preferring_first, found.preferring_second) == (30, 31)
    assert found.sign_p > 0.9
    assert found.difference_p > 0.05


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(-1, 1), st.integers(0, 1)), min_size=250, max_size=300))
def test_exchanging_the_teams_mirrors_what_is_said(rows: list[tuple[int, int, int]]) -> None:
    users, teams, clicks = (np.array(column) for column in zip(*rows, strict=True))
    assume(len(np.unique(users[(clicks > 0) & (teams >= 0)])) >= LEAST_USERS)
    one = preference(users, teams, clicks.astype(float))
    other = preference(users, np.where(teams < 0, -1, 1 - teams), clicks.astype(float))
    assert one.share + other.share == pytest.approx(1)
    assert one.difference == pytest.approx(-other.difference)
    assert one.sign_p == pytest.approx(other.sign_p)
    assert 0 <= one.share_low <= one.share <= one.share_high <= 1


def test_too_few_users_are_refused() -> None:
    users = np.arange(LEAST_USERS)
    preference(users, users % 2, np.ones(LEAST_USERS))
    with pytest.raises(SupportTooThin, match="29 users clicked"):
        preference(users[1:], users[1:] % 2, np.ones(LEAST_USERS - 1))


def test_other_teams_are_named() -> None:
    with pytest.raises(ExposuresInvalid, match="A team is 0, 1 or -1"):
        preference(np.arange(40), np.full(40, 2), np.ones(40))


def test_users_who_all_prefer_the_same_have_no_width() -> None:
    found = preference(np.arange(40), np.ones(40), np.ones(40))
    assert (found.share, found.share_low, found.difference_p) == (1, 1, 0)
    even = preference(np.repeat(np.arange(40), 2), np.tile([0, 1], 40), np.ones(80))
    assert (even.ties, even.sign_p, even.difference_p) == (40, 1, 1)
