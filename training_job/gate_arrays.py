"""Checks of a candidate's arrays: whatever the figures say, a release with broken arrays does not ship.

Each check looks at one FittedModel and says PASS, WARN or BLOCK with what it found. It knows nothing of users or of
what serves. `training_job.gate` runs the lists, the second where nothing of the first blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ParityBroken, ReleaseCorrupt
from contracts.fitted import LOST_NORM, FittedModel, Floats, RankedLists, check_shapes
from contracts.release import GateCheck, Verdict
from contracts.segments import GLOBAL_KEY
from contracts.trending import WINDOWS, trending_key
from evaluation.facts import COLD_BELOW
from retrieval.golden import replay_golden

NORMS: Final = (1e-3, 1e3)
"""Norms come from a power of popularity: a million to one between two items is more than any catalogue has reason for,
and smaller ones fade out in half precision."""

SAMPLE: Final = 2_000
"""Items looked at for collapse: their pairwise cosines are 4 million numbers."""

FEWEST_ITEMS: Final = 10
"""Items below which a few directions are all that there can be."""

MEAN_COSINE: Final = (0.5, 0.9)
"""Mean pairwise cosine that warns and that blocks: vectors of independent items are near 0, of one point at 1."""

LEAST_RANK: Final = (4.0, 1.5)
"""Effective rank that warns and that blocks: with 1.5 directions every list is one of two."""

DUPLICATE_COSINE: Final = 0.9999
"""Two items closer than this are one item to the index."""

DUPLICATES: Final = (0.1, 0.5)
"""Share of near-duplicates that warns and that blocks."""

PROBE_TOLERANCE: Final = 1e-4
"""Scores of two sums in another order; vectors have norms up to 4."""


def shapes_fit(model: FittedModel) -> GateCheck:
    """Arrays fit each other, and every row number names an item."""
    try:
        check_shapes(model)
    except ReleaseCorrupt as error:
        return GateCheck("shapes", Verdict.BLOCK, error.message)
    n = len(model.items)
    rows: dict[str, tuple[NDArray[Any], int, int]] = {
        "items.category": (model.items.category, -1, len(model.categories)),
        "content.neighbours": (model.content.neighbours, -1, n),
        "probes.rows": (model.probes.rows, 0, n),
    }
    wrong = [name for name, (array, low, high) in rows.items() if np.any((array < low) | (array >= high))]
    if wrong:
        return GateCheck("shapes", Verdict.BLOCK, f"{', '.join(wrong)} name rows that do not exist.")
    return GateCheck("shapes", Verdict.PASS, "every array has its shape.", {"items": n})


def all_finite(model: FittedModel) -> GateCheck:
    """No NaN or infinity in any array that is scored with (missing numeric features are NaN by design)."""
    wrong = {
        f"{part}.{field.name}": int((~np.isfinite(array)).sum())
        for part in ("items", "tower", "als", "popularity", "content", "probes")
        for field in fields(getattr(model, part))
        if (part, field.name) != ("items", "numbers")
        and isinstance(array := getattr(getattr(model, part), field.name), np.ndarray)
        and not np.isfinite(array).all()
    }
    if wrong:
        return GateCheck("finite", Verdict.BLOCK, f"NaN or infinity in {', '.join(wrong)}.", wrong)
    return GateCheck("finite", Verdict.PASS, "no NaN or infinity.")


def norms_in_range(model: FittedModel) -> GateCheck:
    """Item vectors are neither vanishing nor overflowing; of an item of which nothing is known they are LOST_NORM."""
    norms, items = np.linalg.norm(model.items.two_tower, axis=1), model.items
    figures = {"least": float(norms.min(initial=np.inf)), "largest": float(norms.max(initial=0))}
    lost = (items.events == 0) & (np.diff(items.features.offsets) == 0)
    least = np.where(lost, NORMS[0] * LOST_NORM, NORMS[0])
    outside = int(np.count_nonzero(~((norms >= least) & (norms <= NORMS[1]))))
    verdict = Verdict.BLOCK if outside else Verdict.PASS
    return GateCheck(
        "norms", verdict, f"{outside} item vectors have a norm outside {NORMS[0]:g} to {NORMS[1]:g}.", figures
    )


def not_collapsed(model: FittedModel) -> GateCheck:
    """Vectors of items that people took point in different directions."""
    warm = np.flatnonzero(model.items.events >= COLD_BELOW)
    rows = np.random.default_rng(0).choice(warm, min(SAMPLE, len(warm)), replace=False)
    if len(rows) < FEWEST_ITEMS:
        return GateCheck(
            "collapse",
            Verdict.WARN,
            f"{len(rows)} items with {COLD_BELOW} events, {FEWEST_ITEMS} are needed: nothing to measure.",
        )
    figures = spread_of(model.items.two_tower[rows])
    cosine, rank, duplicates = figures["mean_cosine"], figures["effective_rank"], figures["duplicates"]
    found = (
        _held_against(f"mean cosine {cosine:.2f}", cosine, MEAN_COSINE),
        _held_against(f"effective rank {rank:.1f}", rank, LEAST_RANK),
        _held_against(f"near-duplicates {duplicates:.1%}", duplicates, DUPLICATES),
    )
    verdicts, said = zip(*found, strict=True)
    verdict = next(worst for worst in (Verdict.BLOCK, Verdict.WARN, Verdict.PASS) if worst in verdicts)
    alike = "" if verdict is Verdict.PASS else " The events hardly tell these items apart."
    return GateCheck("collapse", verdict, f"{', '.join(said)}.{alike}", figures)


def _held_against(said: str, value: float, limits: tuple[float, float]) -> tuple[Verdict, str]:
    """What a figure means, and the limit that it has passed; `limits` are where it warns and where it blocks."""
    falls = limits[1] < limits[0]
    for verdict, limit in ((Verdict.BLOCK, limits[1]), (Verdict.WARN, limits[0])):
        if value < limit if falls else value > limit:
            return verdict, f"{said} ({'under' if falls else 'over'} {limit:g})"
    return Verdict.PASS, said


def spread_of(vectors: Floats) -> dict[str, float]:
    """How spread out vectors [m, d] are: mean pairwise cosine, effective rank, share with a near-duplicate.

    Effective rank is the participation ratio (sum of eigenvalues)² / sum of squares of the covariance of directions.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(lengths, 1e-12)).astype(np.float64)
    m = len(unit)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1.0)
    spectrum = np.linalg.eigvalsh(np.cov(unit, rowvar=False))
    return {
        "mean_cosine": float((np.linalg.norm(unit.sum(axis=0)) ** 2 - m) / (m * (m - 1))),
        "effective_rank": float(spectrum.sum() ** 2 / max(float((spectrum**2).sum()), 1e-30)),
        "duplicates": float((cosines.max(axis=1) > DUPLICATE_COSINE).mean()),
    }


