"""Promotions: the promise is kept where it can be, at the least cost, and costs nothing where it is kept anyway."""

from __future__ import annotations

import numpy as np
import pytest

from reranking.diversity import CategoryPenalty
from reranking.rules import SlateRules, choose_with_promotion

NO_PENALTY = CategoryPenalty(np.full(10, -1), 0.0)
SCORES = np.linspace(1, 0, 10).astype(np.float32)


def promoted(*positions):
    mask = np.zeros(10, bool)
    mask[list(positions)] = True
    return mask


@pytest.mark.parametrize(
    ("share", "places", "expected"), [(0.25, 10, 3), (0.3, 10, 3), (0.0, 10, 0), (1.0, 7, 7), (0.1, 3, 1)]
)
def test_a_share_is_rounded_up(share, places, expected):
    assert SlateRules(places, promoted=promoted(1), promoted_share=share).promoted_places == expected


def test_without_a_mask_nothing_is_promised():
    assert SlateRules(10, promoted_share=0.5).promoted_places == 0


def test_a_slate_that_has_enough_stands():
    chosen, values = choose_with_promotion(NO_PENALTY, SCORES, 4, promoted(0, 2), 2)
    assert chosen.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(values, SCORES[:4])


def test_the_best_promoted_replace_the_worst_others():
    chosen, _ = choose_with_promotion(NO_PENALTY, SCORES, 4, promoted(2, 6, 8, 9), 2)
    assert chosen.tolist() == [0, 1, 2, 6]


def test_too_few_promoted_are_all_there():
    chosen, _ = choose_with_promotion(NO_PENALTY, SCORES, 4, promoted(9), 3)
    assert chosen.tolist() == [0, 1, 2, 9]


def test_the_cap_counts_promoted_places():
    categories = np.array([0, 0, 1, 2, 3, 0, 0, 4, 5, 6])
    capped = CategoryPenalty(categories, 0.0, cap=2)
    chosen, _ = choose_with_promotion(capped, SCORES, 4, promoted(5, 6), 2)
    assert chosen.tolist() == [2, 3, 5, 6]
