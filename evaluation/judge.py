"""Judging: the same users, the same held-out positives, every model, with paired intervals.

Asks every ranker for the judged users and puts bootstrap intervals around the metrics of `evaluation.answers` and
around the differences between models. It does not know how a ranker came about. The backtest (`training_job.backtest`)
and the benchmarks call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.answers import (
    COLD_START_K,
    Answers,
    PerUser,
    accuracy_on,
    ask,
    catalogue_figures,
    cold_item_metrics,
    cold_user_metrics,
    metrics_of,
)
from evaluation.bootstrap import RESAMPLES, mean_intervals
from evaluation.facts import ItemFacts, heavy_users, warm_users
from evaluation.metrics.cold_start import wanted_cold_items
from evaluation.rankers import Ranker
from evaluation.result import Evaluation, Figures, Segment, defined
from evaluation.splits import Split

COMPARED_LISTS: Final = 2_000
"""Users on whom diversity is measured: its interval is then a fiftieth of the value, and all pairs cost seconds."""


@dataclass(frozen=True)
class JudgeSettings:
    """How to judge."""

    ks: tuple[int, ...] = (10, 20)
    seed: int = 0
    max_users: int | None = None
    """Judge a random sample of this many users; None: all of them."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """Model → users of the judged ones that it is asked for, where asking is slow."""
    subjects: tuple[str, ...] = ("two_tower", "served")
    """Models whose differences from all others are reported."""
    resamples: int = RESAMPLES


def judge(
    rankers: Mapping[str, Ranker],
    split: Split,
    facts: ItemFacts,
    settings: JudgeSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Judge every ranker on the held-out half of `split`.

    The headline speaks of warm users only (cold ones have a segment of their own), unless there are none or the split
    made everybody cold. `progress` is told the name of each model before it is asked.
    """
    settings = settings or JudgeSettings()
    users = judged_users(split, settings)
    compared = _sample(len(users), COMPARED_LISTS, settings.seed)
    answers = _ask_all(rankers, split, users, settings, progress)
    warm = warm_users(split.histories, users)
    apart = split.support is None and bool(warm.any())
    headline = warm if apart else np.ones(len(users), bool)
    values = {
        name: _only(metrics_of(answer, split, facts, settings.ks, compared), headline)
        for name, answer in answers.items()
    }
    figures = _figures(values, settings)
    for name, answer in answers.items():
        figures[name] |= catalogue_figures(answer, headline, split.test.n_items, settings.ks)
        figures[name] |= _figures({name: cold_user_metrics(answer, ~warm)}, settings)[name]
        figures[name] |= _figures({name: cold_item_metrics(answer, split, facts.cold)}, settings)[name]
    return Evaluation(
        protocol=split.protocol,
        cut=split.cut,
        users="warm" if apart else "all",
        counts=_counts(split, facts, users, warm),
        judged={name: int((answer.asked & headline).sum()) for name, answer in answers.items()},
        models={name: defined(of) for name, of in figures.items()},
        differences=_differences(values, settings),
        segments=_segments(answers, split, facts, (users, headline), settings),
        settings={"seed": settings.seed, "resamples": settings.resamples, "diversity_space": facts.space_name},
    )


def judged_users(split: Split, settings: JudgeSettings) -> NDArray[np.int32]:
    """Codes of the users to judge, ascending: all that have something to find, or a seeded sample of them."""
    users = split.judged
    if settings.max_users is None or len(users) <= settings.max_users:
        return users
    return np.sort(np.random.default_rng(settings.seed).choice(users, settings.max_users, replace=False))


def _ask_all(
    rankers: Mapping[str, Ranker],
    split: Split,
    users: NDArray[np.int32],
    settings: JudgeSettings,
    progress: Callable[[str], None] | None,
) -> dict[str, Answers]:
    deepest = max(*settings.ks, COLD_START_K)
    answers = {}
    for name, ranker in rankers.items():
        if progress:
            progress(name)
        asked = _sample(len(users), settings.samples.get(name, len(users)), settings.seed)
        answers[name] = ask(ranker, split, users, asked, deepest)
    return answers


