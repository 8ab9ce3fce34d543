"""The whole backtest on a small world: no leak from what is judged, every baseline there, tuned where it may be."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from contracts.errors import SplitImpossible
from contracts.interactions import Interactions
from contracts.schema import TimeMeaning
from data_sources.dataset import open_dataset
from data_sources.generator import WorldSettings, generate
from data_sources.indexed import IndexedDataset, index_dataset
from evaluation.judge import JudgeSettings
from evaluation.result import Evaluation
from evaluation.splits import Split, global_time_cut
from training_job import backtest as backtest_module
from training_job.backtest import (
    Contestants,
    Protocol,
    backtest,
    contestant_rankers,
    default_protocol,
    judge_contestants,
    judge_fitted,
    train_contestants,
)
from training_job.item_knn import fit_item_knn
from training_job.settings import Effort, TrainingSettings

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)
JUDGING = JudgeSettings(samples={"served": 50}, resamples=100)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> IndexedDataset:
    folder = tmp_path_factory.mktemp("world") / "dataset"
    generate(folder, WorldSettings(users=300, items=120))
    return index_dataset(open_dataset(folder))


@pytest.fixture(scope="module")
def split(indexed: IndexedDataset) -> Split:
    return global_time_cut(indexed.interactions, indexed.schema)


@pytest.fixture(scope="module")
def contestants(indexed: IndexedDataset, split: Split) -> Contestants:
    patch = pytest.MonkeyPatch()
    patch.setattr(backtest_module, "FACTORS", (8, 16))
    patch.setattr(backtest_module, "CONFIDENCES", (1.0, 10.0))
    trained = train_contestants(indexed, split, QUICK)
    patch.undo()
    return trained


@pytest.fixture(scope="module")
def evaluation(contestants: Contestants, indexed: IndexedDataset, split: Split) -> Evaluation:
    return judge_contestants(contestants, split, indexed, JUDGING)


BASELINES = {"two_tower", "served", "als", "als_tuned", "item_knn", "segment_popularity", "popularity"}


def test_every_baseline_is_judged(evaluation: Evaluation) -> None:
    assert set(evaluation.models) == BASELINES
    for figures in evaluation.models.values():
        assert {"recall@20", "ndcg@10", "coverage@20", "diversity@20", "cold_users_answered"} <= set(figures)
    assert set(evaluation.differences) == {"two_tower", "served"}
    assert evaluation.judged["served"] <= 50
    assert len(evaluation.settings["als_grid"]) == 4
    assert evaluation.settings["als_tuned"] in evaluation.settings["als_grid"]
    msgspec.json.encode(evaluation)


def test_nothing_that_is_judged_was_trained_on(contestants: Contestants, split: Split) -> None:
    validation = contestants.fitted.validation
    assert split.cut is not None
    assert split.test.times.min() > split.cut
    assert validation.tuning.test.times.max(initial=0) <= split.cut
    assert validation.train.times.max() <= validation.tuning.test.times.min()
    assert contestants.fitted.model.watermark <= split.cut


def test_what_is_held_out_changes_no_ranking(contestants: Contestants, indexed: IndexedDataset, split: Split) -> None:
    """Rankers that were given other held-out items answer the same."""
    rng = np.random.default_rng(0)
    test = split.test
    other = Interactions(rng.permutation(test.items), test.times, test.weights, test.offsets, test.n_items)
    users = split.judged[:40]
    ours = contestant_rankers(contestants, split, indexed)
    theirs = contestant_rankers(contestants, replace(split, test=other), indexed)
    for name, ranker in ours.items():
        assert np.array_equal(ranker.rank(users, 10), theirs[name].rank(users, 10)), name


def test_the_grid_chooses_its_best_point(contestants: Contestants) -> None:
    grid = contestants.grid
    assert contestants.tuned is not None
    best = max(grid, key=lambda point: grid[point])
    assert best == f"factors={contestants.tuned.factors.shape[1]} alpha={contestants.tuned.fold_in.alpha:g}"


def test_the_finished_training_is_judged_on_its_own_slice(contestants: Contestants, indexed: IndexedDataset) -> None:
    found = judge_fitted(contestants.fitted, indexed, JUDGING)
    assert found.protocol == "validation"
    assert set(found.models) == BASELINES - {"als_tuned"}
    assert found.counts["users_with_positives"] == len(contestants.fitted.validation.judging.judged)


def test_cold_users_compare_by_support(indexed: IndexedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest_module, "FACTORS", (8,))
    monkeypatch.setattr(backtest_module, "CONFIDENCES", (1.0,))
    found = backtest(indexed, Protocol.COLD_USERS, QUICK, JUDGING)
    assert found.users == "all"
    assert list(found.segments) == ["support_0", "support_1", "support_3", "support_5", "support_10"]
    assert found.models == found.segments["support_1"].models
    assert found.segments["support_0"].models["als"]["recall@20"].value == 0, "nothing to fold in"
    popularity = {name: of.models["popularity"]["recall@20"] for name, of in found.segments.items()}
    assert len(set(popularity.values())) == 1, "the same users, targets and mask for every support"
    assert found.segments["support_0"].models["served"]["cold_users_answered"].value == 1


def test_protocols_follow_the_data(indexed: IndexedDataset) -> None:
    def with_time(meaning: TimeMeaning) -> IndexedDataset:
        return replace(indexed, schema=msgspec.structs.replace(indexed.schema, time=meaning))

    assert default_protocol(indexed) is Protocol.GLOBAL_TIME
    assert default_protocol(with_time(TimeMeaning.ORDER)) is Protocol.LEAVE_LAST
    assert default_protocol(with_time(TimeMeaning.NONE)) is Protocol.RANDOM
    given = replace(with_time(TimeMeaning.NONE), is_test=np.zeros(len(indexed.interactions), bool))
    assert default_protocol(given) is Protocol.GIVEN
    with pytest.raises(SplitImpossible):
        backtest(with_time(TimeMeaning.NONE), Protocol.LEAVE_LAST, QUICK)


def test_item_knn_is_the_cosine_of_columns_of_unit_users() -> None:
    rng = np.random.default_rng(0)
    taken = rng.random((30, 12)) < 0.3
    users, items = np.nonzero(taken)
    events = Interactions.from_events(users, items, np.zeros(len(users), int), np.ones(len(users)), 30, 12)
    unit = taken / np.maximum(np.sqrt(taken.sum(axis=1, keepdims=True)), 1)
    norms = np.linalg.norm(unit, axis=0)
    cosine = (unit.T @ unit) / np.outer(norms, norms)
    np.fill_diagonal(cosine, 0)
    whole = fit_item_knn(events, threads=1).toarray()
    assert whole == pytest.approx(cosine, abs=1e-6)  # float32 weights
    few = fit_item_knn(events, neighbours=3, threads=1).toarray()
    assert ((few > 0).sum(axis=1) <= 3).all()
    kept = np.sort(few, axis=1)[:, -3:]
    assert kept == pytest.approx(np.sort(cosine, axis=1)[:, -3:], abs=1e-6)  # float32 weights
