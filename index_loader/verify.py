"""Is an index complete, and does it answer the probe queries of its release as exact search did?

Training ships real query vectors of held-out users with their exact answers, unfiltered for both models and under every
filter bucket, so that verifying only compares. Recall is bought with `ef_search`: it is raised until the aim is reached
or time runs out, and recorded with everything else in the publication. `publish` calls it before the pointer can move.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contracts.deadline import Deadline
from contracts.errors import VerificationFailed
from contracts.fitted import FittedModel, Floats, ProbeBucket, Rows
from contracts.restriction import Restriction
from index_loader.documents import Documents
from index_loader.load import Progress
from index_loader.read_back import SAMPLE, check_ids, check_sample
from stores.vector_index import VectorIndex

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from stores.search_index import OpenSearchIndex


@dataclass(frozen=True)
class VerifySettings:
    """What an index must reach to serve."""

    recall: float = 0.95
    """Floor of both models: below it, one recommendation in twenty is not what the model chose."""
    filtered_recall: float = 0.90
    """Floor of every filter bucket, whose means rest on fewer queries."""
    aim: float = 0.98
    """`ef_search` is raised until both models reach this,"""
    filtered_aim: float = 0.95
    """every bucket this,"""
    latency_ms: float = 50.0
    """or until the 95th percentile of the unfiltered round trips takes longer."""
    ef_search: tuple[int, ...] = (100, 200, 400, 800, 1600)
    """Tried in turn: each doubles what a query looks at."""


_PROBE_MS: Final = 10_000
"""Time for one probe: nobody waits for the answer, but a dead index must not hang a night."""
_WARM_UP: Final = 20
"""Queries that are not counted: the first ones read the graph from the disk."""
_SELF: Final = 200
"""Items that are asked for by their own vector."""
_SELF_FLOOR: Final = 0.95
_SCORE_TOLERANCE: Final = 1e-3
"""Relative: an engine sums float32 in another order, or quantises."""


def verify_loaded(
    client: OpenSearch,
    index: OpenSearchIndex,
    model: FittedModel,
    settings: VerifySettings | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Hold a loaded index against its release; the report, with the `ef_search` that serves.

    Raises VerificationFailed where documents are missing or wrong, or recall stays below its floors.
    """
    begun = time.monotonic()
    tell = progress or (lambda _done, _total, _text: None)
    count = int(client.count(index=index.name)["count"])
    if count != len(model.items):
        raise VerificationFailed(
            f"{index.name} holds {count} documents, the release has {len(model.items)} items.",
            fix="Load the missing parts, or prepare a new index.",
        )
    draw = np.random.default_rng(0)
    rows = np.sort(draw.choice(len(model.items), min(SAMPLE, len(model.items)), replace=False))
    report = {
        "count": count,
        "ids_sha256": check_ids(client, index.name, model.items.ids, progress),
        "documents_compared": check_sample(client, index.name, Documents(model), rows),
    }
    report |= _raise_recall(index, model, settings or VerifySettings(), tell)
    report["self_retrieval"] = _retrieve_themselves(index, model, rows[: _SELF * 10 : max(1, len(rows) // _SELF)])
    report["seconds"] = round(time.monotonic() - begun, 1)
    return report


def verify(index: VectorIndex, model: FittedModel, settings: VerifySettings | None = None) -> dict[str, Any]:
    """Figures of the unfiltered probes of both models. Raises VerificationFailed below the floor."""
    figures = {name: _ask(index, name, *probes) for name, probes in _probes(model).items()}
    _check_floors(figures, {}, settings or VerifySettings())
    return _flat(figures)


def _probes(model: FittedModel) -> dict[str, tuple[Floats, Rows]]:
    """Queries and exact answers by model, where there are any."""
    probes = model.probes
    found = {"two_tower": (probes.queries, probes.rows), "als": (probes.als_queries, probes.als_rows)}
    return {name: pair for name, pair in found.items() if len(pair[0])}


def _raise_recall(
    index: OpenSearchIndex, model: FittedModel, settings: VerifySettings, tell: Progress
) -> dict[str, Any]:
    """Ask all probes with rising `ef_search`; the report of the one that serves, which `index` then has."""
    steps: list[dict[str, Any]] = []
    for number, ef_search in enumerate(settings.ef_search):
        index.ef_search = ef_search
        tell(number, len(settings.ef_search), f"asking the probes with ef_search {ef_search}")
        _warm_up(index, model)
        models = {name: _ask(index, name, *probes) for name, probes in _probes(model).items()}
        filters = _ask_filtered(index, model)
        steps.append({"ef_search": ef_search, "models": models, "filters": filters})
        slow = max((figures["p95_ms"] for figures in models.values()), default=0.0) > settings.latency_ms
        if slow or not (_below(models, settings.aim) or _below(filters, settings.filtered_aim)):
            break
    last = steps[-1]
    _check_floors(last["models"], last["filters"], settings)
    tried = [
        {"ef_search": step["ef_search"]}
        | {name: step["models"][name]["recall"] for name in step["models"]}
        | {"worst_filter": min((f["recall"] for f in step["filters"].values()), default=None)}
        for step in steps
    ]
    return {"ef_search": last["ef_search"], **_flat(last["models"]), "filters": last["filters"], "tried": tried}


def _below(figures: dict[str, dict[str, Any]], level: float) -> list[str]:
    return [name for name, measured in figures.items() if measured["recall"] < level]


def _check_floors(models: dict[str, Any], filters: dict[str, Any], settings: VerifySettings) -> None:
    for figures, floor in ((models, settings.recall), (filters, settings.filtered_recall)):
        for name in _below(figures, floor):
            raise VerificationFailed(
                f"{name}: the index finds {figures[name]['recall']:.1%} of what exact search finds; the floor is "
                f"{floor:.0%}.",
                fix="Load the release into a new index; where that does not help, raise m or ef_construction.",
            )


def _flat(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The towers' figures on top, for the eye; all of them by model."""
    towers = figures.get("two_tower", {"probes": 0})
    return {name: towers[name] for name in ("probes", "k", "recall", "worst") if name in towers} | {"models": figures}


def _warm_up(index: VectorIndex, model: FittedModel) -> None:
    for name, (queries, rows) in _probes(model).items():
        for query in queries[:_WARM_UP]:
            index.search(name, query, rows.shape[1], None, Deadline(_PROBE_MS))


def _ask_filtered(index: VectorIndex, model: FittedModel) -> dict[str, dict[str, Any]]:
    probes = model.probes
    return {
        bucket.name: {"share": bucket.share} | _ask(index, "two_tower", probes.queries, rows, bucket)
        for bucket, rows in zip(probes.buckets, probes.bucket_rows, strict=True)
    }


def _ask(
    index: VectorIndex, model_name: str, queries: Floats, exact: Rows, bucket: ProbeBucket | None = None
) -> dict[str, Any]:
    """Recall and round trips [ms] of the queries that have exact answers."""
    restriction = Restriction(bucket.clauses, np.empty(0, np.bool_)) if bucket else None
    recalls, times = [], []
    for query, answer in zip(queries, exact, strict=False):
        expected = answer[answer >= 0]
        begun = time.perf_counter()
        found = index.search(model_name, query, len(answer), restriction, Deadline(_PROBE_MS))[0]
        times.append((time.perf_counter() - begun) * 1000)
        recalls.append(np.isin(expected, found).mean() if len(expected) else float(len(found) == 0))
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {
        "probes": len(recalls),
        "k": exact.shape[1],
        "recall": round(float(np.mean(recalls)), 4),
        "worst": round(float(min(recalls)), 4),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
    }


def _retrieve_themselves(index: VectorIndex, model: FittedModel, rows: np.ndarray) -> dict[str, int]:
    """Ask for items by their own vectors: who outscores the last of the answer must be in it, at that score.

    Raises VerificationFailed where fewer than _SELF_FLOOR of them are, or one comes back with another score.
    """
    k, entitled, found = min(100, len(model.items)), 0, 0
    for row in rows.tolist():
        vector = np.array(model.items.two_tower[row])
        own = float(vector @ vector)
        answer, scores = index.search("two_tower", vector, k, None, Deadline(_PROBE_MS))
        place = np.flatnonzero(answer == row)
        if len(place):
            if abs(scores[place[0]] - own) > _SCORE_TOLERANCE * max(1.0, own):
                raise VerificationFailed(
                    f"item {model.items.ids.text(row)!r} scores {scores[place[0]]:.4f} with itself, exactly {own:.4f}.",
                    fix="Load the release into a new index.",
                )
            entitled, found = entitled + 1, found + 1
        elif not len(scores) or own > scores[-1] * (1 + _SCORE_TOLERANCE):
            entitled += 1
    if found < _SELF_FLOOR * entitled:
        raise VerificationFailed(
            f"{found} of {entitled} items are found by their own vectors.", fix="Load the release into a new index."
        )
    return {"asked": len(rows), "entitled": entitled, "found": found}
