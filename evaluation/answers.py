"""One model's lists for the judged users, and what they are worth to each user.

`ask` gets the lists, the rest turns them into metrics per user (NaN where one is not defined, or where a slow model was
not asked) or, for what only all lists together have, into figures. `evaluation.judge` puts intervals around them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import Rows
from evaluation.bootstrap import fixed
from evaluation.facts import ItemFacts
from evaluation.metrics import cold_start
from evaluation.metrics.coverage import coverage, exposures
from evaluation.metrics.diversity import diversity
from evaluation.metrics.gini import gini
from evaluation.metrics.hits import Hits, find_hits
from evaluation.metrics.mrr import reciprocal_rank
from evaluation.metrics.ndcg import ndcg
from evaluation.metrics.novelty import novelty, self_information
from evaluation.metrics.popularity_lift import history_popularity, popularity_lift
from evaluation.metrics.recall import hit_rate, precision, recall
from evaluation.rankers import Ranker
from evaluation.result import Figures
from evaluation.splits import Split

PerUser = dict[str, NDArray[np.float64]]
"""Metric such as `recall@20` → value of each judged user [users], NaN where it is not defined."""

COLD_START_K: Final = 20
"""Places in which a cold user or item must be found, whatever the other cuts."""

_ACCURACY: Final[dict[str, Callable[[Hits, int], NDArray[np.float64]]]] = {
    "recall": recall,
    "ndcg": ndcg,
    "hit_rate": hit_rate,
    "precision": precision,
    "mrr": reciprocal_rank,
}


@dataclass(frozen=True)
class Answers:
    """Lists of the users that a model was asked for."""

    asked: NDArray[np.bool_]
    """[users] among the judged ones."""
    users: NDArray[np.int32]
    """[asked] codes."""
    rows: Rows
    """[asked, k]"""
    hits: Hits


def ask(ranker: Ranker, split: Split, users: NDArray[np.int32], asked: NDArray[np.bool_], k: int) -> Answers:
    """Rank the `asked` [users] ones among the judged `users`."""
    rows = ranker.rank(users[asked], k)
    return Answers(asked, users[asked], rows, find_hits(rows, split.test, users[asked]))


def accuracy(hits: Hits, ks: tuple[int, ...]) -> PerUser:
    """Every accuracy metric at every k, per user."""
    return {f"{name}@{k}": metric(hits, k) for k in ks for name, metric in _ACCURACY.items()}


def metrics_of(
    answers: Answers, split: Split, facts: ItemFacts, ks: tuple[int, ...], compared: NDArray[np.bool_]
) -> PerUser:
    """All metrics that a single list has: accuracy, novelty, popularity lift, and diversity.

    Diversity compares all pairs of a list, so it is measured on the `compared` [users] only.
    """
    surprise = self_information(facts.holders, facts.n_users)
    own = history_popularity(split.histories, facts.events, answers.users)
    values = accuracy(answers.hits, ks)
    some = compared[answers.asked]
    for k in ks:
        values[f"diversity@{k}"] = np.full(len(answers.users), np.nan)
        values[f"diversity@{k}"][some] = diversity(answers.rows[some], facts.space, k)
        values[f"novelty@{k}"] = novelty(answers.rows, surprise, k)
        values[f"popularity_lift@{k}"] = popularity_lift(answers.rows, facts.events, own, k)
    return _spread(values, answers.asked)


def accuracy_on(answers: Answers, split: Split, items: NDArray[np.bool_], ks: tuple[int, ...]) -> PerUser:
    """Accuracy where only some of the items [n_items] count as positives; the lists stay whole."""
    relevant = split.test.select(items[split.test.items])
    hits = Hits(answers.hits.found & items[answers.rows], relevant.lengths[answers.users])
    return _spread(accuracy(hits, ks), answers.asked)


def _spread(values: PerUser, asked: NDArray[np.bool_]) -> PerUser:
    """Values of the asked users in their places among all judged ones, NaN elsewhere."""
    spread = {name: np.full(len(asked), np.nan) for name in values}
    for name, of in values.items():
        spread[name][asked] = of
    return spread


def catalogue_figures(answers: Answers, members: NDArray[np.bool_], n_items: int, ks: tuple[int, ...]) -> Figures:
    """Facts of the lists of `members` [users] together: catalogue coverage and Gini."""
    figures: Figures = {}
    for k in ks:
        shown = exposures(answers.rows[members[answers.asked], :k], n_items)
        figures[f"coverage@{k}"] = fixed(coverage(shown))
        figures[f"gini@{k}"] = fixed(gini(shown))
    return figures


def cold_user_metrics(answers: Answers, cold: NDArray[np.bool_]) -> PerUser:
    """Per cold user that was asked for (`cold` [users]): a list at all, and a hit in it."""
    mine = cold[answers.asked]
    return {
        "cold_users_answered": cold_start.answered(answers.rows[mine]),
        f"cold_users_hit@{COLD_START_K}": hit_rate(answers.hits.take(mine), COLD_START_K),
    }


def cold_item_metrics(answers: Answers, split: Split, cold: NDArray[np.bool_]) -> PerUser:
    """Per cold item (`cold` [n_items]) that an asked user held out: shown to anybody, and to such a user."""
    asked = np.zeros(split.test.n_users, bool)
    asked[answers.users] = True
    test = split.test.select(asked[split.test.users])
    return {
        f"cold_items_answered@{COLD_START_K}": cold_start.items_answered(answers.rows, cold, test, COLD_START_K),
        f"cold_items_hit@{COLD_START_K}": cold_start.items_hit(answers.rows, answers.hits, cold, test, COLD_START_K),
    }
