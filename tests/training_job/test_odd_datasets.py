"""Odd data ends with a model that serves, or with a refusal that says what is missing; the gate names its baselines."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from contracts.candidates import Candidates
from contracts.deadline import Deadline
from contracts.errors import NotEnoughData, TrainingDiverged
from contracts.fitted import AlsArrays, from_bundle, to_bundle
from contracts.profile import HistoryEvent, Profile
from contracts.release import GateReport, Verdict
from contracts.request import RecommendationRequest
from contracts.schema import TimeMeaning
from data_sources.indexed import IndexedDataset, index_dataset
from retrieval.als import LONGEST_PIECE, fold_in, fold_in_many
from retrieval.opened import OpenModel, open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from retrieval.similar import similar_items
from tests.training_job.odd_datasets import REFUSED, SERVED, TIMED_ONLY, dataset, weighing
from training_job.fit import Fitted, fit
from training_job.gate import judge_candidate
from training_job.settings import Effort, TrainingSettings
from training_job.validation import hold_out

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)
TIMES = list(TimeMeaning)
COLLAPSES = {"one user has almost all, first", "one user has almost all, last"}
"""One user took everything equally often, so no two items differ: the gate may block that."""


def _trained(indexed: IndexedDataset) -> tuple[Fitted, OpenModel, GateReport]:
    fitted = fit(indexed, indexed.interactions, QUICK)
    opened = open_model(from_bundle(to_bundle(fitted.model)))
    return fitted, opened, judge_candidate(opened.fitted, fitted.validation.judging, None, indexed, release="r")


def _asked(model: OpenModel, profile: Profile, indexed: IndexedDataset) -> Candidates:
    now = int(indexed.interactions.times.max())
    request = RecommendationRequest(num_items=5)
    return find_candidates(model, model.index, profile, request, RetrievalSettings(), Deadline.never(), now)


def _known(indexed: IndexedDataset) -> Profile:
    """The user with the longest history."""
    events = indexed.interactions
    user = int(events.lengths.argmax())
    ids = indexed.item_ids.gather(events.items[events.of(user)])
    recent = list(zip(ids.to_list(), events.times[events.of(user)].tolist(), strict=True))[-100:]
    history = [HistoryEvent(item, time) for item, time in recent]
    seen = ids.unique().to_list()
    return Profile(user_id=indexed.user_ids[user], history=history, n_events=int(events.lengths[user]), seen=seen)


def _check_served(model: OpenModel, indexed: IndexedDataset) -> None:
    """Somebody known, somebody unknown and somebody looking at an item are all answered, by numbers."""
    known, n_items = _known(indexed), len(indexed.item_ids)
    answer, stranger = _asked(model, known, indexed), _asked(model, Profile(), indexed)
    hottest = int(indexed.interactions.item_counts().argmax())
    similar = [similar_items(model, row, 5, 0) for row in {hottest, n_items - 1}]
    assert len(answer.rows) >= min(5, n_items - len(known.seen))
    assert not set(answer.rows.tolist()) & set(model.items.ids.rows(known.seen).tolist())
    assert len(stranger.rows) >= min(5, int(np.count_nonzero(model.items.events)))
    assert {len(found.rows) for found in similar} == {min(5, n_items - 1)}
    assert all(np.isfinite(found.scores).all() for found in (answer, stranger, *similar))


def _check_judged(report: GateReport, may_collapse: bool) -> None:
    """Nothing is broken, and both baselines are named with what is known of them."""
    checks = {check.name: check for check in report.checks}
    blocking = {name for name, check in checks.items() if check.verdict is Verdict.BLOCK}
    assert blocking <= ({"collapse"} if may_collapse else set())
    for baseline in ("popularity", "als"):
        assert baseline in checks[baseline].detail
        assert checks[baseline].verdict is Verdict.WARN
        assert checks[baseline].detail.startswith(("too few users to say whether", "no user to compare"))


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("name", SERVED)
def test_odd_data_ends_with_a_model_that_serves(name: str, time: TimeMeaning) -> None:
    indexed = index_dataset(SERVED[name](time))
    fitted, model, report = _trained(indexed)
    assert not fitted.report["recovered_from_divergence"]
    _check_served(model, indexed)
    _check_judged(report, name in COLLAPSES)


@pytest.mark.parametrize("name", TIMED_ONLY)
def test_where_nobody_can_be_tuned_on_the_gate_says_that_there_is_nobody(name: str) -> None:
    indexed = index_dataset(TIMED_ONLY[name](TimeMeaning.TIMESTAMP))
    fitted, model, report = _trained(indexed)
    assert fitted.report["counts"]["tuning_users"] == 0
    _check_served(model, indexed)
    detail = next(check.detail for check in report.checks if check.name == "popularity")
    assert detail.startswith("no user to compare two_tower with popularity on. Nobody in the judged half")


@pytest.mark.parametrize("time", [TimeMeaning.ORDER, TimeMeaning.NONE])
@pytest.mark.parametrize("name", ["one event each", "one item each, again and again"])
def test_without_time_somebody_must_have_two_items(name: str, time: TimeMeaning) -> None:
    indexed = index_dataset(TIMED_ONLY[name](time))
    with pytest.raises(NotEnoughData, match="nobody has two different items of positive weight") as refused:
        fit(indexed, indexed.interactions, QUICK)
    assert "two different items" in refused.value.fix


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learned_from_is_refused_with_what_is_missing(name: str, time: TimeMeaning) -> None:
    make, found, fix = REFUSED[name]
    indexed = index_dataset(make(time))
    with pytest.raises(NotEnoughData) as refused:
        fit(indexed, indexed.interactions, QUICK)
    assert found in refused.value.message
    assert fix in refused.value.fix


@pytest.mark.parametrize("weight", [1e30, float("inf")])
def test_weights_that_no_arithmetic_holds_are_named(weight: float) -> None:
    indexed = index_dataset(weighing(TimeMeaning.TIMESTAMP, weight))
    with pytest.raises(TrainingDiverged, match=r"event weights .* go up to") as refused:
        fit(indexed, indexed.interactions, QUICK)
    assert "event_weights" in refused.value.fix


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("name", ["100,000 repeats by one user", "every event three times"])
def test_a_slice_of_repeats_is_cut_by_what_was_new(name: str, time: TimeMeaning) -> None:
    """Everybody's news can judge, not only what came last; time and order stay what they are."""
    indexed = index_dataset(SERVED[name](time))
    events = indexed.interactions
    validation = hold_out(events, indexed.schema, indexed.user_ids, 0)
    judged = [*validation.tuning.judged.tolist(), *validation.judging.judged.tolist()]
    assert len(judged) >= 8
    if time is TimeMeaning.TIMESTAMP:
        assert validation.train.times.max() < min(
            validation.tuning.test.times.min(), validation.judging.test.times.min()
        )
    if time is TimeMeaning.ORDER and name == "every event three times":
        first = {user: validation.train.times[validation.train.of(user)].max() for user in judged}
        halves = (validation.tuning.test, validation.judging.test)
        found = {
            user: half.times[half.of(user)].min() for half in halves for user in np.flatnonzero(half.lengths).tolist()
        }
        assert all(first[user] <= found[user] for user in judged)


