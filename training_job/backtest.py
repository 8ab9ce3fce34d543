"""Backtest: split the events, train on one part as a release would be trained, judge on the other beside baselines.

    events ─▶ split ─▶ fit on the training part ─▶ rankers ─▶ judge

All models learn from the same events (training keeps its validation slice out, so the baselines do without it, too) and
all read the same histories when they rank. What needs choosing is chosen on the tuning half of that slice, never on
what is judged. `tandem evaluate`, the demo and the benchmarks call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product
from typing import Any, Final

import msgspec

from data_sources.indexed import IndexedDataset
from evaluation.facts import item_facts
from evaluation.judge import JudgeSettings, judge
from evaluation.metrics.hits import find_hits
from evaluation.metrics.ndcg import ndcg
from evaluation.rankers import (
    ItemKnnRanker,
    Ranker,
    als_ranker,
    popular_list,
    popularity_ranker,
    segment_popularity_ranker,
    two_tower_ranker,
)
from evaluation.result import Evaluation, Segment
from evaluation.served import ServedRanker
from evaluation.splits import Split, cold_users, given_split, global_time_cut, leave_last_out, random_hold_out
from retrieval.opened import open_model
from retrieval.settings import RetrievalSettings
from training_job.als import FittedAls, fit_als
from training_job.baselines import SEARCH_ITERATIONS
from training_job.fit import Fitted, fit
from training_job.gate import Candidacy
from training_job.item_knn import fit_item_knn
from training_job.loop import Progress, silent
from training_job.settings import TrainingSettings
from training_job.validation import Validation
from training_job.vocabulary import encode_table

FACTORS: Final = (64, 256)
CONFIDENCES: Final = (0.3, 1.0, 3.0, 10.0, 40.0)
"""Grid of the tuned ALS: the served one has 64 factors; 256 are its best on sparse data, at four times the memory."""

TUNING_USERS: Final = 2_000
"""Users on whom the grid is scored: enough to tell neighbours of the grid apart."""

SERVED_SAMPLE: Final = 2_000
"""Users whose whole slate is computed, at some milliseconds each."""

HEADLINE_SUPPORT: Final = 1
"""Known items of a cold user that the headline is about: personal after the first event is the promise."""


class Protocol(StrEnum):
    """How events are split; see `evaluation.splits`."""

    GLOBAL_TIME = "global-time"
    LEAVE_LAST = "leave-last"
    GIVEN = "given"
    COLD_USERS = "cold-users"
    RANDOM = "random"


@dataclass(frozen=True)
class Contestants:
    """Everything that is judged, trained once."""

    fitted: Fitted
    similarity: Any
    """[n_items, n_items] sparse, see `fit_item_knn`."""
    served_model: str
    tuned: FittedAls | None = None
    grid: dict[str, float] = field(default_factory=dict)
    """Point of the ALS grid → NDCG@10 on the tuning half."""


def default_protocol(indexed: IndexedDataset) -> Protocol:
    """The split that came with the data, else a cut in time, else the last events, else chance."""
    if indexed.is_test is not None:
        return Protocol.GIVEN
    if indexed.schema.timed:
        return Protocol.GLOBAL_TIME
    return Protocol.LEAVE_LAST if indexed.schema.ordered else Protocol.RANDOM


def backtest(
    indexed: IndexedDataset,
    protocol: Protocol,
    settings: TrainingSettings,
    judging: JudgeSettings | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Train once and judge everything.

    Raises SplitImpossible where the data do not allow the protocol, NotEnoughData, TrainingDiverged.
    """
    judging = judging or JudgeSettings(seed=settings.seed, samples={"served": SERVED_SAMPLE})
    splits = _splits(indexed, protocol, settings.seed)
    first = next(iter(splits.values()))
    contestants = train_contestants(indexed, first, settings, progress)
    evaluations = {
        support: judge_contestants(contestants, split, indexed, judging, progress) for support, split in splits.items()
    }
    return next(iter(evaluations.values())) if len(evaluations) == 1 else _by_support(evaluations)


def _splits(indexed: IndexedDataset, protocol: Protocol, seed: int) -> dict[int, Split]:
    """The split of a protocol; for cold users one for each number of known items."""
    events, schema = indexed.interactions, indexed.schema
    if protocol is Protocol.COLD_USERS:
        return cold_users(events, seed=seed)
    cuts: dict[Protocol, Callable[[], Split]] = {
        Protocol.GLOBAL_TIME: lambda: global_time_cut(events, schema),
        Protocol.LEAVE_LAST: lambda: leave_last_out(events, schema),
        Protocol.GIVEN: lambda: given_split(events, indexed.is_test),
        Protocol.RANDOM: lambda: random_hold_out(events, seed=seed),
    }
    return {0: cuts[protocol]()}


