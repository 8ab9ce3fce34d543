"""New users: each of ML-1M's users held out whole in one of ten folds, k random films of each known.

Training never meets them. All ten films that could be known are left out of every ranking for every k, and what is to
be found is everything else that they watched, so the columns compare, and intervals are over the users of all folds.
Beside the towers and the policy that serves stand ALS with the same films folded in, at the confidence that a tenth of
the training users (held out whole, likewise) chooses for each k; at the confidence that is best for it in each column
on the very users that are judged, which no rule could choose; popularity; and popularity in the best of the segments
(each feature of the schema's segment and every combination), which the judged users choose, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Final

import msgspec
import numpy as np

from benchmarks.live_figures import PerUser, mean_ratio
from benchmarks.quality_models import train_towers
from benchmarks.quality_process import alone, costing, tell
from benchmarks.quality_rows import Aims, Cost, Options, Row, aimed, spread
from benchmarks.quality_sets import named, prepared
from contracts.fitted import FittedModel
from contracts.interactions import Interactions
from data_sources.indexed import IndexedDataset
from data_sources.streamed import index_folder
from evaluation.bootstrap import mean_intervals
from evaluation.metrics.hits import find_hits
from evaluation.metrics.recall import recall
from evaluation.rankers import (
    Ranker,
    als_ranker,
    popular_list,
    popularity_ranker,
    segment_popularity_ranker,
    two_tower_ranker,
)
from evaluation.served import ServedRanker
from evaluation.splits import SUPPORTS, Split, cold_user_fold, cold_users
from retrieval.opened import open_model
from training_job.als import ITERATIONS, FittedAls, fit_als
from training_job.baselines import SEARCH_ITERATIONS
from training_job.popularity import fit_popularity
from training_job.recipe import DIMENSIONS
from training_job.settings import TrainingSettings
from training_job.vocabulary import encode_table

K: Final = 20
METRIC: Final = "recall@20"
FOLDS: Final = 10
CONFIDENCES: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 40.0)
"""On ML-100K .3 is best: the grid must not end there."""
TOWERS, SERVED, ALS, BEST_ALS = "two_tower", "served", "als fold-in, tuned", "als fold-in, best on the judged"
POPULARITY, BEST_SEGMENT = "popularity", "best segment popularity"
AT, SEGMENT = "als at ", "popularity in "
"""Beginnings of the names of what the judged users choose from."""
AIMS: Final[dict[int, Aims]] = {0: (1.0, 1.05), 1: (1.43, 1.6), 3: (1.22, 1.4), 5: (1.13, 1.25)}
"""Known films → the towers' recall over that of tuned ALS (0: of the best segment popularity), to reach."""

Columns = dict[tuple[str, int], PerUser]
"""(model, known films) → Recall@20 of each user."""


@dataclass(frozen=True)
class Judged:
    """What a fold's users get of some models, and what each training took."""

    recalls: Columns
    costs: dict[str, Cost]


def measure(part: str, options: Options, source: str = "ml-1m-whole") -> list[Row]:
    """Recall@20 for each number of known films, and the towers' over that of the rivals; one seed."""
    folds: list[Judged] = []
    number = min(options.folds or FOLDS, FOLDS)
    with prepared(source, options) as folder:
        for fold in range(number):
            tell(f"fold {fold + 1} of {number}")
            towers, als = (alone(judge, folder, fold, options.settings) for judge in (judge_towers, judge_als))
            folds.append(Judged(towers.recalls | als.recalls, towers.costs | als.costs))
    columns, notes = with_best({key: np.concatenate([of.recalls[key] for of in folds]) for key in folds[0].recalls})
    row = partial(
        Row,
        part=part,
        dataset=named(source, options),
        protocol=f"users held out whole, {number} of {FOLDS} folds; k random items known",
        users=len(next(iter(columns.values()))),
        seed=options.seed,
    )
    costs = {model: _mean([of.costs[model] for of in folds]) for model in folds[0].costs}
    return _figures(row, columns, notes, costs) + _ratios(row, columns, options.seed)


def _mean(costs: list[Cost]) -> Cost:
    """Mean seconds of a fold's training, and the most memory that one took."""
    return Cost(round(fmean(cost.cpu_seconds for cost in costs), 1), max(cost.peak_gb for cost in costs))


def judge_towers(folder: Path, fold: int, settings: TrainingSettings) -> Judged:
    """The towers, the policy that serves with them, and the popularity of the same release."""
    indexed = index_folder(folder)
    splits = cold_user_fold(indexed.interactions, fold, FOLDS, SUPPORTS, settings.seed)
    model, cost = train_towers(indexed, splits[0].train, settings)
    release, features = open_model(model), encode_table(model.user_encoder, indexed.users)
    recalls: Columns = {}
    for known, split in splits.items():
        recalls[TOWERS, known] = recall_of(two_tower_ranker(model, split, features), split)
        recalls[SERVED, known] = recall_of(ServedRanker(release, split, indexed.users), split)
    for name, ranker in popularities(model, indexed, splits[0]).items():  # the same for every number of known films
        recalls[name, 0] = recall_of(ranker, splits[0])
    return Judged(recalls, {TOWERS: cost, SERVED: cost})