def test_texts_find_items_that_nobody_took() -> None:
    """No item has events enough to be hot, and yet those of the slice must not be too short to be found."""
    indexed = index_dataset(SERVED["texts only, each item once"](TimeMeaning.TIMESTAMP))
    measured = fit(indexed, indexed.interactions, QUICK).report["validation"]
    assert measured["two_tower"]["ndcg@20"] > 0.1 > measured["popularity"]["ndcg@20"]


def test_fifty_thousand_items_that_one_user_took_each() -> None:
    make = partial(dataset, (np.arange(50_000) % 250, np.arange(50_000)))
    indexed = index_dataset(make(TimeMeaning.NONE))
    _, model, report = _trained(indexed)
    _check_served(model, indexed)
    _check_judged(report, may_collapse=False)


def test_a_history_longer_than_a_piece_folds_in_like_any_other() -> None:
    random = np.random.default_rng(0)
    factors = random.standard_normal((50, 8)).astype(np.float32)
    als = AlsArrays((factors.T @ factors).astype(np.float32), alpha=2.0, regularisation=10.0)
    lengths = np.array([2 * LONGEST_PIECE + 5, 0, 3, LONGEST_PIECE])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows, weights = random.integers(0, 50, offsets[-1]), random.choice([-1.0, 0.0, 1.0], offsets[-1])
    folded = fold_in_many(als, factors, rows, weights, offsets)
    for user, (start, end) in enumerate(pairwise(offsets.tolist())):
        alone = fold_in(als, factors[rows[start:end]], weights[start:end])
        np.testing.assert_allclose(folded[user], alone, rtol=1e-5, atol=1e-6)
