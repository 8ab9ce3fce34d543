"""Candidates → slate: scale, recency, eligibility, then diversity with caps and promotions.

    scores ─▶ [0, 1] ─▶ × recency ─▶ without what is barred ─▶ diversity, caps, promotions ─▶ k items
                                                                          what is explored ─▶ the last of them

Pure: the arrays of one request in, the chosen rows out. The Lambda edge, the batch job and evaluation call it after
`retrieval.find_candidates`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates, Degraded, Ranked, Source
from contracts.fitted import ItemArrays, Rows
from reranking.diversity import CategoryPenalty, Diversity, Floats, MaximalMarginalRelevance, Positions
from reranking.normalise import to_unit_scale
from reranking.recency import recency_factor
from reranking.rules import SlateRules, choose_with_promotion, explored_rows
from reranking.settings import RerankSettings


def rerank(
    candidates: Candidates, items: ItemArrays, rules: SlateRules, settings: RerankSettings, now_seconds: int
) -> Ranked:
    """The best `rules.places` candidates in serving order.

    Fewer only where fewer are eligible; a score that is not finite is never served. What is explored comes last, as it
    was drawn, and scores 0 or what the place before it scores, if that is less. Parts (with `rules.explain`): those of
    retrieval and `raw`, `normalised`, `recency` and `diversity` (what each changed), `promoted`, `source`.
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
    explored = explored_rows(candidates.explored, items.category, rules, settings.category_cap)
    there = explored if settings.category_cap else explored[:0]  # a penalty is for what comes later, a cap is for all
    diversity, degraded = _diversity(np.concatenate([rows, there]), items, rules, settings)
    chosen, values = _choose(diversity, rows, fresh, rules, explored)
    parts: dict[str, Floats] = {}
    if rules.explain:
        parts = _parts(candidates, finite[order[chosen]], rules)
        parts["normalised"] = normalised[order[chosen]]
        parts["recency"] = fresh[chosen] - parts["normalised"]
        parts["diversity"] = values - fresh[chosen]
    ranked = Ranked(rows[chosen], values, parts, degraded)
    return _with_explored(ranked, explored, rules) if len(explored) else ranked


def _diversity(
    rows: Rows, items: ItemArrays, rules: SlateRules, settings: RerankSettings
) -> tuple[Diversity, tuple[str, ...]]:
    """The way to choose, and what was given up for lack of time. Caps are rules and hold in any case."""
    categories = items.category[rows]
    late = rules.deadline is not None and rules.deadline.expired and settings.diversity != "none"
    degraded = (Degraded.DIVERSITY_SKIPPED.value,) if late else ()
    if late or settings.diversity == "none":
        return CategoryPenalty(categories, 0.0, cap=settings.category_cap), degraded
    if settings.diversity == "category":
        return CategoryPenalty(categories, settings.category_penalty, settings.category_cap), degraded
    directions = items.directions(rows)
    return MaximalMarginalRelevance(directions, settings.mmr_relevance, categories, settings.category_cap), degraded


def _choose(
    diversity: Diversity, rows: Rows, scores: Floats, rules: SlateRules, explored: Rows
) -> tuple[Positions, Floats]:
    """Choose for the places before what is explored."""
    places, quota = rules.places - len(explored), rules.promoted_places
    there = np.arange(len(rows), len(rows) + len(explored)) if diversity.cap else np.empty(0, np.intp)
    if rules.promoted is None or not quota:
        return diversity.choose(scores, np.arange(len(rows)), places, there)
    quota -= int(np.count_nonzero(rules.promoted[explored]))
    return choose_with_promotion(diversity, scores, places, rules.promoted[rows], quota, there)


def _with_explored(ranked: Ranked, explored: Rows, rules: SlateRules) -> Ranked:
    score = np.minimum(ranked.scores.min(initial=0), np.float32(0))
    scores = np.full(len(explored), score, np.float32)
    parts = {name: np.zeros(len(explored), np.float32) for name in ranked.parts}
    if rules.explain:
        parts["diversity"] = scores
        parts["source"] = np.full(len(explored), Source.EXPLORED, np.float32)
        if rules.promoted is not None:
            parts["promoted"] = rules.promoted[explored].astype(np.float32)
    return Ranked(
        np.concatenate([ranked.rows, explored]),
        np.concatenate([ranked.scores, scores]),
        {name: np.concatenate([part, parts[name]]) for name, part in ranked.parts.items()},
        ranked.degraded,
    )


def _parts(candidates: Candidates, served: NDArray[np.intp], rules: SlateRules) -> dict[str, Floats]:
    parts = {name: part[served] for name, part in candidates.parts.items()}
    parts["raw"] = candidates.scores[served]
    rows = candidates.rows[served]
    promoted = np.zeros(len(rows), np.bool_) if rules.promoted is None else rules.promoted[rows]
    parts["promoted"] = promoted.astype(np.float32)
    sources = np.full(len(rows), Source.MODEL) if candidates.sources is None else candidates.sources[served]
    parts["source"] = sources.astype(np.float32)
    return parts
