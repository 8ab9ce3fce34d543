"""How much of the exact answers an index finds, and how much its searches must look at for that.

Training ships real query vectors of held-out users with their exact answers, unfiltered for both models and under every
filter bucket, so that this only compares. Recall is bought with `ef_search`, for each model and for filtered searches
by themselves: it is raised until the aim is reached or time runs out. `verify.py` calls it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contracts.deadline import Deadline
from contracts.errors import VerificationFailed
from contracts.fitted import FittedModel, Floats, Rows
from contracts.restriction import Restriction
from index_loader.load import Progress
from retrieval.filters import ItemFilters
from stores.search_index import FILTERED
from stores.tensor_files import forget_pages
from stores.vector_index import VectorIndex

if TYPE_CHECKING:
    from stores.search_index import OpenSearchIndex


@dataclass(frozen=True)
class VerifySettings:
    """What an index must reach to serve."""

    recall: float = 0.95
    """Floor of both models: below it, one recommendation in twenty is not what the model chose."""
    filtered_recall: float = 0.90
    """Floor of every filter bucket, whose means rest on fewer queries."""
    aim: float = 0.98
    """`ef_search` is raised until a model reaches this,"""
    filtered_aim: float = 0.95
    """every bucket this,"""
    latency_ms: float = 50.0
    """and while the 95th percentile of the round trips takes no longer."""
    ef_search: tuple[int, ...] = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400)
    """Tried in turn: each looks at a third to a half more, and a search costs about as much more."""


PROBE_MS: Final = 10_000
"""Time for one probe: nobody waits for the answer, but a dead index must not hang a night."""
_WARM_UP: Final = 20
"""Queries that are not counted: the first ones read the graph from the disk."""
_TIE: Final = 1e-5
"""Relative: what summing float32 in another order can change."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """Probes of one model, maybe under a filter."""

    model_name: str
    vectors: Floats
    """[n, d] of all items."""
    queries: Floats
    """[p, d]"""
    exact: Rows
    """[q, k] of the first q queries."""
    restriction: Restriction | None = None
    share: float = 1.0
    """Of the items that pass."""


def model_probes(model: FittedModel) -> dict[str, Asked]:
    """The unfiltered probes by model, where there are any."""
    probes, items = model.probes, model.items
    asked = {
        "two_tower": Asked("two_tower", items.two_tower, probes.queries, probes.rows),
        "als": Asked("als", items.als, probes.als_queries, probes.als_rows),
    }
    return {name: some for name, some in asked.items() if len(some.queries)}


def bucket_probes(model: FittedModel) -> dict[str, Asked]:
    """The probes of the towers by filter bucket."""
    probes, vectors = model.probes, model.items.two_tower
    filters = ItemFilters(model.item_encoder, model.items)
    return {
        bucket.name: Asked(
            "two_tower", vectors, probes.queries, rows, filters.restriction_to(bucket.clauses), bucket.share
        )
        for bucket, rows in zip(probes.buckets, probes.bucket_rows, strict=True)
    }


def raise_recall(index: OpenSearchIndex, model: FittedModel, settings: VerifySettings, tell: Progress) -> Figures:
    """The report of the `ef_search` that serves, by model and for filtered searches, which `index` then has.

    Raises VerificationFailed where a model or a bucket stays below its floor.
    """
    index.ef_search = {}
    climbs = {name: _climb(index, name, {name: asked}, settings, tell) for name, asked in model_probes(model).items()}
    models = {name: climb[-1].figures[name] for name, climb in climbs.items()}
    filters: dict[str, Figures] = {}
    if buckets := bucket_probes(model):
        climbs[FILTERED] = _climb(index, FILTERED, buckets, settings, tell)
        filters = climbs[FILTERED][-1].figures
    check_floors(models, filters, settings)
    tried = {key: [step.short for step in climb] for key, climb in climbs.items()}
    return {"ef_search": dict(index.ef_search), **flat(models), "filters": filters, "tried": tried}


@dataclass(frozen=True)
class _Step:
    """What was found with one `ef_search`."""

    ef_search: int
    figures: dict[str, Figures]

    @property
    def recall(self) -> float:
        return float(min(figures["recall"] for figures in self.figures.values()))

    def slowest(self, name: str) -> float:
        return float(max(figures[name] for figures in self.figures.values()))

    @property
    def short(self) -> Figures:
        """For the report: the worst of everything."""
        worst = {name: self.slowest(name) for name in ("p50_ms", "p99_ms")}
        return {"ef_search": self.ef_search, "recall": self.recall} | worst


def _climb(
    index: OpenSearchIndex, key: str, probes: dict[str, Asked], settings: VerifySettings, tell: Progress
) -> list[_Step]:
    """Steps up to the one that serves: the first that reaches the aim, or the last before one that is too slow."""
    aim = settings.filtered_aim if key == FILTERED else settings.aim
    least = max((index.ef_search.get(asked.model_name, 0) for asked in probes.values()), default=0)
    steps: list[_Step] = []
    for number, ef_search in enumerate(settings.ef_search):
        if key == FILTERED and ef_search < least:
            continue  # a filter never makes a search look at less
        index.ef_search[key] = ef_search
        tell(number, len(settings.ef_search), f"asking the probes of {key} with ef_search {ef_search}")
        for asked in probes.values():
            ask(index, replace(asked, exact=asked.exact[:_WARM_UP]))
        step = _Step(ef_search, {name: ask(index, asked) for name, asked in probes.items()})
        if step.slowest("p95_ms") > settings.latency_ms and steps:
            break
        steps.append(step)
        if step.recall >= aim or step.slowest("p95_ms") > settings.latency_ms:
            break
    index.ef_search[key] = steps[-1].ef_search
    return steps


def check_floors(models: dict[str, Figures], filters: dict[str, Figures], settings: VerifySettings) -> None:
    """Raise VerificationFailed, naming the model or the bucket, where recall is below its floor."""
    for figures, floor in ((models, settings.recall), (filters, settings.filtered_recall)):
        for name in _below(figures, floor):
            raise VerificationFailed(
                f"{name}: the index finds {figures[name]['recall']:.1%} of what exact search finds; the floor is "
                f"{floor:.0%}.",
                fix="Load the release into a new index; where that does not help, raise m or ef_construction.",
            )


def _below(figures: dict[str, Figures], level: float) -> list[str]:
    return [name for name, measured in figures.items() if measured["recall"] < level]


def flat(figures: dict[str, Figures]) -> Figures:
    """The towers' figures on top, for the eye; all of them by model."""
    towers = figures.get("two_tower", {"probes": 0})
    return {name: towers[name] for name in ("probes", "k", "recall", "worst") if name in towers} | {"models": figures}


