"""Figures by day after a training that is not repeated, with frozen and with live histories, and what a warm start is.

Every question of `quality_questions` is asked of every model; what is left out and what is to be found are the same
in every line, only what is read of the history differs. A user's questions are averaged before users are. Popularity
has no history: where histories are read anew each day, it is counted anew each day. Beside the towers stand those that
were trained a week earlier, and those with a warm start from them on the events of that week.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.live_figures import mean_ratio
from benchmarks.quality_models import train_als, train_popularity, train_towers
from benchmarks.quality_process import alone
from benchmarks.quality_questions import DAY_SECONDS, DAYS, READINGS, Questions, as_split, find_questions
from benchmarks.quality_rows import Cost, Options, Row, spread
from benchmarks.quality_sets import named, prepared
from contracts.fitted import Bundle, from_bundle, to_bundle
from contracts.interactions import Interactions
from data_sources.streamed import index_folder
from evaluation.bootstrap import mean_intervals
from evaluation.metrics.hits import find_hits
from evaluation.metrics.ndcg import ndcg
from evaluation.metrics.recall import recall
from evaluation.rankers import Ranker, als_ranker, popularity_ranker, two_tower_ranker
from evaluation.splits import Split
from training_job.settings import TrainingSettings
from training_job.vocabulary import encode_table

SOURCES: Final = {"ml-1m-days": "ml-1m-half", "world-days": "world"}
WEEK: Final = f"days 1 to {DAYS}"
FROZEN, DAILY, LIVE = READINGS
TOWERS, ALS, POPULARITY = "two_tower", "als_tuned", "popularity"
OLDER, WARM = "two_tower, a week older", "two_tower, warm start"
GROUPS: Final = {
    "returning": ("users with 5 events or more at the cut", (FROZEN, DAILY, LIVE)),
    "newcomers": ("users who came to 5 events after the cut", (DAILY, LIVE)),
}
"""Group → who it is, and the readings that have something to read."""
RATIOS: Final = (
    ((TOWERS, FROZEN), (ALS, FROZEN)),
    ((TOWERS, DAILY), (ALS, DAILY)),
    ((TOWERS, LIVE), (ALS, LIVE)),
    ((TOWERS, LIVE), (POPULARITY, DAILY)),
    ((TOWERS, LIVE), (TOWERS, FROZEN)),
    ((ALS, LIVE), (ALS, FROZEN)),
    ((WARM, LIVE), (TOWERS, LIVE)),
    ((OLDER, LIVE), (TOWERS, LIVE)),
)


@dataclass(frozen=True)
class Answered:
    """What a model is worth to each question, and what it cost."""

    values: dict[tuple[str, str], NDArray[np.float64]]
    """(reading, metric) → [q]"""
    cost: Cost


def measure(part: str, options: Options) -> list[Row]:
    """Train at the cut and a week before it, and ask every model every question; one seed."""
    settings = options.settings
    with prepared(SOURCES[part], options) as folder:
        questions = alone(_questions, folder)
        towers, _ = alone(answer_towers, folder, settings, READINGS)
        older, release = alone(answer_towers, folder, settings, (LIVE,), DAYS)
        warm, _ = alone(answer_towers, folder, settings, (LIVE,), 0, release)
        als, popularity = (alone(answer, folder, settings) for answer in (answer_als, answer_popularity))
    answered = {TOWERS: towers, WARM: warm, OLDER: older, ALS: als, POPULARITY: popularity}
    row = partial(Row, part=part, dataset=named(SOURCES[part], options), seed=options.seed)
    rows = []
    for group, (who, readings) in GROUPS.items():
        chosen = questions.returning == (group == "returning")
        mine, protocol = questions.take(chosen), f"cut {_date(questions.cut)}; {who}"
        theirs = {
            (model, reading, metric): per_user(mine, values[chosen])
            for model, of in answered.items()
            for (reading, metric), values in of.values.items()
            if reading in readings
        }
        costs = {model: of.cost for model, of in answered.items()}
        rows += _figures(partial(row, protocol=protocol), theirs, costs, options.seed)
        rows += _ratios(partial(row, protocol=protocol), theirs, options.seed)
    return rows


def _date(cut: int) -> str:
    return str(np.datetime64(cut, "s").astype("datetime64[D]"))


def _questions(folder: Path) -> Questions:
    return find_questions(index_folder(folder).interactions)


def answer_towers(
    folder: Path,
    settings: TrainingSettings,
    readings: tuple[str, ...],
    days_older: int = 0,
    warm_start: Bundle | None = None,
) -> tuple[Answered, Bundle]:
    """Towers of the events up to some days before the cut, perhaps from earlier ones; also as a bundle."""
    indexed = index_folder(folder)
    events, questions = indexed.interactions, find_questions(indexed.interactions)
    train = events.select(events.times < questions.cut - days_older * DAY_SECONDS)
    model, cost = train_towers(indexed, train, settings, from_bundle(warm_start) if warm_start else None)
    features = encode_table(model.user_encoder, indexed.users)

    def ranker(split: Split, asked: Questions, _reading: str, _day: int) -> Ranker:
        return two_tower_ranker(model, split, features.take(asked.users))

    return Answered(ask(events, questions, ranker, readings), cost), to_bundle(model)


def answer_als(folder: Path, settings: TrainingSettings) -> Answered:
    """Tuned ALS of the events before the cut, every history folded in."""
    indexed = index_folder(folder)
    events, questions = indexed.interactions, find_questions(indexed.interactions)
    als, cost = train_als(indexed, events.select(events.times < questions.cut), settings)
    return Answered(ask(events, questions, lambda split, *_: als_ranker(als.fold_in, als.factors, split)), cost)


def answer_popularity(folder: Path, settings: TrainingSettings) -> Answered:
    """What was popular at the cut, and what was at the start of each day."""
    indexed = index_folder(folder)
    events, questions = indexed.interactions, find_questions(indexed.interactions)
    popularity, cost = train_popularity(indexed, events.select(events.times < questions.cut), settings)

    def ranker(split: Split, asked: Questions, reading: str, day: int) -> Ranker:
        start = asked.cut + (day - 1) * DAY_SECONDS
        counted = events.select(events.times < start) if reading == DAILY else None
        return popularity_ranker(popularity.order(counted), split.known)

    return Answered(ask(events, questions, ranker, (FROZEN, DAILY)), cost)


def ask(
    events: Interactions,
    questions: Questions,
    ranker: Callable[[Split, Questions, str, int], Ranker],
    readings: tuple[str, ...] = READINGS,
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Recall@20 and NDCG@10 of each question by each reading, a day at a time."""
    values = {(reading, metric): np.full(len(questions), np.nan) for reading in readings for metric in _METRICS}
    for day, places in questions.of_days():
        asked = questions.take(places)
        for reading in readings:
            split = as_split(events, asked, reading)
            lines = np.arange(len(asked))
            hits = find_hits(ranker(split, asked, reading, day).rank(lines, 20), split.test, lines)
            for metric, (measured, k) in _METRICS.items():
                values[reading, metric][places] = measured(hits, k)
    return values