def judge_fitted(
    fitted: Fitted,
    indexed: IndexedDataset,
    judging: JudgeSettings | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a training that is done on the half of its slice that it never looked at, beside the quick baselines."""
    judging = judging or JudgeSettings(samples={"served": SERVED_SAMPLE})
    return judge_contestants(_contestants(fitted, indexed), fitted.validation.judging, indexed, judging, progress)


def train_contestants(
    indexed: IndexedDataset, split: Split, settings: TrainingSettings, progress: Progress | None = None
) -> Contestants:
    """Fit the towers (with the served ALS, popularity and content) and the baselines on the same events."""
    tell = progress or silent
    fitted = fit(indexed, split.train, settings, progress=progress)
    tell(0, 1, "item-kNN")
    contestants = _contestants(fitted, indexed, settings.threads)
    tuned, grid = tune_als(fitted.validation, settings, tell)
    return replace(contestants, tuned=tuned, grid=grid)


def _contestants(fitted: Fitted, indexed: IndexedDataset, threads: int = 0) -> Contestants:
    """What needs no choosing: item-kNN, and the model that the gate would let answer."""
    similarity = fit_item_knn(fitted.validation.train, threads=threads)
    candidacy = Candidacy(fitted.model, fitted.validation.judging, None, indexed, "two_tower")
    return Contestants(fitted, similarity, candidacy.served_model)


def tune_als(validation: Validation, settings: TrainingSettings, tell: Progress) -> tuple[FittedAls, dict[str, float]]:
    """ALS at the best point of the grid by NDCG@10 on the tuning half, fitted in full, and all scores of the grid."""
    tuning, seed, threads = validation.tuning, settings.seed, settings.threads
    users = tuning.judged[tuning.histories.lengths[tuning.judged] > 0]
    users = users[:: max(1, len(users) // TUNING_USERS)]
    scores: dict[tuple[int, float], float] = {}
    for number, (factors, alpha) in enumerate(product(FACTORS, CONFIDENCES)):
        tell(number, len(FACTORS) * len(CONFIDENCES), f"ALS grid: {factors} factors, alpha {alpha:g}")
        als = fit_als(tuning.train, factors, alpha, iterations=SEARCH_ITERATIONS, seed=seed, threads=threads)
        rows = als_ranker(als.fold_in, als.factors, tuning).rank(users, 10)
        values = ndcg(find_hits(rows, tuning.test, users), 10)
        scores[factors, alpha] = float(values.mean()) if len(values) else 0.0
    factors, alpha = max(scores, key=lambda point: scores[point])
    best = fit_als(tuning.train, factors, alpha, seed=seed, threads=threads)
    return best, {f"factors={factors} alpha={alpha:g}": score for (factors, alpha), score in scores.items()}


def contestant_rankers(contestants: Contestants, split: Split, indexed: IndexedDataset) -> dict[str, Ranker]:
    """The models as they would answer on one split, strongest claims first."""
    model, tuned = contestants.fitted.model, contestants.tuned
    retrieval = RetrievalSettings(served_model=contestants.served_model)
    rankers: dict[str, Ranker] = {
        "two_tower": two_tower_ranker(model, split, encode_table(model.user_encoder, indexed.users)),
        "served": ServedRanker(open_model(model), split, indexed.users, retrieval),
        "als": als_ranker(model.als, model.items.als, split),
    }
    if tuned is not None:
        rankers["als_tuned"] = als_ranker(tuned.fold_in, tuned.factors, split)
    rankers["item_knn"] = ItemKnnRanker(contestants.similarity, split)
    if model.schema.segment:
        rankers["segment_popularity"] = segment_popularity_ranker(model, indexed.users, split)
    rankers["popularity"] = popularity_ranker(popular_list(model, contestants.fitted.validation.train), split.known)
    return rankers


def judge_contestants(
    contestants: Contestants,
    split: Split,
    indexed: IndexedDataset,
    judging: JudgeSettings,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge them on one split, and say in the settings how they were made."""
    rankers = contestant_rankers(contestants, split, indexed)
    tell, names = progress or silent, list(rankers)
    evaluation = judge(
        rankers,
        split,
        item_facts(split.train, contestants.fitted.model),
        judging,
        lambda name: tell(names.index(name), len(names), f"judging: {name}"),
    )
    made = {
        "training": {name: contestants.fitted.report[name] for name in ("seed", "effort", "counts")},
        "served_model": contestants.served_model,
        "als_alpha": contestants.fitted.model.als.alpha,
        "als_grid": contestants.grid,
        "als_tuned": max(contestants.grid, key=lambda point: contestants.grid[point], default=None),
    }
    return msgspec.structs.replace(evaluation, settings=evaluation.settings | made)


def _by_support(evaluations: dict[int, Evaluation]) -> Evaluation:
    """One evaluation of all supports: the headline from HEADLINE_SUPPORT known items, a segment for each number."""
    headline = evaluations[HEADLINE_SUPPORT]
    segments = {
        f"support_{support}": Segment(
            f"new users of whom {support} random items are known", of.counts["users_judged"], of.models
        )
        for support, of in evaluations.items()
    }
    settings = headline.settings | {"headline_support": HEADLINE_SUPPORT}
    return msgspec.structs.replace(headline, segments=segments, settings=settings)
