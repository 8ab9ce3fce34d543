"""Metrics on lists worked out by hand, held to bounds, and to ir-measures."""

from __future__ import annotations

from math import log2

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ir_measures import RR, P, R, Success, nDCG

from contracts.feature_encoder import Bag
from contracts.interactions import Interactions
from evaluation.metrics.cold_start import answered, items_answered, items_hit, wanted_cold_items
from evaluation.metrics.coverage import coverage, exposures
from evaluation.metrics.diversity import content_space, diversity, holder_space
from evaluation.metrics.gini import gini
from evaluation.metrics.hits import Hits, find_hits
from evaluation.metrics.mrr import reciprocal_rank
from evaluation.metrics.ndcg import ndcg
from evaluation.metrics.novelty import novelty, self_information
from evaluation.metrics.popularity_lift import history_popularity, popularity_lift
from evaluation.metrics.recall import hit_rate, precision, recall

N_ITEMS = 12


def relevant_items(*per_user: list[int], n_items: int = N_ITEMS) -> Interactions:
    users = np.repeat(np.arange(len(per_user)), [len(items) for items in per_user])
    items = np.array([item for items in per_user for item in items], dtype=np.int64)
    return Interactions.from_events(
        users, items, np.zeros(len(items), int), np.ones(len(items)), len(per_user), n_items
    )


ROWS = np.array([[3, 1, 4, 0], [5, 9, 2, 6], [7, 8, -1, -1], [-1, -1, -1, -1], [1, 2, 3, 4]])
"""Hits: user 0 at places 1 and 3; user 1 nowhere; user 2 at place 2; user 3 has an empty list; user 4 seeks nothing."""
TEST = relevant_items([3, 4, 11], [0], [8], [1, 2], [])
HITS = find_hits(ROWS, TEST, np.arange(5))


def test_hits_by_hand() -> None:
    assert HITS.found.tolist() == [
        [True, False, True, False],
        [False] * 4,
        [False, True, False, False],
        [False] * 4,
        [False] * 4,
    ]
    assert HITS.n_relevant.tolist() == [3, 1, 1, 2, 0]


def test_hits_of_some_users_and_of_nobody() -> None:
    assert find_hits(ROWS[[2, 0]], TEST, np.array([2, 0])).found.tolist() == HITS.found[[2, 0]].tolist()
    assert not find_hits(ROWS[[4]], TEST, np.array([4])).found.any()


def test_an_item_counts_once() -> None:
    assert find_hits(np.array([[8, 8, 7]]), TEST, np.array([2])).found.tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (recall, 4, [2 / 3, 0, 1, 0]),
        (recall, 2, [1 / 3, 0, 1, 0]),
        (recall, 1, [1 / 3, 0, 0, 0]),
        (precision, 4, [2 / 4, 0, 1 / 4, 0]),
        (precision, 1, [1, 0, 0, 0]),
        (hit_rate, 4, [1, 0, 1, 0]),
        (hit_rate, 1, [1, 0, 0, 0]),
        (reciprocal_rank, 4, [1, 0, 1 / 2, 0]),
        (reciprocal_rank, 1, [1, 0, 0, 0]),
        (ndcg, 4, [(1 + 1 / log2(4)) / (1 + 1 / log2(3) + 1 / log2(4)), 0, 1 / log2(3), 0]),
        (ndcg, 2, [1 / (1 + 1 / log2(3)), 0, 1 / log2(3), 0]),
        (ndcg, 1, [1, 0, 0, 0]),
    ],
)
def test_accuracy_by_hand(metric, k: int, expected: list[float]) -> None:
    values = metric(HITS, k)
    assert values[:4] == pytest.approx(expected)
    assert np.isnan(values[4]), "nothing to find is no zero"


def test_catalogue_by_hand() -> None:
    shown = exposures(ROWS, N_ITEMS)
    assert shown.tolist() == [1, 2, 2, 2, 2, 1, 1, 1, 1, 1, 0, 0]
    assert coverage(shown) == pytest.approx(10 / 12)
    assert gini(np.array([5, 5, 5])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 9])) == pytest.approx(3 / 4)
    assert gini(np.array([1, 3])) == pytest.approx(1 / 4)
    assert np.isnan(gini(np.zeros(3, int)))


def test_novelty_by_hand() -> None:
    """Of 6 users, 3 and 0 have the items: p = 4/8 and 1/8."""
    surprise = self_information(np.array([3, 0]), 6)
    assert surprise.tolist() == [1, 3]
    values = novelty(np.array([[0, 1], [1, -1], [-1, -1]]), surprise, 2)
    assert values[:2].tolist() == [2, 3]
    assert np.isnan(values[2])


def test_popularity_lift_by_hand() -> None:
    events = np.array([10, 2, 4])
    histories = relevant_items([1, 2], [0], [], n_items=3)
    own = history_popularity(histories, events, np.array([0, 1, 2]))
    assert own[:2].tolist() == [3, 10]
    values = popularity_lift(np.array([[0, 1], [1, -1], [0, 1]]), events, own, 2)
    assert values[:2] == pytest.approx([(6 - 3) / 3, (2 - 10) / 10])
    assert np.isnan(values[2])


def test_diversity_by_hand() -> None:
    """Items 0 and 1 are equal, 2 is orthogonal, 3 has nothing: distances 0, 1, 1, and 1 to the empty one."""
    bag = Bag(np.array([0, 0, 1], np.int32), np.array([2, 5, 1], np.float32), np.array([0, 1, 2, 3, 3]))
    space = content_space(bag, np.ones(2))
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 1, 2], [0, 1, 3], [2, -1, -1]])
    values = diversity(lists, space, 3)
    assert values[:4] == pytest.approx([0, 1, 2 / 3, 2 / 3])
    assert np.isnan(values[4])


