"""The two steps before diversity, on hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.fitted import UNKNOWN_TIME
from reranking.normalise import to_unit_scale
from reranking.recency import DAY_SECONDS, recency_factor

NOW = 1_700_000_000


def test_the_best_is_one_and_the_worst_zero():
    assert to_unit_scale(np.array([10, 30, 15], np.float32)).tolist() == [0, 1, 0.25]


def test_equal_scores_are_all_one():
    assert to_unit_scale(np.full(3, 7, np.float32)).tolist() == [1, 1, 1]


def test_nothing_stays_nothing():
    assert to_unit_scale(np.empty(0, np.float32)).shape == (0,)


def test_the_widest_floats_have_a_scale():
    widest = np.finfo(np.float32).max
    assert to_unit_scale(np.array([-widest, 0, widest], np.float32)).tolist() == pytest.approx([0, 0.5, 1])


def test_half_of_the_share_is_lost_per_half_life():
    published = np.array([NOW, NOW - 30 * DAY_SECONDS, NOW - 60 * DAY_SECONDS, NOW + 5])
    assert recency_factor(published, NOW, 0.4, 30.0).tolist() == pytest.approx([1.0, 0.8, 0.7, 1.0])


def test_unknown_age_is_middle_age():
    assert recency_factor(np.array([UNKNOWN_TIME]), NOW, 0.4, 30.0).tolist() == pytest.approx([0.8])


def test_the_oldest_loses_the_whole_share_and_no_more():
    assert recency_factor(np.array([UNKNOWN_TIME + 1]), NOW, 0.4, 30.0).tolist() == pytest.approx([0.6])
