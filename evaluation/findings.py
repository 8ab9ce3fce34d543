"""What an evaluation says, in sentences: what beats what, with the interval, and what cannot be told apart.

The report and the command line print them, so that nobody has to read significance off a table.
"""

from __future__ import annotations

from typing import Final

from evaluation.bootstrap import Interval
from evaluation.result import Evaluation

HEADLINE_METRICS: Final = ("ndcg@10", "recall@20")

MODEL_NAMES: Final = {
    "two_tower": "two-tower",
    "served": "served policy",
    "als": "ALS (served, 64 factors)",
    "als_tuned": "ALS (tuned grid)",
    "item_knn": "item-kNN",
    "segment_popularity": "segment popularity",
    "popularity": "popularity",
}

_PROTOCOLS: Final = {
    "global-time": "All events up to one moment train, later ones are to be found; no future of anybody is seen.",
    "leave-last": "Each user's last event is to be found; later events of other users are in training.",
    "given": "The split came with the data.",
    "cold-users": "A share of users is unknown to training; some random items of each are shown, the others are to be "
    "found. The items that could be shown are left out of every ranking, so that the numbers compare.",
    "validation": "The newest events of training's slice, the half that nothing was chosen on, are to be found.",
    "random": "A random part of each user's items is to be found; without order or time there is no future to leak.",
}


def model_name(name: str) -> str:
    """A model as people call it."""
    return MODEL_NAMES.get(name, name)


def metric_name(metric: str) -> str:
    """`ndcg@10` → `NDCG@10`."""
    name, _, k = metric.partition("@")
    shown = {"ndcg": "NDCG", "mrr": "MRR", "gini": "Gini"}.get(name, name.replace("_", " ").capitalize())
    return f"{shown}@{k}" if k else shown


def protocol_sentence(evaluation: Evaluation) -> str:
    """How it was judged, and whom the headline is about."""
    whom = (
        "The headline is about users with at least 5 known events; newer users are a segment of their own."
        if evaluation.users == "warm"
        else "The headline is about all judged users."
    )
    return f"{_PROTOCOLS.get(evaluation.protocol, evaluation.protocol)} {whom} Every item is ranked, none sampled."


def findings(evaluation: Evaluation) -> list[str]:
    """One sentence for each comparison of each subject, on each headline metric that was judged."""
    return [
        _compared(model_name(subject), model_name(other), metric, figures[metric])
        for subject, others in evaluation.differences.items()
        for metric in HEADLINE_METRICS
        for other, figures in others.items()
        if metric in figures
    ]


def _compared(subject: str, other: str, metric: str, gap: Interval) -> str:
    interval = f"(95 % interval {gap.low:+.4f} to {gap.high:+.4f})"
    if gap.above_zero:
        return f"{subject} is ahead of {other} on {metric_name(metric)} by {gap.value:.4f} {interval}."
    if gap.below_zero:
        return f"{subject} is behind {other} on {metric_name(metric)} by {-gap.value:.4f} {interval}."
    return f"{subject} and {other} cannot be told apart on {metric_name(metric)}: {gap.value:+.4f} {interval}."