def ask(index: VectorIndex, asked: Asked) -> Figures:
    """Recall and round trips [ms] of the queries that have exact answers."""
    recalls, times = [], []
    for query, answer in zip(asked.queries, asked.exact, strict=False):
        begun = time.perf_counter()
        found = index.search(asked.model_name, query, len(answer), asked.restriction, Deadline(PROBE_MS))[0]
        times.append((time.perf_counter() - begun) * 1000)
        recalls.append(recall_of(asked.vectors, query, answer[answer >= 0], found))
    forget_pages(asked.vectors)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {
        "share": asked.share,
        "probes": len(recalls),
        "k": asked.exact.shape[1],
        "recall": round(float(np.mean(recalls)), 4),
        "worst": round(float(min(recalls)), 4),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
    }


def recall_of(vectors: Floats, query: Floats, expected: Rows, found: Rows) -> float:
    """Share of the exact answer that was found; who ties with its last item is as right as that one.

    Items without events may share a vector, and ties at the end of an answer are then common (ann-benchmarks counts
    like this: Aumüller et al. 2020, §2.3).
    """
    if not len(expected):
        return float(len(found) == 0)
    last = float(vectors[expected[-1]] @ query)
    right = np.isin(found, expected) | (np.abs(vectors[found] @ query - last) <= _TIE * abs(last))
    return min(1.0, int(right.sum()) / len(expected))
