"""New users: a tenth of ML-1M's users held out whole, k random films of each known, against ALS fold-in.

Training never meets them. All ten films that could be known are left out of every ranking for every k, and what is to
be found is everything else that they watched, so the columns compare. ALS folds the same films in, at the confidence
that is best for it in each column on the very users that are judged, which no rule could choose: that favours it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.live_figures import PerUser, mean_ratio, means
from benchmarks.movielens import whole_movielens
from evaluation.metrics.hits import find_hits
from evaluation.metrics.recall import recall
from evaluation.rankers import Ranker, als_ranker, popular_list, popularity_ranker, two_tower_ranker
from evaluation.served import ServedRanker
from evaluation.splits import Split, cold_users
from retrieval.opened import open_model
from training_job.als import FittedAls, fit_als
from training_job.fit import fit
from training_job.recipe import DIMENSIONS
from training_job.settings import TrainingSettings
from training_job.vocabulary import encode_table

K: Final = 20
CONFIDENCES: Final = (0.3, 1.0, 3.0, 10.0, 40.0)
FLOORS: Final = {1: 1.4, 3: 1.2, 5: 1.1}
"""Known films → the towers' recall over that of ALS, to reach."""


def measure(data: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Recall@20 for each number of known films, and what it is of that of ALS."""
    indexed = whole_movielens(data)
    splits = cold_users(indexed.interactions, seed=settings.seed)
    train = next(iter(splits.values())).train
    model = fit(indexed, train, settings).model
    confident = {
        alpha: fit_als(train, DIMENSIONS, alpha, seed=settings.seed, threads=settings.threads) for alpha in CONFIDENCES
    }
    opened, features = open_model(model), encode_table(model.user_encoder, indexed.users)
    columns = {}
    for known, split in splits.items():
        rankers: dict[str, Ranker] = {
            "two_tower": two_tower_ranker(model, split, features),
            "served": ServedRanker(opened, split, indexed.users),
            "popularity": popularity_ranker(popular_list(model, train), split.known),
        }
        recalls = {name: recall_of(ranker, split) for name, ranker in rankers.items()}
        columns[known] = _column(known, recalls, best_als(confident, split) if known else None, settings.seed)
    floors = [columns[known]["reached"] for known in FLOORS]
    return {"users": len(split.judged), "known": columns, "reached": all(floors)}


def best_als(confident: dict[float, FittedAls], split: Split) -> tuple[float, PerUser]:
    """The confidence that is best for ALS on these very users, and its recall."""
    recalls = {alpha: recall_of(als_ranker(als.fold_in, als.factors, split), split) for alpha, als in confident.items()}
    best = max(recalls, key=lambda alpha: float(recalls[alpha].mean()))
    return best, recalls[best]


def recall_of(ranker: Ranker, split: Split) -> PerUser:
    """Recall@20 of each judged user."""
    return recall(find_hits(ranker.rank(split.judged, K), split.test, split.judged), K)


def _column(known: int, recalls: dict[str, PerUser], als: tuple[float, PerUser] | None, seed: int) -> dict[str, Any]:
    if als is None:
        return {"recall@20": means(recalls, seed)}
    alpha, of_als = als
    ratios = {f"{name} / als": mean_ratio(recalls[name], of_als, seed) for name in ("two_tower", "served")}
    column = {"recall@20": means(recalls | {"als": of_als}, seed), "ratios": ratios, "als_alpha": alpha}
    if known in FLOORS:
        column |= {"floor": FLOORS[known], "reached": ratios["two_tower / als"].value >= FLOORS[known]}
    return column
