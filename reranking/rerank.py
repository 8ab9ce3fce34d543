"""Candidates → slate: scale, recency, eligibility, then diversity with caps and promotions.

    scores ─▶ [0, 1] ─▶ × recency ─▶ without what is barred ─▶ diversity, caps, promotions ─▶ k items
                                                                          what is explored ─▶ the last of them

An experiment may have places before those drawn anew (`random_places.py`) and another model's slate drafted into this
one (`interleave.py`). Pure: the arrays of one request in, the chosen rows out. The Lambda edge, the batch job and
evaluation call it after `retrieval.find_candidates`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates, Degraded, Ranked, Source
from contracts.fitted import ItemArrays, Rows
from reranking.diversity import CategoryPenalty, Diversity, Floats, MaximalMarginalRelevance
from reranking.interleave import NOBODY, Promises, interleave
from reranking.normalise import to_unit_scale
from reranking.random_places import Chosen, Line, free_places, with_random_places
from reranking.recency import recency_factor
from reranking.rules import SlateRules, choose_with_promotion, explored_kept
from reranking.settings import RerankSettings


def rerank(
    candidates: Candidates, items: ItemArrays, rules: SlateRules, settings: RerankSettings, now_seconds: int
) -> Ranked:
    """The best `rules.places` candidates in serving order.

    Fewer only where fewer are eligible; a score that is not finite is never served. What is explored comes last, as it
    was drawn, and scores 0 or what the place before it scores, if that is less. Parts (with `rules.explain`): those of
    retrieval and `raw`, `normalised`, `recency` and `diversity` (what each changed), `promoted`, `source`.
    """
    order, normalised, fresh = _in_order(candidates, items, rules, settings, now_seconds)
    rows = candidates.rows[order]
    explored, odds = _explored(candidates, items, rules, settings)
    there = explored if settings.category_cap else explored[:0]  # a penalty is for what comes later, a cap is for all
    diversity, degraded = _diversity(np.concatenate([rows, there]), items, rules, settings)
    line = Line(fresh, np.arange(len(rows), len(rows) + len(there)))
    chosen = _choose(diversity, line, rows, rules, explored)
    picked = chosen.positions
    parts: dict[str, Floats] = {}
    if rules.explain:
        parts = _parts(candidates, order[picked], rules)
        parts["normalised"] = normalised[picked]
        parts["recency"] = fresh[picked] - normalised[picked]
        parts["diversity"] = chosen.values - fresh[picked]
        if chosen.drawn is not None:
            parts["source"][chosen.drawn] = Source.RANDOM
    ranked = Ranked(rows[picked], chosen.values, parts, degraded, chosen.propensities)
    if rules.drafted is not None:
        promises = Promises(items.category, settings.category_cap, rules.promoted, rules.promoted_places)
        ranked = interleave(ranked, rules.drafted, chosen.drawn, promises, explored, rules.seed)
    return _with_explored(ranked, explored, odds, rules) if len(explored) else ranked


def rerank_both(
    first: Candidates,
    second: Candidates | None,
    items: ItemArrays,
    rules: SlateRules,
    settings: RerankSettings,
    now_seconds: int,
) -> Ranked:
    """The slate of the first, with that of the second, where there is one, drafted into it."""
    if second is not None:
        other = rerank(second, items, replace(rules, random_places=0), settings, now_seconds)
        rules = replace(rules, drafted=other)
    return rerank(first, items, rules, settings, now_seconds)


def _in_order(
    candidates: Candidates, items: ItemArrays, rules: SlateRules, settings: RerankSettings, now_seconds: int
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Candidates that may be served, best first: their numbers, and their scores before and after recency. [c] each."""
    finite = np.flatnonzero(np.isfinite(candidates.scores))
    normalised = to_unit_scale(candidates.scores[finite])
    fresh = normalised
    if settings.recency_weight:
        published = items.published[candidates.rows[finite]]
        fresh = normalised * recency_factor(
            published, now_seconds, settings.recency_weight, settings.recency_half_life_days
        )
    order = np.argsort(-fresh, kind="stable")
    if rules.barred is not None:
        order = order[~rules.barred[candidates.rows[finite[order]]]]
    return finite[order], normalised[order], fresh[order]


def _explored(
    candidates: Candidates, items: ItemArrays, rules: SlateRules, settings: RerankSettings
) -> tuple[Rows, Floats | None]:
    """The rows [x] that are explored, and the propensity of each."""
    if candidates.explored is None or not len(candidates.explored):
        return np.empty(0, np.int32), None
    kept = explored_kept(candidates.explored, items.category, rules, settings.category_cap)
    odds = candidates.explored_propensities
    return candidates.explored[kept], None if odds is None else odds[kept]


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


def _choose(diversity: Diversity, line: Line, rows: Rows, rules: SlateRules, explored: Rows) -> Chosen:
    """Choose for the places before what is explored, and draw the last of them anew where the rules ask for it."""
    places, quota = rules.places - len(explored), rules.promoted_places
    promoted = None
    if rules.promoted is None or not quota:
        chosen = Chosen(*diversity.choose(line.scores, np.arange(len(rows)), places, line.there))
    else:
        quota -= int(np.count_nonzero(rules.promoted[explored]))
        promoted = rules.promoted[rows]
        chosen = Chosen(*choose_with_promotion(diversity, line.scores, places, promoted, quota, line.there))
    if not rules.random_places:
        return chosen
    of_chosen = None if promoted is None else promoted[chosen.positions]
    free = free_places(of_chosen, len(chosen.positions), quota, rules.random_places)
    return with_random_places(chosen, diversity, line, free, rules.seed)


def _with_explored(ranked: Ranked, explored: Rows, odds: Floats | None, rules: SlateRules) -> Ranked:
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
        _joined_odds(ranked, len(explored), odds),
        None if ranked.teams is None else np.append(ranked.teams, np.full(len(explored), NOBODY, np.int8)),
    )


def _joined_odds(ranked: Ranked, n_explored: int, odds: Floats | None) -> Floats | None:
    """Propensities of a slate and of what is explored behind it; None where neither has any."""
    if ranked.propensities is None and odds is None:
        return None
    before = np.ones(len(ranked.rows), np.float32) if ranked.propensities is None else ranked.propensities
    return np.concatenate([before, np.ones(n_explored, np.float32) if odds is None else odds])


def _parts(candidates: Candidates, served: NDArray[np.intp], rules: SlateRules) -> dict[str, Floats]:
    parts = {name: part[served] for name, part in candidates.parts.items()}
    parts["raw"] = candidates.scores[served]
    rows = candidates.rows[served]
    promoted = np.zeros(len(rows), np.bool_) if rules.promoted is None else rules.promoted[rows]
    parts["promoted"] = promoted.astype(np.float32)
    sources = np.full(len(rows), Source.MODEL) if candidates.sources is None else candidates.sources[served]
    parts["source"] = sources.astype(np.float32)
    return parts
