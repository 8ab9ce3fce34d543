"""Asking a model: visitor → query vector → index → eligible rows, plus a few cold items near the recent history.

A model is an encoder (profile → query vector) and the field of the index that it searches (decision 5). Eligibility is
met by over-fetching, and by one wider query where too little was left. Items that came after the release are in no
index: each is scored by its own vector, and stands where its score puts it. It does not choose the model: routes do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from contracts.candidates import Degraded, Source
from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import Floats, Rows
from contracts.restriction import Restriction
from retrieval.als import fold_in
from retrieval.eligibility import Eligibility
from retrieval.found import Found, in_line
from retrieval.opened import OpenModel
from retrieval.settings import RetrievalSettings
from retrieval.user_tower import encode_user
from retrieval.visitor import Visitor
from stores.vector_index import VectorIndex, best_positions

MAX_WIDER_FETCH = 10_000
"""Rows of the one wider query: the most that OpenSearch gives to a k-NN query."""


@dataclass(frozen=True)
class Ask:
    """One request, as the routes see it."""

    model: OpenModel
    index: VectorIndex
    visitor: Visitor
    eligible: Eligibility
    restriction: Restriction | None
    """What the filters let through."""
    settings: RetrievalSettings
    deadline: Deadline
    places: int
    """Items that the client wants."""
    now_seconds: int
    explain: bool = False
    degraded: list[str] = field(default_factory=list)
    queries: dict[str, Floats] = field(default_factory=dict)
    """Model → the visitor's query vector [d], of the models that were asked."""
    ahead: Mapping[str, Floats] = field(default_factory=dict)
    """Model → the visitor's query vector [d], where a batch has made it."""

    @property
    def pool(self) -> int:
        return self.settings.pool(self.places)


def query_vector(model: OpenModel, visitor: Visitor, model_name: str) -> Floats:
    """The visitor as a query [d] of `two_tower` or `als`."""
    fitted = model.fitted
    if model_name == "als":
        return fold_in(fitted.als, fitted.items.vectors("als", visitor.rows), visitor.weights)
    features = fitted.user_encoder.encode_one(visitor.features) if visitor.features else None
    return encode_user(fitted.tower, fitted.items, visitor.rows, visitor.weights, features)


def ask_model(ask: Ask, model_name: str) -> Found:
    """Eligible items by the score of a model, best first; at most the pool."""
    if ask.deadline.expired:
        ask.degraded.append(Degraded.MODEL_SKIPPED)
        return Found.nothing()
    query = ask.ahead[model_name] if model_name in ask.ahead else query_vector(ask.model, ask.visitor, model_name)
    if not query.any():  # who only disliked things says nothing to ALS
        return Found.nothing()
    ask.queries[model_name] = query
    found, fresh = _search(ask, model_name, query), _fresh_found(ask, model_name, query)
    if ask.explain:
        found, fresh = found.told(Source.MODEL, model=found.scores), fresh.told(Source.FRESH, model=fresh.scores)
    if len(fresh):
        found = in_line([found, fresh]).best_first().take(slice(ask.pool))
    near = _cold_near_history(ask, model_name, query, found.rows)
    if ask.explain:
        near = near.told(Source.NEIGHBOUR, neighbour=near.scores)
    return in_line([found, near]).best_first() if len(near) else found


def _fresh_found(ask: Ask, model_name: str, query: Floats) -> Found:
    """Eligible fresh items by the score of a model, best first, ties by row; at most the pool."""
    items = ask.model.items
    if items.fresh is None:
        return Found.nothing()
    vectors: Floats = getattr(items.fresh, model_name)
    scores = vectors @ query
    rows = np.arange(items.released, len(items), dtype=np.int32)
    scores[~ask.eligible.of(rows)] = -np.inf
    best = best_positions(scores, ask.pool)
    return Found(rows[best], scores[best])


def _search(ask: Ask, model_name: str, query: Floats) -> Found:
    fetch = min(ask.pool + len(ask.visitor.barred), ask.settings.max_fetch)
    rows, scores = _search_index(ask, model_name, query, fetch)
    kept = ask.eligible.of(rows).nonzero()[0]
    if len(kept) < ask.places and len(rows) == fetch:
        if ask.deadline.expired:
            ask.degraded.append(Degraded.WIDER_QUERY_SKIPPED)
        else:
            rows, scores = _search_index(ask, model_name, query, max(MAX_WIDER_FETCH, fetch))
            kept = ask.eligible.of(rows).nonzero()[0]
    kept = kept[: ask.pool]
    return Found(rows[kept], scores[kept])


def _search_index(ask: Ask, model_name: str, query: Floats, k: int) -> tuple[Rows, Floats]:
    restriction = ask.restriction
    if restriction is not None and ask.model.items.fresh is not None:  # an index knows the rows of its release alone
        restriction = Restriction(restriction.clauses, restriction.mask[: ask.model.items.released])
    try:
        return ask.index.search(model_name, query, k, restriction, ask.deadline.share(ask.settings.index_share))
    except IndexUnavailable:
        if Degraded.INDEX_UNAVAILABLE not in ask.degraded:
            ask.degraded.append(Degraded.INDEX_UNAVAILABLE)
        return ask.model.index.search(model_name, query, k, restriction)


def _cold_near_history(ask: Ask, model_name: str, query: Floats, found: Rows) -> Found:
    """A quota of cold items that resemble recent items: similarity × the recent item's own score by the model.

    A few dozen pairs: plain Python is three times faster on them than the dozen array calls that it replaces.
    """
    liked = ask.visitor.rows[ask.visitor.weights > 0]
    liked = liked[liked < ask.model.items.released]  # nothing has a fresh item among its neighbours
    cold, recent = ask.model.cold, liked[-ask.settings.recent_items :]
    quota = math.ceil(ask.places * ask.settings.cold_quota)
    if not cold.rows.size or not len(recent) or not quota:
        return Found.nothing()
    if ask.deadline.expired:
        ask.degraded.append(Degraded.NEIGHBOURS_SKIPPED)
        return Found.nothing()
    rows = cold.rows[recent].ravel()
    own_scores = ask.model.items.vectors(model_name, recent) @ query
    scores = (cold.similarities[recent] * own_scores[:, None]).ravel()
    usable = ask.eligible.of(rows) & (scores > 0)  # a place without an item has the similarity 0
    best: dict[int, float] = {}
    for row, score in zip(rows[usable].tolist(), scores[usable].tolist(), strict=True):
        if score > best.get(row, 0.0):
            best[row] = score
    for row in found.tolist():
        best.pop(row, None)
    nearest = sorted(best, key=best.__getitem__, reverse=True)[:quota]
    return Found(np.array(nearest, np.int32), np.array([best[row] for row in nearest], np.float32))