def test_diversity_equals_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    train = relevant_items(*(rng.permutation(N_ITEMS)[: rng.integers(1, 6)].tolist() for _ in range(9)))
    space = holder_space(train)
    dense, rows = space.toarray(), rng.permutation(N_ITEMS)[:5]
    pairs = [1 - dense[i] @ dense[j] for at, i in enumerate(rows) for j in rows[at + 1 :]]
    assert diversity(rows[None, :], space, 5)[0] == pytest.approx(np.mean(pairs))


def test_cold_start_by_hand() -> None:
    """Cold: items 4, 6, 8, 11, 10. Wanted: 4 (found by its user), 8 (found), 11 (shown to nobody)."""
    cold = np.isin(np.arange(N_ITEMS), [4, 6, 8, 10, 11])
    assert wanted_cold_items(cold, TEST).tolist() == [4, 8, 11]
    assert items_answered(ROWS, cold, TEST, 4).tolist() == [1, 1, 0]
    assert items_hit(ROWS, HITS, cold, TEST, 4).tolist() == [1, 1, 0]
    assert items_hit(ROWS, HITS, cold, TEST, 2).tolist() == [0, 1, 0]
    assert answered(ROWS).tolist() == [1, 1, 1, 0, 1]


def test_an_item_shown_to_the_wrong_user_is_answered_but_not_hit() -> None:
    rows = np.array([[0], [4]])
    wanted = relevant_items([4], [0])
    cold = np.isin(np.arange(N_ITEMS), [4])
    hits = find_hits(rows, wanted, np.arange(2))
    assert items_answered(rows, cold, wanted, 1).tolist() == [1]
    assert items_hit(rows, hits, cold, wanted, 1).tolist() == [0]


@st.composite
def judged_lists(draw: st.DrawFn) -> tuple[np.ndarray, Interactions]:
    """Lists without repeats, cut at a random length, and random positives (at least one)."""
    n_users, k = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    rows = np.array([draw(st.permutations(range(N_ITEMS)))[:k] for _ in range(n_users)])
    lengths = np.array([draw(st.integers(0, k)) for _ in range(n_users)])
    rows[np.arange(k) >= lengths[:, None]] = -1
    sets = st.lists(st.integers(0, N_ITEMS - 1), min_size=1, unique=True)
    return rows, relevant_items(*(draw(sets) for _ in range(n_users)))


@given(judged_lists(), st.integers(1, 10))
def test_accuracy_is_bounded_and_grows_with_k(case: tuple[np.ndarray, Interactions], k: int) -> None:
    rows, test = case
    hits = find_hits(rows, test, np.arange(len(rows)))
    for metric in (recall, precision, hit_rate, reciprocal_rank, ndcg):
        values = metric(hits, k)
        assert ((values >= 0) & (values <= 1)).all()
    for metric in (recall, hit_rate, reciprocal_rank):
        assert (metric(hits, k) <= metric(hits, k + 1)).all()
    assert (hit_rate(hits, k) >= recall(hits, k)).all()


@given(judged_lists(), st.integers(1, 10))
def test_accuracy_agrees_with_ir_measures(case: tuple[np.ndarray, Interactions], k: int) -> None:
    rows, test = case
    hits = find_hits(rows, test, np.arange(len(rows)))
    ours = {P @ k: precision, R @ k: recall, RR @ k: reciprocal_rank, Success @ k: hit_rate, nDCG @ k: ndcg}
    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, i in zip(test.users, test.items, strict=True)]
    run = [
        ir_measures.ScoredDoc(str(user), str(item), -float(place))
        for user, line in enumerate(rows)
        for place, item in enumerate(line)
        if item >= 0
    ]
    theirs = {(m.measure, int(m.query_id)): m.value for m in ir_measures.iter_calc(list(ours), qrels, run)}
    for measure, metric in ours.items():
        expected = [theirs.get((measure, user), 0.0) for user in range(len(rows))]
        assert metric(hits, k) == pytest.approx(expected, abs=1e-9), measure


@given(hnp.arrays(np.int64, st.integers(1, 20), elements=st.integers(0, 1000)))
def test_catalogue_metrics_are_bounded(shown: np.ndarray) -> None:
    assert 0 <= coverage(shown) <= 1
    if shown.sum():
        assert 0 <= gini(shown) < 1
        assert gini(shown * 7) == pytest.approx(gini(shown))


@given(judged_lists(), st.integers(1, 10), st.integers(0, 5))
def test_list_metrics_are_bounded(case: tuple[np.ndarray, Interactions], k: int, seed: int) -> None:
    rows, train = case
    spread = diversity(rows, holder_space(train), k)
    assert np.isnan(spread).tolist() == ((rows[:, :k] >= 0).sum(axis=1) < 2).tolist()
    assert ((spread >= 0) & (spread <= 1))[~np.isnan(spread)].all()
    holders = np.random.default_rng(seed).integers(0, 9, N_ITEMS)
    filled = (rows[:, :k] >= 0).any(axis=1)
    assert (novelty(rows, self_information(holders, 8), k)[filled] >= 0).all()
    own = history_popularity(train, holders, np.arange(train.n_users))
    lift = popularity_lift(rows, holders, own, k)
    assert (lift[filled & (own > 0)] >= -1).all()


def test_hits_take() -> None:
    taken = HITS.take(np.array([2, 0]))
    assert isinstance(taken, Hits)
    assert taken.n_relevant.tolist() == [1, 3]
