"""Intervals agree with scipy's, pair what they compare, and cover what they claim to cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from evaluation.bootstrap import Interval, fixed, mean_intervals, paired_difference, resample_means


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    ours = mean_intervals(values[:, None], seed=1, resamples=4000)[0]
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean())
    assert abs(ours.low - theirs.low) < 0.1 * width
    assert abs(ours.high - theirs.high) < 0.1 * width


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    """300 samples of 80 users with mean 1: a 95 % interval misses 15 times; 30 misses would be 3.9 deviations off."""
    samples = np.random.default_rng(3).gamma(4.0, 0.25, (80, 300))
    missed = [not found.low <= 1 <= found.high for found in mean_intervals(samples, seed=0, resamples=500)]
    assert 3 <= sum(missed) <= 30


def test_a_paired_difference_is_narrow_where_models_agree() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(300)
    difference = paired_difference(theirs + 0.01, theirs, seed=0)
    assert difference.low == pytest.approx(difference.high)
    assert difference.above_zero
    assert not difference.below_zero
    noise = paired_difference(rng.random(300), theirs, seed=0)
    assert noise.low < 0 < noise.high


def test_pairing_is_by_draw() -> None:
    """The difference of two resampled columns is the resampled difference."""
    values = np.random.default_rng(2).random((50, 2))
    means = resample_means(values, seed=5, resamples=20)
    alone = resample_means(values[:, :1] - values[:, 1:], seed=5, resamples=20)
    assert means[:, 0] - means[:, 1] == pytest.approx(alone[:, 0])


def test_undefined_users_are_left_out() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    mean, never = mean_intervals(values, seed=0, resamples=200)
    assert mean.value == 2
    assert 1 <= mean.low <= mean.high <= 3
    assert np.isnan([never.value, never.low, never.high]).all()


def test_blocks_of_resamples_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((50, 1))
    whole = resample_means(values, seed=5, resamples=30)
    monkeypatch.setattr("evaluation.bootstrap.BLOCK_DRAWS", 350)
    assert resample_means(values, seed=5, resamples=30) == pytest.approx(whole)  # BLAS sums in another order


def test_a_fact_has_no_width() -> None:
    assert fixed(0.3) == Interval(0.3, 0.3, 0.3)
