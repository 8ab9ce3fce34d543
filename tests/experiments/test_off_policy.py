"""Estimates of a policy that was not served are right where the truth is known, and refused where they cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from contracts.errors import ExposuresInvalid, SupportTooThin
from experiments.analysis.off_policy import (
    LEAST_EFFECTIVE_USERS,
    LoggedPlaces,
    PolicyValue,
    Predicted,
    doubly_robust,
    ips,
    snips,
    support_of,
)
from experiments.analysis.outcome_model import cross_fitted, fit_logistic

USERS, EACH, CHOICES = 400, 4, 6


class Bandit:
    """Users with a taste see one of a few items drawn by a known, uneven policy; click chances are known exactly."""

    def __init__(self, seed: int, users: int = USERS) -> None:
        chance = np.random.default_rng(seed)
        self.users = np.repeat(np.arange(users), EACH)
        taste = np.repeat(chance.normal(0, 1, users), EACH)
        self.context = taste + chance.normal(0, 0.3, len(taste))
        places = np.arange(len(taste))
        lean = np.linspace(-0.5, 0.5, CHOICES)
        self.clicking = 1 / (1 + np.exp(1.5 - self.context[:, None] * lean * 2 - lean))
        self.logging = _softmax(-0.8 * lean * self.context[:, None])
        self.target = _softmax(1.5 * lean * self.context[:, None])
        self.chosen = (
            (chance.random(len(taste))[:, None] > self.logging.cumsum(axis=1)).sum(axis=1).clip(0, CHOICES - 1)
        )
        rewards = (chance.random(len(taste)) < self.clicking[places, self.chosen]).astype(np.float64)
        self.logged = LoggedPlaces(
            rewards, self.logging[places, self.chosen], self.target[places, self.chosen], self.users
        )

    @property
    def truth(self) -> float:
        """Of these very contexts."""
        return float((self.target * self.clicking).sum(axis=1).mean())

    def predicted(self, table: NDArray[np.float64]) -> Predicted:
        return Predicted(table[np.arange(len(table)), self.chosen], (self.target * table).sum(axis=1))


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


TRUTH = float(np.mean([Bandit(seed, 4_000).truth for seed in range(1_000, 1_020)]))
"""Over the population that users are drawn from: what intervals over users are about."""


def fitted(bandit: Bandit) -> Predicted:
    def described(items: NDArray[np.float64]) -> NDArray[np.float64]:
        context = np.broadcast_to(bandit.context.reshape(-1, *[1] * (items.ndim - 1)), items.shape)
        return np.stack([items, context, items * context], axis=-1)

    items = np.linspace(-0.5, 0.5, CHOICES)
    everything = described(np.broadcast_to(items, (len(bandit.context), CHOICES)))
    return cross_fitted(described(items[bandit.chosen]), everything, bandit.target, bandit.logged.rewards, bandit.users)


@pytest.fixture(scope="module")
def many() -> dict[str, list[PolicyValue]]:
    """Each estimator over many worlds."""
    bandits = [Bandit(seed) for seed in range(300)]
    return {
        "ips": [ips(bandit.logged) for bandit in bandits],
        "snips": [snips(bandit.logged) for bandit in bandits],
        "dr": [doubly_robust(bandit.logged, fitted(bandit)) for bandit in bandits],
    }


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_estimates_are_unbiased_and_their_intervals_cover(many: dict[str, list[PolicyValue]], name: str) -> None:
    values = many[name]
    errors = np.array([value.estimate - TRUTH for value in values])
    assert abs(errors.mean()) < 4 * errors.std(ddof=1) / np.sqrt(len(errors))
    covered = sum(value.low <= TRUTH <= value.high for value in values)
    assert stats.binomtest(covered, len(values), 0.95).pvalue > 0.001
    assert {value.estimator for value in values} == {name}
    assert {value.places for value in values} == {USERS * EACH}


def test_a_good_model_and_self_normalising_make_estimates_quieter(many: dict[str, list[PolicyValue]]) -> None:
    spread = {name: np.std([value.estimate for value in values]) for name, values in many.items()}
    assert spread["snips"] < spread["ips"]
    assert spread["dr"] < spread["ips"]


def test_doubly_robust_is_right_where_either_side_is_wrong() -> None:
    bandits = [Bandit(seed) for seed in range(500, 600)]
    wrong_model = [doubly_robust(of.logged, of.predicted(np.full_like(of.clicking, 0.9))) for of in bandits]
    wrong_odds = [(replace(of.logged, propensities=np.clip(of.logged.propensities * 0.6, 0, 1)), of) for of in bandits]
    right_model = [doubly_robust(logged, of.predicted(of.clicking)) for logged, of in wrong_odds]
    for values in (wrong_model, right_model):
        errors = np.array([value.estimate - TRUTH for value in values])
        assert abs(errors.mean()) < 4 * errors.std(ddof=1) / np.sqrt(len(errors))
    both_wrong = np.mean([ips(logged).estimate for logged, _ in wrong_odds])
    assert both_wrong > 1.3 * TRUTH  # so that the case above was a case


def test_logging_policy_itself_is_worth_its_mean() -> None:
    logged = Bandit(3).logged
    same = replace(logged, targets=logged.propensities)
    assert ips(same).estimate == pytest.approx(logged.rewards.mean())
    assert snips(same).estimate == pytest.approx(logged.rewards.mean())


def test_intervals_are_of_users_not_of_places() -> None:
    logged = Bandit(4).logged
    twice = LoggedPlaces(*(np.tile(column, 9) for column in _columns(logged)))
    assert ips(twice).low == pytest.approx(ips(logged).low)
    assert ips(replace(twice, users=np.arange(len(twice.users)))).low > ips(logged).low


def _columns(places: LoggedPlaces) -> tuple[NDArray[np.float64], ...]:
    return places.rewards, places.propensities, places.targets, places.users


def test_self_normalised_estimate_moves_with_a_constant_in_the_rewards() -> None:
    logged = Bandit(5).logged
    raised = replace(logged, rewards=logged.rewards + 10)
    assert snips(raised).estimate == pytest.approx(snips(logged).estimate + 10)
    assert ips(raised).estimate != pytest.approx(ips(logged).estimate + 10, abs=1e-3)


def uniform(users: int, clicked: float = 0.4) -> LoggedPlaces:
    chance = np.random.default_rng(0)
    rewards = (chance.random(users) < clicked).astype(np.float64)
    return LoggedPlaces(rewards, np.full(users, 0.05), np.full(users, 0.05), np.arange(users))


def test_a_few_users_are_refused() -> None:
    ips(uniform(LEAST_EFFECTIVE_USERS))
    with pytest.raises(SupportTooThin, match="99 users count like 99"):
        ips(uniform(LEAST_EFFECTIVE_USERS - 1))


def test_one_dominating_user_is_refused() -> None:
    places = uniform(5_000)
    heavy = np.concatenate([places.targets[:-1], [1.0]])
    heavy[:-1] /= 20
    refused = replace(places, targets=heavy, outside=np.zeros(5_000))
    with pytest.raises(SupportTooThin, match="one user has"):
        snips(refused)


def test_choices_that_were_never_logged_are_refused_told_or_not() -> None:
    places = uniform(5_000)
    with pytest.raises(SupportTooThin, match=r"10\.0% of its choices were never made"):
        snips(replace(places, outside=np.full(5_000, 0.1)))
    with pytest.raises(SupportTooThin, match="of its choices were never made"):
        snips(replace(places, targets=places.targets * 0.8))
    assert support_of(replace(places, targets=places.targets * 0.8)).outside == pytest.approx(0.2)


def test_a_target_that_was_never_seen_is_refused() -> None:
    places = uniform(5_000)
    with pytest.raises(SupportTooThin, match=r"100\.0% of its choices"):
        doubly_robust(replace(places, targets=np.zeros(5_000)), Predicted(places.rewards, places.rewards))


def test_almost_no_rewards_are_refused() -> None:
    with pytest.raises(SupportTooThin, match="its rewards come from"):
        ips(uniform(1_000, clicked=0.01))
    with pytest.raises(SupportTooThin, match="its rewards come from 0 users"):
        ips(uniform(1_000, clicked=0))


def test_no_randomised_place_is_refused() -> None:
    with pytest.raises(SupportTooThin, match="No place of these slates was filled by chance"):
        ips(uniform(0))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("propensities", 0.0, "propensities: 0.0 is no probability"),
        ("propensities", 1.0, "propensities: 1.0 is no probability"),
        ("propensities", np.nan, "propensities: 1000 finite numbers"),
        ("targets", 1.2, "target probabilities: 1.2"),
        ("rewards", np.inf, "rewards: 1000 finite numbers"),
    ],
)
def test_what_is_no_probability_or_number_is_named(column: str, value: float, said: str) -> None:
    places = uniform(1_000)
    damaged = getattr(places, column).copy()
    damaged[7] = value
    with pytest.raises(ExposuresInvalid, match=said):
        ips(replace(places, **{column: damaged}))


def test_columns_of_other_lengths_are_named() -> None:
    places = uniform(1_000)
    with pytest.raises(ExposuresInvalid, match="have 3 users"):
        ips(replace(places, users=np.arange(3)))
    with pytest.raises(ExposuresInvalid, match="logged: 1000 finite numbers"):
        doubly_robust(places, Predicted(np.zeros(3), np.zeros(1_000)))


def test_the_outcome_model_finds_what_made_the_clicks() -> None:
    chance = np.random.default_rng(1)
    features = chance.normal(0, 1, (20_000, 2))
    clicks = (chance.random(20_000) < 1 / (1 + np.exp(1 - features @ [0.8, -0.4]))).astype(np.float64)
    np.testing.assert_allclose(fit_logistic(features, clicks), [-1, 0.8, -0.4], atol=0.08)


def test_the_outcome_model_survives_outcomes_that_are_all_the_same_or_separable() -> None:
    features = np.linspace(-1, 1, 200)[:, None]
    for clicks in (np.zeros(200), np.ones(200), (features[:, 0] > 0).astype(np.float64)):
        assert np.isfinite(fit_logistic(features, clicks)).all()


def test_nobody_is_predicted_by_a_model_that_saw_their_outcomes() -> None:
    bandit = Bandit(6)
    flipped = np.where(bandit.users == 11, 1 - bandit.logged.rewards, bandit.logged.rewards)
    before, other = fitted(bandit), Bandit(6)
    other.logged = replace(other.logged, rewards=flipped)
    after, own = fitted(other), bandit.users == 11
    np.testing.assert_array_equal(before.logged[own], after.logged[own])
    assert (before.logged[~own] != after.logged[~own]).any()