def _sample(n_users: int, size: int, seed: int) -> NDArray[np.bool_]:
    """The same random users [n_users] for every model; smaller samples lie within larger ones."""
    chosen: NDArray[np.bool_] = np.random.default_rng(seed).permutation(n_users) < size
    return chosen


def _only(values: PerUser, users: NDArray[np.bool_]) -> PerUser:
    return {name: of[users] for name, of in values.items()}


def _figures(values: Mapping[str, PerUser], settings: JudgeSettings) -> dict[str, Figures]:
    """Intervals of every metric of every model, all from the same draws of users."""
    figures: dict[str, Figures] = {model: {} for model in values}
    columns = [(model, metric) for model, of in values.items() for metric in of]
    if not columns or len(values[columns[0][0]][columns[0][1]]) == 0:
        return figures
    stacked = np.stack([values[model][metric] for model, metric in columns], axis=1)
    intervals = mean_intervals(stacked, settings.seed, settings.resamples)
    for (model, metric), interval in zip(columns, intervals, strict=True):
        figures[model][metric] = interval
    return figures


def _differences(values: Mapping[str, PerUser], settings: JudgeSettings) -> dict[str, dict[str, Figures]]:
    """Each subject against every other model, on the users that both were asked for."""
    differences: dict[str, dict[str, Figures]] = {}
    for subject in settings.subjects:
        if subject in values:
            ours = values[subject]
            others = {name: of for name, of in values.items() if name != subject}
            gaps = {name: {metric: ours[metric] - of[metric] for metric in ours} for name, of in others.items()}
            differences[subject] = {name: defined(of) for name, of in _figures(gaps, settings).items()}
    return differences


def _segments(
    answers: Mapping[str, Answers],
    split: Split,
    facts: ItemFacts,
    judged: tuple[NDArray[np.int32], NDArray[np.bool_]],
    settings: JudgeSettings,
) -> dict[str, Segment]:
    """Accuracy on groups of users, and on head, tail and cold items among what the headline users took."""
    users, headline = judged
    warm, every_item = warm_users(split.histories, users), np.ones(split.test.n_items, bool)
    groups: dict[str, tuple[str, NDArray[np.bool_], NDArray[np.bool_]]] = {
        "all_users": ("every judged user", np.ones(len(users), bool), every_item),
        "cold_users": ("users with fewer than 5 known events", ~warm, every_item),
        "warm_users": ("users with 5 known events or more", warm, every_item),
        "heavy_users": ("the most active fifth of the warm users", heavy_users(split.histories, users), every_item),
        "head_items": ("positives among the fewest items that hold half of all events", headline, facts.head),
        "tail_items": ("positives among all other items", headline, ~facts.head),
        "cold_items": ("positives among items with fewer than 5 events", headline, facts.cold),
    }
    segments = {}
    for name, (meaning, members, items) in groups.items():
        values = {
            model: _only(accuracy_on(answer, split, items, settings.ks), members) for model, answer in answers.items()
        }
        counted = _most_defined(values)
        if counted:
            models = {model: defined(of) for model, of in _figures(values, settings).items()}
            segments[name] = Segment(meaning, counted, models)
    return segments


def _most_defined(values: Mapping[str, PerUser]) -> int:
    """Users that count for the model that was asked for most of them."""
    counts = (np.count_nonzero(~np.isnan(column)) for of in values.values() for column in of.values())
    return int(max(counts, default=0))


def _counts(split: Split, facts: ItemFacts, users: NDArray[np.int32], warm: NDArray[np.bool_]) -> dict[str, int]:
    return {
        "train_events": len(split.train),
        "train_users": facts.n_users,
        "test_positives": len(split.test),
        "users_with_positives": len(split.judged),
        "users_judged": len(users),
        "warm_users": int(warm.sum()),
        "cold_users": int((~warm).sum()),
        "items": split.test.n_items,
        "head_items": int(facts.head.sum()),
        "cold_items": int(facts.cold.sum()),
        "cold_items_wanted": len(wanted_cold_items(facts.cold, split.test)),
    }
