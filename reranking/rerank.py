"""Candidates → slate: scale, recency, eligibility, then diversity with caps and promotions.

    scores ─▶ [0, 1] ─▶ × recency ─▶ without what is barred ─▶ diversity, caps, promotions ─▶ k items

Pure: the arrays of one request in, the chosen rows out. The Lambda edge, the batch job and evaluation call it after
`retrieval.find_candidates`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates, Degraded, Ranked, Source
from contracts.fitted import ItemArrays
from reranking.diversity import CategoryPenalty, Diversity, Floats, MaximalMarginalRelevance, Positions
from reranking.normalise import to_unit_scale
from reranking.recency import recency_factor
from reranking.rules import SlateRules, choose_with_promotion
from reranking.settings import RerankSettings


def rerank(
    candidates: Candidates, items: ItemArrays, rules: SlateRules, settings: RerankSettings, now_seconds: int
) -> Ranked:
    """The best `rules.places` candidates in serving order.

    Fewer only where fewer are eligible; a score that is not finite is never served. Parts (with `rules.explain`):
    those of retrieval and `raw`, `normalised`, `recency` and `diversity` (what each changed), `promoted`, `source`.
    """
    finite = np.flatnonzero(np.isfinite(candidates.scores))
    rows, normalised = candidates.rows[finite], to_unit_scale(candidates.scores[finite])
    fresh = normalised
    if settings.recency_weight:
        published = items.published[rows]
        fresh = normalised * recency_factor(
            published, now_seconds, settings.recency_weight, settings.recency_half_life_days
        )
    order = np.argsort(-fresh, kind="stable")
    if rules.barred is not None:
        order = order[~rules.barred[rows[order]]]
    rows, fresh = rows[order], fresh[order]
    diversity, degraded = _diversity(rows, items, rules, settings)
    chosen, values = _choose(diversity, rows, fresh, rules)
    parts: dict[str, Floats] = {}
    if rules.explain:
        parts = _parts(candidates, finite[order[chosen]], rules)
        parts["normalised"] = normalised[order[chosen]]
        parts["recency"] = fresh[chosen] - parts["normalised"]
        parts["diversity"] = values - fresh[chosen]
    return Ranked(rows[chosen], values, parts, degraded)


def _diversity(
    rows: NDArray[np.int32], items: ItemArrays, rules: SlateRules, settings: RerankSettings
) -> tuple[Diversity, tuple[str, ...]]:
    """The way to choose, and what was given up for lack of time. Caps are rules and hold in any case."""
    categories = items.category[rows]
    late = rules.deadline is not None and rules.deadline.expired and settings.diversity != "none"
    degraded = (Degraded.DIVERSITY_SKIPPED.value,) if late else ()
    if late or settings.diversity == "none":
        return CategoryPenalty(categories, 0.0, cap=settings.category_cap), degraded
    if settings.diversity == "category":
        shown = _shown_categories(categories, items, rules)
        return CategoryPenalty(categories, settings.category_penalty, shown, settings.category_cap), degraded
    shown_vectors = None if rules.shown is None else items.directions(rules.shown)
    directions = items.directions(rows)
    return MaximalMarginalRelevance(
        directions, settings.mmr_relevance, categories, shown_vectors, settings.category_cap
    ), degraded


def _choose(
    diversity: Diversity, rows: NDArray[np.int32], scores: Floats, rules: SlateRules
) -> tuple[Positions, Floats]:
    if rules.promoted is not None and rules.promoted_places:
        promoted = rules.promoted[rows]
        return choose_with_promotion(diversity, scores, rules.places, promoted, rules.promoted_places)
    return diversity.choose(scores, np.arange(len(rows)), rules.places, np.empty(0, np.intp))


def _shown_categories(categories: NDArray[np.int32], items: ItemArrays, rules: SlateRules) -> NDArray[np.bool_] | None:
    if rules.shown is None or not len(rules.shown):
        return None
    return np.isin(categories, items.category[rules.shown]) & (categories >= 0)


def _parts(candidates: Candidates, served: NDArray[np.intp], rules: SlateRules) -> dict[str, Floats]:
    parts = {name: part[served] for name, part in candidates.parts.items()}
    parts["raw"] = candidates.scores[served]
    rows = candidates.rows[served]
    promoted = np.zeros(len(rows), np.bool_) if rules.promoted is None else rules.promoted[rows]
    parts["promoted"] = promoted.astype(np.float32)
    sources = np.full(len(rows), Source.MODEL) if candidates.sources is None else candidates.sources[served]
    parts["source"] = sources.astype(np.float32)
    return parts