_METRICS: Final = {"recall@20": (recall, 20), "ndcg@10": (ndcg, 10)}


def per_user(questions: Questions, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of each user's questions, by day and over the week [users, DAYS + 1]; NaN where a user has none."""
    _, lines = np.unique(questions.users, return_inverse=True)
    shape = (lines.max(initial=-1) + 1, DAYS)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (lines, questions.days - 1), values)
    np.add.at(counts, (lines, questions.days - 1), 1)
    whole = sums.sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True)
    daily = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    return np.concatenate([daily, whole], axis=1)


_Theirs = Mapping[tuple[str, str, str], NDArray[np.float64]]
"""(model, reading, metric) → [users, DAYS + 1]"""


def _figures(row: Callable[..., Row], theirs: _Theirs, costs: Mapping[str, Cost], seed: int) -> list[Row]:
    cases = [*(f"day {day}" for day in range(1, DAYS + 1)), WEEK]
    rows = []
    for (model, reading, metric), values in theirs.items():
        users = np.count_nonzero(~np.isnan(values), axis=0)
        named_so = {"model": f"{model}; {reading}", "metric": metric, **costs[model]._asdict()}
        rows += [
            row(case=case, users=int(number), **spread(interval), **named_so)
            for case, interval, number in zip(cases, mean_intervals(values, seed), users, strict=True)
            if number
        ]
    return rows


def _ratios(row: Callable[..., Row], theirs: _Theirs, seed: int) -> list[Row]:
    """Over the whole week, of the same users."""
    rows = []
    for metric in _METRICS:
        for ours, rival in RATIOS:
            if (*ours, metric) not in theirs or (*rival, metric) not in theirs:
                continue
            first, second = (theirs[*side, metric][:, -1] for side in (ours, rival))
            if not second.any():
                continue
            name = f"{ours[0]}; {ours[1]} over {rival[0]}; {rival[1]}"
            ratio = spread(mean_ratio(first, second, seed))
            rows.append(row(model=name, metric=f"{metric}, ratio", users=len(first), **ratio))
    return rows
