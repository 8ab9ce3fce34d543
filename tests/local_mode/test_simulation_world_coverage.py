"""A sample of `benchmarks/simulated_coverage.py`: the interval holds the true effect about as often as it says."""

from __future__ import annotations

import numpy as np

from benchmarks import simulated_coverage


def test_intervals_hold_the_true_effect_in_small_worlds() -> None:
    figures = simulated_coverage.measure(worlds=10)
    for name, row in figures["coverage"].items():
        assert row["ok"], (name, row)
        assert row["truth"] > 0, "a personal policy is better where tastes differ"
        assert row["truth_standard_error"] < row["half_interval"] / 10
    zero = figures["alpha 0, lift of retention"]
    assert zero["ok"]
    assert zero["largest_true_effect"] == 0
    assert "alpha 0" in simulated_coverage.table(figures)


def test_retention_is_known_of_those_whose_window_is_over() -> None:
    settings = simulated_coverage.SimulationSettings(users=4, warm_days=2, days=36)
    one, many = np.array([1]), np.array([0, 1, 3])
    visits = [(2, many, many), (30, one, one), (3, np.array([2]), one), (37, np.array([2, 3]), one)]
    assert np.array_equal(simulated_coverage.retained(visits, settings), [0, 1, 1, 0])
    late = [(4, one, one), (37, one, one)]
    assert np.isnan(simulated_coverage.retained(late, settings)).all()
