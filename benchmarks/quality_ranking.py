"""Full rankings on the public splits and at a global time cut: towers, tuned ALS, popularity, and the towers over each.

Who is judged: on the published splits everybody with something to find, as the published tables do; at a time cut the
users with at least five events before it, for routing answers the others with popularity and they have a part of their
own (`live_cold_users`). Items that a user had before the cut are neither ranked nor wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.live_figures import PerUser, mean_ratio, means
from benchmarks.quality_models import train_als, train_popularity, train_towers
from benchmarks.quality_process import alone
from benchmarks.quality_rows import Aims, Cost, Options, Row, aimed, spread
from benchmarks.quality_sets import named, prepared
from data_sources.indexed import IndexedDataset
from data_sources.streamed import index_folder
from evaluation.answers import accuracy
from evaluation.facts import warm_users
from evaluation.metrics.hits import find_hits
from evaluation.rankers import Ranker, als_ranker, popularity_ranker, two_tower_ranker
from evaluation.splits import Split, given_split, global_time_cut, leave_last_out
from training_job.settings import TrainingSettings
from training_job.vocabulary import encode_table

KS: Final = (10, 20)
MODELS: Final = ("two_tower", "als_tuned", "popularity")


@dataclass(frozen=True)
class Task:
    """A data set and how it is split."""

    source: str
    split: Callable[[IndexedDataset], Split]
    protocol: str
    metrics: tuple[str, ...]
    aims: dict[str, Aims]
    """By metric of the towers, or `… over als_tuned`."""
    warm: bool = False
    """Only users whom the model answers are judged."""


def _by_time(source: str, aims: dict[str, Aims]) -> Task:
    return Task(
        source,
        lambda indexed: global_time_cut(indexed.interactions, indexed.schema),
        "global time cut, newest fifth; users with 5 earlier events or more",
        ("recall@20", "ndcg@10"),
        aims,
        warm=True,
    )


TASKS: Final = {
    "gowalla": Task(
        "gowalla",
        lambda indexed: given_split(indexed.interactions, indexed.is_test),
        "LightGCN's split, all users",
        ("recall@20", "ndcg@20"),
        {"recall@20": (0.178, 0.1882), "ndcg@20": (0.149, 0.1584)},
    ),
    "ml-1m-last": Task(
        "ml-1m-sequences",
        lambda indexed: leave_last_out(indexed.interactions, indexed.schema),
        "leave last out, all users",
        ("hit_rate@10", "ndcg@10"),
        {"hit_rate@10": (0.285, 0.316), "ndcg@10": (0.165, 0.186)},
    ),
    "ml-1m": _by_time("ml-1m-half", {"recall@20 over als_tuned": (1.4, 1.6)}),
    "ml-100k": _by_time("ml-100k", {}),
    "world": _by_time("world", {}),
}


@dataclass(frozen=True)
class Judged:
    """What one model is worth to each judged user, and what it cost."""

    values: dict[str, PerUser]
    cost: Cost


def measure(part: str, options: Options) -> list[Row]:
    """Train every model alone and judge it; one seed."""
    task = TASKS[part]
    with prepared(task.source, options) as folder:
        judged = {model: alone(judge, part, model, folder, options.settings) for model in MODELS}
    row = partial(Row, part=part, dataset=named(task.source, options), protocol=task.protocol, seed=options.seed)
    return _figures(row, task, judged, options.seed) + _ratios(row, task, judged, options.seed)


def judge(part: str, model: str, folder: Path, settings: TrainingSettings) -> Judged:
    """Train one model on the part that may be seen and rank for everybody who is judged."""
    task, indexed = TASKS[part], index_folder(folder)
    split = task.split(indexed)
    ranker, cost = _RANKERS[model](indexed, split, settings)
    users = judged_users(task, split)
    hits = find_hits(ranker.rank(users, max(KS)), split.test, users)
    values = accuracy(hits, KS)
    return Judged({metric: values[metric] for metric in task.metrics}, cost)


def judged_users(task: Task, split: Split) -> NDArray[np.int32]:
    """Codes of the users that count, ascending."""
    users = split.judged
    return users[warm_users(split.histories, users)] if task.warm else users


def _towers(indexed: IndexedDataset, split: Split, settings: TrainingSettings) -> tuple[Ranker, Cost]:
    model, cost = train_towers(indexed, split.train, settings)
    return two_tower_ranker(model, split, encode_table(model.user_encoder, indexed.users)), cost


def _als(indexed: IndexedDataset, split: Split, settings: TrainingSettings) -> tuple[Ranker, Cost]:
    als, cost = train_als(indexed, split.train, settings)
    return als_ranker(als.fold_in, als.factors, split), cost


def _popularity(indexed: IndexedDataset, split: Split, settings: TrainingSettings) -> tuple[Ranker, Cost]:
    popularity, cost = train_popularity(indexed, split.train, settings)
    return popularity_ranker(popularity.order(), split.known), cost


_RANKERS: Final[dict[str, Callable[[IndexedDataset, Split, TrainingSettings], tuple[Ranker, Cost]]]] = {
    "two_tower": _towers,
    "als_tuned": _als,
    "popularity": _popularity,
}


def _figures(row: Callable[..., Row], task: Task, judged: dict[str, Judged], seed: int) -> list[Row]:
    rows = []
    for metric in task.metrics:
        columns = {model: of.values[metric] for model, of in judged.items()}
        for model, interval in means(columns, seed).items():
            aims = task.aims.get(metric) if model == "two_tower" else None
            more = spread(interval) | judged[model].cost._asdict() | aimed(aims)
            rows.append(row(model=model, metric=metric, users=len(columns[model]), **more))
    return rows


def _ratios(row: Callable[..., Row], task: Task, judged: dict[str, Judged], seed: int) -> list[Row]:
    rows = []
    for metric in task.metrics:
        ours = judged["two_tower"].values[metric]
        for rival in MODELS[1:]:
            ratio = mean_ratio(ours, judged[rival].values[metric], seed)
            more = spread(ratio) | aimed(task.aims.get(f"{metric} over {rival}"))
            rows.append(row(model=f"two_tower over {rival}", metric=f"{metric}, ratio", users=len(ours), **more))
    return rows