def popularities(model: FittedModel, indexed: IndexedDataset, split: Split) -> dict[str, Ranker]:
    """Popularity, and popularity in every combination of the segment's features, as a release would count it."""
    schema, train = indexed.schema, split.train
    names = [name for name in schema.segment if name in indexed.users.columns]
    rankers: dict[str, Ranker] = {POPULARITY: popularity_ranker(popular_list(model, train), split.known)}
    no_category = np.full(train.n_items, -1, np.int32)
    for chosen in (chosen for size in range(1, len(names) + 1) for chosen in combinations(names, size)):
        segmented = msgspec.structs.replace(schema, segment=chosen)
        tables = fit_popularity(train, segmented, indexed.users, (no_category, []), model.items.published, None)
        counted = replace(model, schema=segmented, popularity=tables)
        rankers[SEGMENT + " × ".join(chosen)] = segment_popularity_ranker(counted, indexed.users, split)
    return rankers


def judge_als(folder: Path, fold: int, settings: TrainingSettings) -> Judged:
    """ALS at every confidence, and at the one that a tenth of the training users chooses for each column."""
    splits = cold_user_fold(index_folder(folder).interactions, fold, FOLDS, SUPPORTS, settings.seed)
    train = splits[0].train
    (chosen, confident), cost = costing(lambda: (choose_confidences(train, settings), _confident(train, settings)))
    recalls: Columns = {}
    for known, split in splits.items():
        if known:
            of = {
                alpha: recall_of(als_ranker(als.fold_in, als.factors, split), split) for alpha, als in confident.items()
            }
            recalls |= {(f"{AT}{alpha:g}", known): values for alpha, values in of.items()}
            recalls[ALS, known] = of[chosen[known]]
    return Judged(recalls, {ALS: cost})


def choose_confidences(train: Interactions, settings: TrainingSettings) -> dict[int, float]:
    """Known films → the confidence that is best for a tenth of the training users, held out whole."""
    splits = cold_users(train, supports=SUPPORTS, seed=settings.seed)
    confident = _confident(splits[0].train, settings, SEARCH_ITERATIONS)

    def worth(alpha: float, split: Split) -> float:
        als = confident[alpha]
        return float(recall_of(als_ranker(als.fold_in, als.factors, split), split).mean())

    return {known: max(CONFIDENCES, key=lambda alpha: worth(alpha, split)) for known, split in splits.items() if known}


def _confident(train: Interactions, settings: TrainingSettings, iterations: int = ITERATIONS) -> dict[float, FittedAls]:
    return {
        alpha: fit_als(train, DIMENSIONS, alpha, iterations=iterations, seed=settings.seed, threads=settings.threads)
        for alpha in CONFIDENCES
    }


def recall_of(ranker: Ranker, split: Split) -> PerUser:
    """Recall@20 of each judged user."""
    return recall(find_hits(ranker.rank(split.judged, K), split.test, split.judged), K)


def with_best(recalls: Columns) -> tuple[Columns, dict[tuple[str, int], str]]:
    """The columns of the table, and of those that the judged users chose, what they chose."""
    columns = {key: values for key, values in recalls.items() if not key[0].startswith((AT, SEGMENT))}
    notes = {}
    for known in sorted({known for _, known in recalls}):
        for best, prefix in ((BEST_ALS, AT), (BEST_SEGMENT, SEGMENT)):
            among = {name: values for (name, k), values in recalls.items() if k == known and name.startswith(prefix)}
            if among:
                chosen = max(among, key=lambda name: float(among[name].mean()))
                columns[best, known] = among[chosen]
                notes[best, known] = chosen.removeprefix(prefix)
    return columns, notes


def _figures(
    row: Callable[..., Row], columns: Columns, notes: dict[tuple[str, int], str], costs: dict[str, Cost]
) -> list[Row]:
    rows = []
    for (model, known), values in columns.items():
        (interval,) = mean_intervals(values[:, None], 0)
        more = costs[model]._asdict() if model in costs else {}
        note = notes.get((model, known), "")
        rows.append(row(model=model, metric=METRIC, case=f"k = {known}", note=note, **spread(interval), **more))
    return rows


def _ratios(row: Callable[..., Row], columns: Columns, seed: int) -> list[Row]:
    """Of the towers and of what serves, paired over the users of all folds."""
    rows = []
    for model in (TOWERS, SERVED):
        for rival in (ALS, BEST_ALS, BEST_SEGMENT):
            for known in SUPPORTS:
                if (rival, known) not in columns or not columns[rival, known].any():
                    continue
                aims = AIMS.get(known) if model == TOWERS else None
                ratio = mean_ratio(columns[model, known], columns[rival, known], seed)
                more = spread(ratio) | aimed(aims)
                rows.append(row(model=f"{model} over {rival}", metric=f"{METRIC}, ratio", case=f"k = {known}", **more))
    return rows
