"""Team draft: whose each place is, who begins, and which promises of the slate hold."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Candidates, Degraded
from contracts.chance import seed_of
from contracts.deadline import Deadline
from contracts.slate import Route
from reranking.interleave import NOBODY
from reranking.rerank import rerank, rerank_both
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from tests.toy_world import NOW, toy_model

ITEMS = toy_model().items
PLAIN = RerankSettings(diversity="none", recency_weight=0.0)


def candidates(rows, **more) -> Candidates:
    scores = np.linspace(1, 0, len(rows)).astype(np.float32)
    return Candidates(np.array(list(rows), np.int32), scores, Route.MODEL, "als", **more)


def drafted(first, second, seed: int = 0, options: RerankSettings = PLAIN, **rules):
    told = SlateRules(**({"places": 10} | rules), seed=seed_of(f"u{seed}", NOW))
    return rerank_both(candidates(first), candidates(second), ITEMS, told, options, NOW)


def test_two_lists_that_share_nothing_have_half_of_the_slate_each_in_their_order():
    for seed in range(30):
        ranked = drafted(range(50), range(100, 150), seed)
        assert ranked.rows[ranked.teams == 0].tolist() == list(range(5))
        assert ranked.rows[ranked.teams == 1].tolist() == list(range(100, 105))
        assert [sorted(pair) for pair in ranked.teams.reshape(5, 2).tolist()] == [[0, 1]] * 5, "a pick each a round"


def test_either_side_begins_a_round_as_often():
    begins = np.array([drafted(range(50), range(100, 150), seed).teams[::2] for seed in range(1_000)])
    assert begins.mean(0) == pytest.approx([0.5] * 5, abs=0.06)
    assert np.corrcoef(begins.T)[np.triu_indices(5, 1)] == pytest.approx([0.0] * 10, abs=0.12)


def test_an_item_of_both_lists_is_there_once_and_both_sides_stay_level():
    for seed in range(30):
        ranked = drafted(range(50), [1, 0, *range(100, 150)], seed)
        assert len(set(ranked.rows.tolist())) == 10
        assert {0, 1} <= set(ranked.rows[:2].tolist()) | set(ranked.rows[2:4].tolist())
        counts = Counter(ranked.teams.tolist())
        assert counts[0] == counts[1] == 5


def test_equal_lists_are_the_list():
    ranked = drafted(range(50), range(50))
    assert ranked.rows.tolist() == list(range(10))
    assert set(ranked.teams.tolist()) == {0, 1}


def test_an_odd_slate_has_one_more_of_either():
    more = Counter(int((drafted(range(50), range(100, 150), seed, places=5).teams == 0).sum()) for seed in range(200))
    assert set(more) == {2, 3}
    assert more[2] == pytest.approx(100, abs=30)


def test_scores_and_parts_come_from_whoever_picked():
    ranked = drafted(range(50), range(100, 150), explain=True)
    alone = [rerank(candidates(rows), ITEMS, SlateRules(10), PLAIN, NOW) for rows in (range(50), range(100, 150))]
    for team in (0, 1):
        assert ranked.scores[ranked.teams == team].tolist() == alone[team].scores[:5].tolist()
    assert set(ranked.parts) == {"raw", "normalised", "recency", "diversity", "promoted", "source"}


def test_what_chance_placed_and_what_is_explored_is_nobodys():
    first = candidates(range(50), explored=np.array([190], np.int32))
    rules = SlateRules(10, random_places=2, seed=seed_of("u", NOW))
    ranked = rerank_both(first, candidates([190, *range(5, 40), 120]), ITEMS, rules, PLAIN, NOW)
    assert ranked.teams.tolist()[-3:] == [NOBODY] * 3
    assert ranked.rows[-1] == 190
    assert len(set(ranked.rows.tolist())) == 10
    assert ranked.propensities[:7].tolist() == [1] * 7
    assert (ranked.propensities[7:9] < 1).all()
    assert ranked.rows[7:9].tolist() == rerank(first, ITEMS, rules, PLAIN, NOW).rows[7:9].tolist()


def test_what_either_side_had_no_time_for_is_said():
    rules = SlateRules(4, deadline=Deadline(0), seed=seed_of("u", NOW))
    ranked = rerank_both(candidates(range(9)), candidates(range(20, 30)), ITEMS, rules, RerankSettings(), NOW)
    assert ranked.degraded == (Degraded.DIVERSITY_SKIPPED,)


def test_a_side_that_has_nothing_leaves_the_slate_to_the_other():
    assert drafted(range(50), []).rows.tolist() == list(range(10))
    assert len(drafted([], range(50)).rows) == 0, "the first list says how many places there are"


@given(
    first=st.lists(st.integers(0, 199), unique=True, max_size=40),
    second=st.lists(st.integers(0, 199), unique=True, max_size=40),
    places=st.integers(1, 20),
    cap=st.integers(0, 3),
    random_places=st.integers(0, 4),
    promoted=st.sets(st.integers(0, 199), max_size=100),
    share=st.sampled_from([0.0, 0.25, 1.0]),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=100, deadline=None)
def test_any_draft_keeps_the_rules_of_the_slate(first, second, places, cap, random_places, promoted, share, seed):
    mask = np.isin(np.arange(200), list(promoted))
    options = RerankSettings(diversity="category", category_cap=cap, recency_weight=0.0)
    rules = {"promoted": mask, "promoted_share": share, "places": places, "random_places": random_places}
    ranked = drafted(first, second, seed, options, **rules)
    alone = rerank(candidates(first), ITEMS, SlateRules(**rules, seed=seed_of(f"u{seed}", NOW)), options, NOW)
    assert len(ranked.rows) == len(alone.rows) == len(set(ranked.rows.tolist()))
    assert set(ranked.rows.tolist()) <= {*first, *second}
    quota = math.ceil(share * places)
    assert mask[ranked.rows].sum() >= min(quota, mask[alone.rows].sum())
    most = Counter(ITEMS.category[alone.rows].tolist())
    if cap and max(most.values(), default=0) <= cap and not quota:
        assert max(Counter(ITEMS.category[ranked.rows].tolist()).values(), default=0) <= cap
    of_teams = Counter(ranked.teams.tolist())
    if len(second) >= places and not cap and not quota and not set(first) & set(second):
        assert abs(of_teams[0] - of_teams[1]) <= 1
