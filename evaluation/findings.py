"""What an evaluation says, in sentences: what beats what, with the interval, and what cannot be told apart.

The report and the command line print them, so that nobody has to read significance off a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from evaluation.bootstrap import Interval
from evaluation.result import Evaluation

HEADLINE_METRICS: Final = ("ndcg@10", "recall@20")

MODEL_NAMES: Final = {
    "two_tower": "two-tower",
    "served": "served policy",
    "als": "ALS",
    "als_tuned": "tuned ALS",
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
    """A sentence for each subject on each headline metric: what it is ahead of, behind, and not to be told from."""
    return [
        _compared(model_name(subject), metric, {model_name(other): of[metric] for other, of in others.items()})
        for metric in HEADLINE_METRICS
        for subject, others in evaluation.differences.items()
        if others and all(metric in of for of in others.values())
    ]


def _compared(subject: str, metric: str, gaps: Mapping[str, Interval]) -> str:
    """Differences with their 95 % intervals, the largest first."""
    ranked = sorted(gaps.items(), key=lambda pair: -abs(pair[1].value))
    groups = {
        "ahead of": [pair for pair in ranked if pair[1].above_zero],
        "behind": [pair for pair in ranked if pair[1].below_zero],
        "not to be told from": [pair for pair in ranked if not (pair[1].above_zero or pair[1].below_zero)],
    }
    said = [f"{how} {', '.join(_gap(*pair) for pair in pairs)}" for how, pairs in groups.items() if pairs]
    return f"On {metric_name(metric)}, {subject} is {'; '.join(said)}."


def _gap(other: str, gap: Interval) -> str:
    return f"{other} ({gap.value:+.4f}, {gap.low:+.4f} to {gap.high:+.4f})"
