"""A short sample of `benchmarks/experiment_statistics.py`: splits of nothing find nothing, but what chance allows."""

from __future__ import annotations

import numpy as np

from benchmarks.experiment_log import draw_users, expected_clicks
from benchmarks.experiment_statistics import USERS as LOG_USERS
from benchmarks.experiment_statistics import all_kept, broken_splits, coverage, looks, no_effect, wrong_units

SEED = 5


def test_a_short_sample_keeps_the_promises() -> None:
    log = draw_users(LOG_USERS, np.random.default_rng(SEED))
    figures = {
        "no effect": no_effect(log, 80, SEED),
        "looks": looks(log, 20, SEED),
        "coverage": coverage(60, SEED),
        "sample ratio": broken_splits(2_000, SEED),
    }
    assert all_kept(figures), figures


def test_smaller_units_than_users_find_what_is_not_there() -> None:
    figures = wrong_units(draw_users(LOG_USERS, np.random.default_rng(SEED)), 500, SEED)
    assert figures["sessions, t-test"] > 0.2
    assert figures["impressions, z-test"] > 0.3


def test_the_log_has_the_clicks_that_it_says() -> None:
    clicks = draw_users(100_000, np.random.default_rng(SEED)).clicks
    assert abs(clicks.mean() - expected_clicks()) < 5 * clicks.std() / 100_000**0.5


def test_a_broken_promise_is_seen() -> None:
    assert not all_kept({"a": {"kept": True}, "b": {"c": {"rate": 0.2, "kept": False}}})
