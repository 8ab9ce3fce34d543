"""The families of worlds: whose truth favours what, and how much the calibrated one resembles ML-1M."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data_sources.checks import Status
from data_sources.dataset import write_dataset
from data_sources.doctor import diagnose
from local_mode.simulation import calibration, logging_policy
from local_mode.simulation.families import FAMILIES
from local_mode.simulation.fixed_policies import Policy, at_random, best_of_all, personal
from local_mode.simulation.nature import SCHEMA, Nature, make_nature
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.world import World

SETTINGS = SimulationSettings(users=3_000, items=300, warm_days=5, days=15, new_items_per_day=3)


def engagement(nature: Nature, policy: Policy) -> np.ndarray:
    """[users] clicks over all days."""
    world, clicks = World(nature), np.zeros(len(nature.people))
    for day in range(nature.settings.total_days):
        users = world.arrivals(day)
        clicks[users] += world.respond(day, users, policy(nature, day, users)).sum(axis=1)
    return clicks


@pytest.mark.parametrize("family", ["taste", "movielens"])
def test_where_tastes_differ_a_personal_policy_beats_the_best_list_for_all(family: str) -> None:
    nature = make_nature(replace(SETTINGS, family=family))
    ours, theirs, chance = (engagement(nature, policy).mean() for policy in (personal, best_of_all, at_random))
    assert ours > 1.2 * theirs
    assert theirs > 1.05 * chance


def test_where_popularity_is_optimal_nothing_personal_beats_it() -> None:
    """Its order is by the probability of a click of everybody, on every day, whatever they have seen."""
    nature = make_nature(replace(SETTINGS, family="popularity"))
    ours, theirs = engagement(nature, personal), engagement(nature, best_of_all)
    assert theirs.mean() > 1.05 * ours.mean()
    users, day = np.arange(50), nature.settings.total_days - 1
    items = np.tile(np.arange(nature.n_born(day)), (len(users), 1))
    order = np.argsort(-nature.wanting(day, users, items), axis=1, kind="stable")[:, :10]
    assert np.array_equal(order.astype(np.int32), best_of_all(nature, day, users))


def test_where_clicks_are_noise_every_policy_is_as_good_exactly() -> None:
    nature = make_nature(replace(SETTINGS, family="noise"))
    assert np.array_equal(engagement(nature, personal), engagement(nature, best_of_all))
    assert np.array_equal(engagement(nature, personal), engagement(nature, at_random))


def test_new_items_are_born_every_day_of_every_category_good_and_bad() -> None:
    nature = make_nature(replace(SETTINGS, days=57))
    born, days = nature.born_day, nature.settings.total_days
    assert np.bincount(born[born >= 0], minlength=days).tolist() == [3] * days
    new = born >= 0
    assert set(nature.catalogue.item_category[new]) == set(range(nature.catalogue.n_categories))
    assert nature.catalogue.quality[new].min() < -1
    assert nature.catalogue.quality[new].max() > 1
    assert len(nature.items_table(10)) == nature.n_born(10) == 300 + 33
    assert nature.items_table(10)["published_at"].max() == nature.settings.start + 10 * 86_400


def test_attributes_tell_of_the_topics_and_not_of_the_quality() -> None:
    nature = make_nature(SETTINGS)
    table = nature.items_table(19).with_columns(quality=nature.catalogue.quality[: nature.n_born(19)])
    assert table["category"].n_unique() == nature.catalogue.n_categories
    means = table.group_by("category").agg(pl.col("quality").mean(), pl.len())
    assert np.abs(means["quality"] * means["len"].sqrt()).max() < 4  # type: ignore[operator]


def test_another_draw_of_users_lives_in_the_same_world() -> None:
    one, other = make_nature(SETTINGS), make_nature(SETTINGS, first_user=3_000)
    assert one.items_table(5).equals(other.items_table(5))
    assert not set(one.user_ids) & set(other.user_ids)
    users = np.arange(20)
    assert not np.array_equal(World(one).arrivals(0), World(other).arrivals(0))
    assert np.array_equal(best_of_all(one, 3, users), best_of_all(other, 3, users))


@pytest.mark.parametrize("policy", [at_random, best_of_all, personal])
def test_fixed_policies_show_born_items_once(policy: Policy) -> None:
    nature = make_nature(SETTINGS)
    for day in (0, 7, 19):
        slates = policy(nature, day, np.arange(500))
        assert slates.shape == (500, 10)
        assert slates.dtype == np.int32
        assert slates.min() >= 0
        assert slates.max() < nature.n_born(day)
        assert np.all(np.diff(np.sort(slates, axis=1), axis=1) > 0)


def test_logging_policy_knows_its_propensities() -> None:
    """The mean of 1 / propensity is the number of items that could have had the place."""
    nature = make_nature(replace(SETTINGS, users=40_000, items=30))
    counts = np.random.default_rng(0).integers(0, 200, len(nature.catalogue))
    users = np.arange(40_000)
    slates, propensities = logging_policy.slates(nature, 2, users, counts)
    known = nature.n_born(2)
    assert slates.max() < known
    assert np.all(np.diff(np.sort(slates, axis=1), axis=1) > 0)
    first = np.bincount(slates[:, 0], minlength=known) / len(users)
    expected = np.zeros(known)
    expected[slates[:, 0]] = propensities[:, 0]
    assert expected.sum() == pytest.approx(1)
    assert np.abs(first - expected).max() < 4.5 * np.sqrt(expected.max() / len(users))
    for place in range(10):
        inverse = 1 / propensities[:, place]
        error = inverse.std() / np.sqrt(len(users))
        assert abs(inverse.mean() - (known - place)) < 4.5 * error, place
    assert propensities.min() >= nature.settings.epsilon / known
    again, _ = logging_policy.slates(nature, 2, users[:100], counts)
    assert np.array_equal(again, slates[:100])


def warm_log(nature: Nature, days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(users, items, days) of the clicks under the logging policy."""
    world, counts = World(nature), np.zeros(len(nature.catalogue), np.int64)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for day in range(days):
        users = world.arrivals(day)
        slates, _ = logging_policy.slates(nature, day, users, counts)
        row, place = np.nonzero(world.respond(day, users, slates))
        found.append((users[row], slates[row, place], np.full(len(row), day)))
        counts += np.bincount(found[-1][1], minlength=len(counts))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))  # type: ignore[return-value]


