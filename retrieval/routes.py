"""Which way candidates are found, in the order of decision 6; the first match wins.

    unknown     nothing known                              global popularity with decay
    anonymous   a session without a user                   ALS fold-in, blended with popularity while it is short
    both_cold   below the threshold, and `prefer: new`     popularity of the category, new items first
    cold_user   below the threshold                        popularity of the segment, blended by events / what the
                                                           model needs (ALS: the threshold, the towers: one event)
    model       everybody else                             the served model

A route that finds nothing eligible is not the end: `recommend` fills every slate from popularity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from contracts.candidates import Source
from contracts.fitted import UNKNOWN_TIME, Rows
from contracts.request import RecommendationRequest
from contracts.segments import GLOBAL_KEY, category_key, segment_keys
from contracts.slate import Route
from retrieval.found import Found, blend, join, on_ranks
from retrieval.popular import popular_found
from retrieval.query import Ask, ask_model
from retrieval.settings import RetrievalSettings
from retrieval.visitor import Visitor

LEADING_CATEGORIES: Final = 3
"""Categories that stand for a taste of which only the segment is known: most segments have two or three."""

BY_SERVED_MODEL: Final = frozenset({Route.COLD_USER, Route.MODEL})
"""Routes on which another served model makes another slate."""

NEWEST_LOOKED_AT: Final = 200
"""Newest items of a category that are considered: several pools of new items."""

_DAY_SECONDS: Final = 86_400

Answer = tuple[Found, str, str | None]
"""What was found, by which model, with which popularity table."""


def choose_route(visitor: Visitor, request: RecommendationRequest, settings: RetrievalSettings) -> Route:
    """The first route of decision 6 whose condition holds."""
    if not visitor.events and not visitor.features:
        return Route.UNKNOWN
    if visitor.anonymous and visitor.events:
        return Route.ANONYMOUS
    if visitor.events < settings.cold_user_events:
        return Route.BOTH_COLD if request.prefer == "new" else Route.COLD_USER
    return Route.MODEL


def find(route: Route, ask: Ask, request: RecommendationRequest) -> Answer:
    """Follow a route."""
    if route is Route.BOTH_COLD:
        return _both_cold(ask, request)
    return _FINDERS[route](ask)


def _unknown(ask: Ask) -> Answer:
    key, found = popular_found(ask.model, [GLOBAL_KEY], ask.eligible, ask.pool, explain=ask.explain)
    return found, "popularity", key


def _anonymous(ask: Ask) -> Answer:
    return _blended(ask, "als")


def _user(ask: Ask) -> Answer:
    return _blended(ask, ask.settings.served_model)


def _blended(ask: Ask, model_name: str) -> Answer:
    """A model, beside segment popularity while the history is too short for it; popularity where it finds nothing."""
    weight = min(1.0, ask.visitor.events / ask.settings.full_history(model_name))
    found = ask_model(ask, model_name) if weight and model_name != "popularity" else Found.nothing()
    if weight == 1.0 and len(found):
        return found, model_name, None
    keys = segment_keys(ask.model.fitted.schema.segment, ask.visitor.features)
    key, popular = popular_found(ask.model, keys, ask.eligible, ask.pool, explain=ask.explain)
    return (blend(found, popular, weight), model_name, key) if len(found) else (popular, "popularity", key)


def _both_cold(ask: Ask, request: RecommendationRequest) -> Answer:
    categories = _wanted_categories(ask, request)
    names = [category_key(ask.model.fitted.categories[c]) for c in categories]
    key, popular = popular_found(ask.model, [*names, GLOBAL_KEY], ask.eligible, ask.pool, explain=ask.explain)
    found = on_ranks(join([_new_items(ask, categories), popular]).take(slice(ask.pool)))
    return found, "popularity", key


def _wanted_categories(ask: Ask, request: RecommendationRequest) -> list[int]:
    """Categories from the filters, else of the few things that the user liked, else those that lead in the segment."""
    fitted = ask.model.fitted
    asked = request.filters.get(fitted.schema.category or "")
    if isinstance(asked, str | list):
        wanted = {asked} if isinstance(asked, str) else set(asked)
        return [number for number, name in enumerate(fitted.categories) if name in wanted]
    liked = ask.visitor.rows[ask.visitor.weights > 0]
    if len(liked):
        return _distinct(fitted.items.category[liked[::-1]])
    keys = segment_keys(fitted.schema.segment, ask.visitor.features)
    _, popular = popular_found(ask.model, keys, ask.eligible, ask.pool, explain=ask.explain)
    return _distinct(fitted.items.category[popular.rows])[:LEADING_CATEGORIES]


def _distinct(categories: Rows) -> list[int]:
    """Known categories in order of appearance."""
    return [int(category) for category in dict.fromkeys(categories.tolist()) if category >= 0]


def _new_items(ask: Ask, categories: list[int]) -> Found:
    """New items of the categories, those with most events first, then the newest."""
    items, newest = ask.model.items, ask.model.newest
    groups = [category + 1 for category in categories] or [0]
    rows = np.concatenate([newest.of(group)[:NEWEST_LOOKED_AT] for group in groups])
    published = items.published[rows]
    oldest = ask.now_seconds - ask.settings.new_days * _DAY_SECONDS
    new = ask.eligible.of(rows) & ((published >= oldest) | (published == UNKNOWN_TIME))
    rows, published = rows[new], published[new]
    rows = rows[np.lexsort((-published, -items.events[rows]))]
    found = Found(rows, items.events[rows].astype(np.float32))
    return found.told(Source.NEW) if ask.explain else found


_FINDERS: Final[dict[Route, Callable[[Ask], Answer]]] = {
    Route.UNKNOWN: _unknown,
    Route.ANONYMOUS: _anonymous,
    Route.COLD_USER: _user,
    Route.MODEL: _user,
}
