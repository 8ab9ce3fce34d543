"""A log of random places is what it says it is, and estimates from it are those of the world that made it."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from scipy import stats

from contracts.treatment import RANDOM_POOL
from local_mode.simulation.lines import Line
from local_mode.simulation.logbook import Logbook
from local_mode.simulation.nature import make_nature
from local_mode.simulation.nights import HOME, Kept, Nights
from local_mode.simulation.off_policy_panel import estimates_of, off_policy_panel, random_log, targets_of
from local_mode.simulation.random_log import RANDOM_PLACES, RandomLog
from local_mode.simulation.settings import SimulationSettings

SETTINGS = SimulationSettings(users=300, items=120, warm_days=7, days=6, new_items_per_day=1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("world") / "line"
    line = Line(make_nature(SETTINGS))
    with closing(Logbook(folder, line.nature)) as logbook:
        for day in line.warm_up():
            logbook.log(day)
        nights = Nights(SETTINGS, logbook, folder / HOME)
        nights.before(SETTINGS.warm_days)
    return Kept(folder / HOME, nights.past)


@pytest.fixture(scope="module")
def log(kept: Kept) -> RandomLog:
    return random_log(SETTINGS, kept)


def test_each_place_was_drawn_from_its_pool_as_its_propensity_says(log: RandomLog) -> None:
    rows = np.arange(len(log.users))
    assert len(rows) > 1_000
    assert log.free[rows, log.logged].all()
    np.testing.assert_allclose(log.propensities, 1 / log.free.sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(log.free.sum(axis=1), np.tile(RANDOM_POOL - np.arange(RANDOM_PLACES), len(rows) // 5))
    np.testing.assert_array_equal(log.place, np.tile(SETTINGS.places - RANDOM_PLACES + np.arange(5), len(rows) // 5))
    first = log.logged[log.place == SETTINGS.places - RANDOM_PLACES]
    assert stats.chisquare(np.bincount(first, minlength=RANDOM_POOL)).pvalue > 0.001


def test_clicks_of_the_log_happen_as_often_as_the_truth_says(log: RandomLog) -> None:
    chance = log.chance[np.arange(len(log.users)), log.logged]
    spread = np.sqrt((chance * (1 - chance)).sum())
    assert abs(log.clicked.sum() - chance.sum()) < 4 * spread
    order = np.argsort(chance)
    low, high = (log.clicked[half].sum() for half in np.array_split(order, 2))
    assert high > 1.5 * low  # and where it says so


def test_targets_choose_what_is_free_and_add_up(log: RandomLog) -> None:
    softly, first, everything = targets_of(log)
    for target in (softly, first, everything):
        np.testing.assert_allclose(target.choices.sum(axis=1) + target.outside, 1)
        assert not target.choices[~log.free].any()
    assert set(np.unique(first.choices)) == {0, 1}
    taken = log.scores[np.arange(len(log.users)), first.choices.argmax(axis=1)]
    np.testing.assert_array_equal(taken, np.where(log.free, log.scores, -np.inf).max(axis=1))
    assert softly.truth != first.truth


def test_estimates_stand_beside_the_truth_and_what_was_never_shown_is_refused(log: RandomLog) -> None:
    rows = {(row.arm, row.estimator): row for row in estimates_of(log)}
    assert len(rows) == 9
    for name in ("ips", "snips", "dr"):
        soft = rows["ALS softly, of the pool", name]
        assert soft.estimate is not None
        assert soft.low is not None
        assert soft.truth is not None
        assert abs(soft.estimate - soft.truth) < 2 * (soft.estimate - soft.low)
        refused = rows["ALS's first of everything", name]
        assert refused.estimate is None
        assert "of its choices were never made" in refused.refused


def test_a_panel_is_a_repeatable_job_and_another_population_has_another_log(kept: Kept, log: RandomLog) -> None:
    assert off_policy_panel(SETTINGS, kept) == estimates_of(log)
    assert random_log(SETTINGS, kept, first_user=5_000).clicked.sum() != log.clicked.sum()
