"""Popularity lists, filtered by what is eligible: the fallback that is used every day, and what is popular now.

The tables are in memory at every request (decision 6), by segment, category and for everybody. Routing blends them;
the endpoint `popular` serves them as they are, or those of a window with what has been counted since the night.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from contracts.candidates import Candidates, Source
from contracts.fitted import Floats, Rows
from contracts.segments import GLOBAL_KEY, category_key, segment_keys
from contracts.slate import Route
from contracts.trending import WINDOWS, half_life_seconds, trending_key
from retrieval.eligibility import Eligibility
from retrieval.found import Found, join, on_ranks
from retrieval.opened import OpenModel


def popular_items(
    model: OpenModel, k: int, now_seconds: int, *, category: str | None = None, segment: Mapping[str, str] | None = None
) -> Candidates:
    """The k most popular items of a category, or of a demographic segment (user feature → value), or of all.

    A segment without a table falls back to the broader one; a category without one has no items.
    """
    eligible = model.servable.for_request(np.empty(0, np.int32), None, now_seconds)
    keys = segment_keys(model.fitted.schema.segment, segment or {}) if category is None else [category_key(category)]
    key, found = popular_found(model, keys, eligible, k, explain=True)
    return found.candidates(Route.POPULAR, "popularity", key)


def trending_items(model: OpenModel, k: int, now_seconds: int, window: str, live: Mapping[str, float]) -> Candidates:
    """The k items of most weight in a window of `contracts.trending`, filled up with what is popular at all.

    weight of an item = table × 2^(-(now - watermark) / half-life) + live, half-life = a quarter of the window; the
    table is the release's, the same sum of faded event weights at its watermark. `live`: item id → weight of what came
    after the watermark, faded to now; items that the release does not know are passed over. Which of the table's
    events have left the window since is not known: they count on, a sixteenth of their weight each at the most, until
    the watermark itself is a window old and the table counts no more. Without a table live weights stand alone.
    """
    eligible = model.servable.for_request(np.empty(0, np.int32), None, now_seconds)
    weights = _summed(_faded_table(model, now_seconds, window), _live(model, live))
    found = weights.take(eligible.of(weights.rows)).best_first().take(slice(k))
    found = found.told(Source.TRENDING, trending=found.scores)
    found = on_ranks(found if len(found) == k else fill(model, eligible, found, k))
    return found.candidates(Route.POPULAR, "popularity", trending_key(window))


def _faded_table(model: OpenModel, now_seconds: int, window: str) -> Found:
    """A window's table of the release, as far as it still counts."""
    table = model.fitted.popularity.get(trending_key(window))
    age = max(0, now_seconds - model.fitted.watermark)  # a clock behind the data's makes nothing grow
    if table is None or age >= WINDOWS[window]:
        return Found.nothing()
    rows, weights = table
    return Found(rows, weights * np.float32(2 ** (-age / half_life_seconds(window))))


def _live(model: OpenModel, live: Mapping[str, float]) -> Found:
    rows = model.items.ids.rows(live)
    weights = np.fromiter(live.values(), np.float32, len(live))
    return Found(rows, weights).take((rows >= 0) & (weights > 0))


def _summed(one: Found, other: Found) -> Found:
    """The rows of either, ascending, each with the sum of its scores."""
    rows, place = np.unique(np.concatenate([one.rows, other.rows]), return_inverse=True)
    scores = np.bincount(place, np.concatenate([one.scores, other.scores]), len(rows))
    return Found(rows, scores.astype(np.float32))


def popular_found(
    model: OpenModel, keys: Sequence[str], eligible: Eligibility, limit: int, *, explain: bool
) -> tuple[str | None, Found]:
    """The first `limit` eligible items of the first key that has a table, filled up from the keys after it.

    Scores are ranks (see `found`); the share of decayed event weight is the part `popularity`. Returns the first key
    that has a table, or None.
    """
    used: str | None = None
    found = Found.nothing()
    for key in keys:
        if (table := model.fitted.popularity.get(key)) is None:
            continue
        used = used or key
        found = _then(found, table, eligible, limit, explain=explain)
        if len(found) >= limit:
            break
    return used, on_ranks(found.take(slice(limit)))


def _then(found: Found, table: tuple[Rows, Floats], eligible: Eligibility, limit: int, *, explain: bool) -> Found:
    """`found`, and after it the eligible items of a table."""
    rows, shares = table
    kept = eligible.of(rows).nonzero()[0][:limit]
    more = Found(rows[kept], shares[kept])
    more = more.told(Source.POPULARITY, popularity=more.scores) if explain else more
    return join([found, more]) if len(found) else more


def fill(model: OpenModel, eligible: Eligibility, found: Found, places: int) -> Found:
    """`found`, and after it what is most popular among the eligible rest, until the places are full."""
    enough = places + len(found)  # some of the list may be among the found
    _, popular = popular_found(model, [GLOBAL_KEY], eligible, enough, explain=True)
    rest = popular.take(~np.isin(popular.rows, found.rows))
    if len(found) + len(rest) < places:
        rest = join([rest, _most_events(model, eligible, enough)])
        rest = rest.take(~np.isin(rest.rows, found.rows))
    rest = rest.take(slice(places - len(found)))
    below = Found(rest.rows, _below(found.scores, len(rest)), rest.parts).told(Source.FILL)
    return join([found, below])


def _most_events(model: OpenModel, eligible: Eligibility, limit: int) -> Found:
    """A pass over the whole catalogue, for the day when every list is spent."""
    rows = eligible.all_rows()
    rows = rows[np.argsort(-model.items.events[rows], kind="stable")[:limit]]
    return Found(rows, np.zeros(len(rows), np.float32))


def _below(scores: Floats, n: int) -> Floats:
    """n falling scores under the lowest of `scores`, within their spread: order is kept, the scale hardly changes."""
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (1.0, 2.0)
    step = max(high - low, 1e-3) / max(n, 1)
    return (low - step * np.arange(1, n + 1)).astype(np.float32)
