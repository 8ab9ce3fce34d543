"""Popularity lists, filtered by what is eligible: the fallback that is used every day.

The tables are in memory at every request (decision 6), by segment, category and for everybody. Routing blends them;
the endpoint `popular` serves them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contracts.candidates import Candidates, Source
from contracts.fitted import Floats
from contracts.segments import GLOBAL_KEY, category_key, segment_keys
from contracts.slate import Route
from retrieval.eligibility import Eligibility
from retrieval.found import Found, join, on_ranks
from retrieval.opened import OpenModel


def popular_items(
    model: OpenModel, k: int, now_seconds: int, *, category: str | None = None, segment: dict[str, str] | None = None
) -> Candidates:
    """The k most popular items of a category, or of a demographic segment (user feature → value), or of all.

    A segment without a table falls back to the broader one; a category without one has no items.
    """
    eligible = model.servable.for_request(np.empty(0, np.int32), None, now_seconds)
    if category is not None:
        keys = [category_key(category)]
    else:
        keys = segment_keys(model.fitted.schema.segment, segment or {})
    key, found = popular_found(model, keys, eligible, k)
    return Candidates(found.rows, found.scores, Route.POPULAR, "popularity", found.parts, key, sources=found.sources)


def popular_found(model: OpenModel, keys: Sequence[str], eligible: Eligibility, limit: int) -> tuple[str | None, Found]:
    """The first `limit` eligible items of the first key that has a table, filled up from the keys after it.

    Scores are ranks (see `found`); the share of decayed event weight is the part `popularity`. Returns the first key
    that has a table, or None.
    """
    tables = ((key, model.fitted.popularity.get(key)) for key in keys)
    known = [(key, table) for key, table in tables if table is not None]
    lists: list[Found] = []
    count = 0
    for _, (rows, shares) in known:
        kept = np.flatnonzero(eligible.of(rows))[:limit]
        lists.append(Found.of(rows[kept], shares[kept], Source.POPULARITY, "popularity"))
        count += len(kept)
        if count >= limit:
            break
    if not lists:
        return None, Found.nothing()
    found = lists[0] if len(lists) == 1 else join(lists).take(slice(limit))
    return known[0][0], on_ranks(found)


def fill(model: OpenModel, eligible: Eligibility, found: Found, places: int) -> Found:
    """`found`, and after it what is most popular among the eligible rest, until the places are full."""
    missing = places - len(found)
    _, popular = popular_found(model, [GLOBAL_KEY], eligible, places)
    rest = popular.take(~np.isin(popular.rows, found.rows))
    if len(rest) < missing:
        rest = join([rest, _most_events(model, eligible, places)])
        rest = rest.take(~np.isin(rest.rows, found.rows))
    rest = rest.take(slice(missing))
    below = Found(rest.rows, _below(found.scores, len(rest)), np.full(len(rest), Source.FILL, np.int8), rest.parts)
    return join([found, below])


def _most_events(model: OpenModel, eligible: Eligibility, limit: int) -> Found:
    """A pass over the whole catalogue, for the day when every list is spent."""
    rows = eligible.all_rows()
    rows = rows[np.argsort(-model.items.events[rows], kind="stable")[:limit]]
    return Found.of(rows, np.zeros(len(rows), np.float32), Source.FILL, "popularity")


def _below(scores: Floats, n: int) -> Floats:
    """n falling scores under the lowest of `scores`, within their spread: order is kept, the scale hardly changes."""
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (1.0, 2.0)
    step = max(high - low, 1e-3) / max(n, 1)
    return (low - step * np.arange(1, n + 1)).astype(np.float32)
