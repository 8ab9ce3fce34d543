"""Judging rankers whose worth is known: a clairvoyant, a mute, and one that knows half."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from contracts.interactions import Interactions
from evaluation.bootstrap import Interval
from evaluation.facts import COLD_BELOW, ItemFacts, heavy_users, item_facts, warm_users
from evaluation.judge import JudgeSettings, judge, judged_users
from evaluation.rankers import Ranker
from evaluation.result import Evaluation
from evaluation.splits import Split, cold_users
from tests.toy_world import toy_model

N_USERS, N_ITEMS = 60, 40


class Clairvoyant:
    """Ranks exactly what is held out."""

    def __init__(self, split: Split) -> None:
        self._test = split.test

    def rank(self, users: np.ndarray, k: int) -> np.ndarray:
        rows = np.full((len(users), k), -1, np.int32)
        for line, user in enumerate(users):
            found = self._test.items[self._test.of(int(user))][:k]
            rows[line, : len(found)] = found
        return rows


class Mute:
    """Says nothing."""

    def rank(self, users: np.ndarray, k: int) -> np.ndarray:
        return np.full((len(users), k), -1, np.int32)


class HalfBlind(Clairvoyant):
    """Clairvoyant for users with an even code."""

    def rank(self, users: np.ndarray, k: int) -> np.ndarray:
        return np.where((users % 2 == 0)[:, None], super().rank(users, k), -1)


@pytest.fixture(scope="module")
def split() -> Split:
    """Users 0 to 19 have 2 known events, the others 8; three items are held out of each, item 39 often."""
    rng = np.random.default_rng(0)
    train, test = [], []
    for user in range(N_USERS):
        items = rng.permutation(N_ITEMS - 1)
        known = 2 if user < 20 else 8
        train += [(user, item) for item in items[:known]]
        test += [(user, item) for item in [*items[known : known + 2], N_ITEMS - 1]]
    made = []
    for pairs in (train, test):
        users, items = np.array(pairs).T
        made.append(
            Interactions.from_events(users, items, np.arange(len(users)), np.ones(len(users)), N_USERS, N_ITEMS)
        )
    return Split(made[0], made[1], "by hand")


@pytest.fixture(scope="module")
def facts(split: Split) -> ItemFacts:
    return item_facts(split.train)


@pytest.fixture(scope="module")
def evaluation(split: Split, facts: ItemFacts) -> Evaluation:
    rankers: dict[str, Ranker] = {"two_tower": HalfBlind(split), "best": Clairvoyant(split), "none": Mute()}
    return judge(rankers, split, facts, JudgeSettings(resamples=200))


def test_known_worth(evaluation: Evaluation) -> None:
    best, none, half = (evaluation.models[name] for name in ("best", "none", "two_tower"))
    for metric in ("recall@20", "ndcg@10", "hit_rate@10", "mrr@10"):
        assert best[metric] == Interval(1.0, 1.0, 1.0)
        assert none[metric] == Interval(0.0, 0.0, 0.0)
        assert half[metric].value == pytest.approx(0.5)
        assert 0.3 < half[metric].low < 0.5 < half[metric].high < 0.7
    assert best["precision@10"].value == pytest.approx(0.3)
    assert none["coverage@20"].value == 0
    assert "diversity@10" not in none, "an empty list has no diversity, and JSON has no NaN"


def test_headline_is_the_warm_users(evaluation: Evaluation) -> None:
    assert evaluation.users == "warm"
    assert evaluation.judged == {"two_tower": 40, "best": 40, "none": 40}
    assert evaluation.counts["cold_users"] == 20
    assert {name: segment.users for name, segment in evaluation.segments.items() if name.endswith("users")} == {
        "all_users": 60,
        "cold_users": 20,
        "warm_users": 40,
        "heavy_users": 40,
    }


def test_cold_start(evaluation: Evaluation) -> None:
    best, none, half = (evaluation.models[name] for name in ("best", "none", "two_tower"))
    assert best["cold_users_answered"].value == best["cold_users_hit@20"].value == 1
    assert none["cold_users_answered"].value == none["cold_users_hit@20"].value == 0
    assert half["cold_users_answered"].value == half["cold_users_hit@20"].value == pytest.approx(0.5)
    assert best["cold_items_answered@20"].value == best["cold_items_hit@20"].value == 1
    assert none["cold_items_answered@20"].value == 0


def test_items_segments_count_only_their_positives(evaluation: Evaluation, facts: ItemFacts) -> None:
    assert facts.cold[N_ITEMS - 1]
    assert not facts.head[N_ITEMS - 1]
    assert evaluation.segments["tail_items"].models["best"]["recall@20"].value == 1
    assert evaluation.segments["cold_items"].users == 40, "item 39 was held out of everybody"
    assert evaluation.segments["head_items"].users <= 40


def test_differences_are_paired(evaluation: Evaluation) -> None:
    gaps = evaluation.differences["two_tower"]
    assert set(gaps) == {"best", "none"}
    assert gaps["best"]["ndcg@10"].below_zero
    assert gaps["none"]["ndcg@10"].above_zero
    half = evaluation.models["two_tower"]["ndcg@10"]
    assert gaps["none"]["ndcg@10"] == half, "against nothing, the difference is the value on the same draws"


def test_json_has_the_binding_shape(evaluation: Evaluation) -> None:
    text = msgspec.json.encode(evaluation)
    plain = msgspec.json.decode(text)
    assert b"NaN" not in text
    assert set(plain["models"]["two_tower"]["recall@20"]) == {"value", "low", "high"}
    for figures in plain["models"].values():
        for interval in figures.values():
            assert interval["low"] <= interval["value"] <= interval["high"]
    assert msgspec.json.decode(text, type=Evaluation) == evaluation


def test_a_slow_model_is_asked_for_a_sample(split: Split, facts: ItemFacts) -> None:
    rankers: dict[str, Ranker] = {"two_tower": Clairvoyant(split), "served": HalfBlind(split)}
    settings = JudgeSettings(samples={"served": 30}, resamples=100)
    found = judge(rankers, split, facts, settings)
    assert found.judged["two_tower"] == 40
    assert 0 < found.judged["served"] < 30
    assert found.differences["two_tower"]["served"]["recall@20"].value == pytest.approx(
        1 - found.models["served"]["recall@20"].value
    )


def test_a_sample_of_users_is_seeded(split: Split) -> None:
    one, again = (judged_users(split, JudgeSettings(max_users=10, seed=4)) for _ in range(2))
    other = judged_users(split, JudgeSettings(max_users=10, seed=5))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len(one) == 10


def test_equal_runs_are_equal(split: Split, facts: ItemFacts, evaluation: Evaluation) -> None:
    rankers: dict[str, Ranker] = {"two_tower": HalfBlind(split), "best": Clairvoyant(split), "none": Mute()}
    assert judge(rankers, split, facts, JudgeSettings(resamples=200)) == evaluation


def test_progress_names_every_model(split: Split, facts: ItemFacts) -> None:
    told: list[str] = []
    judge({"a": Mute(), "b": Mute()}, split, facts, JudgeSettings(resamples=10), told.append)
    assert told == ["a", "b"]


def test_cold_user_splits_are_judged_whole() -> None:
    """With five known items a held-out user counts as warm; the headline still speaks of all of them."""
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(30), 20)
    items = np.concatenate([rng.permutation(N_ITEMS)[:20] for _ in range(30)])
    events = Interactions.from_events(users, items, np.arange(600), np.ones(600), 30, N_ITEMS)
    for support, split in cold_users(events, 0.5, (0, 5)).items():
        found = judge({"best": Clairvoyant(split)}, split, item_facts(split.train), JudgeSettings(resamples=10))
        assert found.users == "all"
        assert found.judged == {"best": 15}
        assert found.counts["cold_users"] == (15 if support < COLD_BELOW else 0)


def test_groups_by_hand() -> None:
    lengths = np.array([4, 5, 6, 7, 8, 9, 50, 0])
    events = Interactions.from_events(
        np.repeat(np.arange(8), lengths), np.zeros(89, int), np.arange(89), np.ones(89), 8, 3
    )
    everybody = np.arange(8)
    assert warm_users(events, everybody).tolist() == [False, True, True, True, True, True, True, False]
    assert heavy_users(events, everybody).tolist() == [False] * 5 + [True, True, False]
    assert not heavy_users(events, np.array([0, 7])).any()


def test_head_is_the_fewest_items_with_half_of_the_events() -> None:
    counts = [5, 1, 3, 1]
    events = Interactions.from_events(
        np.zeros(10, int), np.repeat(np.arange(4), counts), np.arange(10), np.ones(10), 1, 4
    )
    facts = item_facts(events)
    assert facts.head.tolist() == [True, False, False, False]
    assert facts.cold.tolist() == [False, True, True, True]
    assert facts.holders.tolist() == [1, 1, 1, 1]
    assert facts.space_name == "holders"


def test_content_is_the_space_where_there_is_any(split: Split) -> None:
    assert item_facts(split.train, toy_model(N_ITEMS, n_cold=4)).space_name == "content"
    assert item_facts(split.train, toy_model(N_ITEMS, n_cold=4, featureless=True)).space_name == "holders"