def tables_answer(model: FittedModel) -> GateCheck:
    """The popularity tables can be fallen back on: a global one, descending, of items that exist."""
    tables = model.popularity
    found = tables.get(GLOBAL_KEY)
    if found is None or len(found[0]) == 0:
        return GateCheck("fallback_tables", Verdict.BLOCK, "the global popularity table is empty.")
    inside = (tables.rows >= 0) & (tables.rows < len(model.items))
    in_bounds = (tables.scores > 0) & (tables.scores <= _largest_scores(tables))
    starts = np.zeros(len(tables.rows), bool)
    starts[tables.offsets[:-1][tables.offsets[:-1] < len(starts)]] = True
    falling = np.diff(tables.scores, prepend=np.float32(np.inf)) <= 0
    wrong = {
        "rows that do not exist": int((~inside).sum()),
        "scores out of bounds": int((~in_bounds).sum()),
        "places out of order": int((~(falling | starts)).sum()),
    }
    if any(wrong.values()):
        said = ", ".join(f"{count} {what}" for what, count in wrong.items() if count)
        return GateCheck("fallback_tables", Verdict.BLOCK, f"popularity tables hold {said}.", wrong)
    return GateCheck(
        "fallback_tables", Verdict.PASS, f"{len(tables.keys)} tables in order.", {"tables": len(tables.keys)}
    )


def _largest_scores(tables: RankedLists) -> Floats:
    """[total] what a score may be at most: 1 of a share, anything of a weight."""
    largest = np.ones(len(tables.rows), np.float32)
    weights = {trending_key(window) for window in WINDOWS}
    for key, start, end in zip(tables.keys, tables.offsets[:-1], tables.offsets[1:], strict=True):
        if key in weights:
            largest[start:end] = np.inf
    return largest


def golden_replays(model: FittedModel) -> GateCheck:
    """Serving computes the vectors that training wrote."""
    if not model.golden:
        return GateCheck("parity", Verdict.BLOCK, "there is no golden case to replay.")
    try:
        replay_golden(model)
    except ParityBroken as error:
        return GateCheck("parity", Verdict.BLOCK, error.message)
    return GateCheck(
        "parity", Verdict.PASS, f"{len(model.golden)} golden cases replayed.", {"cases": len(model.golden)}
    )


def probes_exact(model: FittedModel) -> GateCheck:
    """The probes carry the exact answers: rows whose scores are the best there are, in order."""
    queries, rows = model.probes.queries, model.probes.rows
    if len(queries) == 0:
        return GateCheck("probes", Verdict.WARN, "there is no probe query: the index cannot be verified with any.")
    wrong = 0
    for query, claimed in zip(queries, rows, strict=True):
        scores = model.items.two_tower @ query
        best = -np.sort(-scores[np.argpartition(-scores, len(claimed) - 1)[: len(claimed)]])
        wrong += len(np.unique(claimed)) < len(claimed) or not np.allclose(scores[claimed], best, atol=PROBE_TOLERANCE)
    figures = {"probes": len(queries), "k": rows.shape[1], "wrong": int(wrong)}
    verdict = Verdict.BLOCK if wrong else Verdict.PASS
    return GateCheck("probes", verdict, f"{wrong} of {len(queries)} probes do not hold the exact answer.", figures)


SOUNDNESS_CHECKS: Final[tuple[Callable[[FittedModel], GateCheck], ...]] = (shapes_fit, all_finite)
"""What every other check takes for granted."""

ARRAY_CHECKS: Final[tuple[Callable[[FittedModel], GateCheck], ...]] = (
    norms_in_range,
    not_collapsed,
    tables_answer,
    golden_replays,
    probes_exact,
)