def test_the_calibrated_world_resembles_movielens() -> None:
    nature = make_nature(SimulationSettings(family="movielens", users=3_000))
    users, items, _ = warm_log(nature, nature.settings.total_days)
    activity = np.bincount(users, minlength=3_000)
    active = activity[activity >= calibration.LEAST_ACTIVITY * np.median(activity[activity > 0])]
    assert np.log(active).std() == pytest.approx(calibration.ACTIVITY_LOG_SPREAD, abs=0.1)
    popularity = np.sort(np.bincount(items, minlength=500)[:500])[::-1]
    assert popularity[:50].sum() / popularity.sum() == pytest.approx(calibration.TOP_ITEMS_SHARE, abs=0.07)
    assert taste_entropy(users, nature.catalogue.item_category[items]) == pytest.approx(
        calibration.TASTE_ENTROPY, abs=0.04
    )


def taste_entropy(users: np.ndarray, categories: np.ndarray) -> float:
    """Mean entropy of the categories of a few events of a user, as a share of that of anybody's events."""
    rng, n = np.random.default_rng(0), calibration.ENTROPY_EVENTS
    own, anybody = [], []
    for user in np.flatnonzero(np.bincount(users) >= n):
        own.append(entropy(rng.choice(categories[users == user], n, replace=False)))
        anybody.append(entropy(rng.choice(categories, n)))
    return float(np.mean(own) / np.mean(anybody))


def entropy(values: np.ndarray) -> float:
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_world_is_a_dataset_that_the_doctor_passes(family: str, tmp_path: Path) -> None:
    nature = make_nature(SimulationSettings(family=family, users=400, items=100))
    users, items, days = warm_log(nature, 21)
    seconds = np.concatenate([nature.visit_second(day, users[days == day]) for day in range(21)])
    log = pl.DataFrame(
        {
            "user_id": np.array(nature.user_ids)[users],
            "item_id": np.array(nature.item_ids)[items],
            "event_type": "click",
            "timestamp": seconds,
        }
    )
    write_dataset(tmp_path / "world", SCHEMA, log, nature.users_table(), nature.items_table(20))
    diagnosis = diagnose(tmp_path / "world")
    assert diagnosis.status is not Status.FAIL, [c for c in diagnosis.checks if c.status is Status.FAIL]
    assert diagnosis.events == len(log) > 500
