"""Items like an item: the direction of its two-tower vector, blended with TF-IDF over attributes and text.

Both are cosines, so they share a scale as they are. An item that nobody has touched has a vector that training only
guessed from its attributes; there TF-IDF speaks alone and the vector only fills up. An item that came after the release
is compared like any other, and found like one. The endpoint `similar` calls it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates, Degraded, Source
from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import Floats, Rows
from contracts.slate import Route
from retrieval.found import Found
from retrieval.opened import OpenModel
from retrieval.popular import fill
from stores.vector_index import VectorIndex, best_positions

CONTENT_WEIGHT: Final = 0.3
"""Share of TF-IDF for an item with events: what people do together says more than what is written on the box."""

COLD_CONTENT_WEIGHT: Final = 0.9
"""The same for a cold item; the rest orders what TF-IDF does not tell apart."""

OVER_FETCH: Final = 4
"""Rows fetched per place: eligibility drops some, and norms reorder the rest."""


def similar_items(
    model: OpenModel,
    row: int,
    k: int,
    now_seconds: int,
    index: VectorIndex | None = None,
    deadline: Deadline | None = None,
) -> Candidates:
    """The k eligible items most like the item of `row`, best first, never itself, filled up from popularity.

    `index` is where the release is searched (`model.index` unless given). Parts: `cosine` of the vectors, `content` of
    TF-IDF.
    """
    eligible = model.servable.for_request(np.array([row], np.int32), None, now_seconds)
    direction = model.items.directions(np.array([row]))[0]
    near, degraded = _near(model, index or model.index, direction, k * OVER_FETCH, deadline or Deadline.never())
    alike, similarities = _alike_by_content(model, row)
    rows = np.unique(np.concatenate([near, alike]))
    content = np.zeros(len(rows), np.float32)
    content[np.searchsorted(rows, alike)] = similarities
    cosine = model.items.directions(rows) @ direction
    weight = np.float32(COLD_CONTENT_WEIGHT if model.is_cold(row) else CONTENT_WEIGHT)
    by_content, by_vector = weight * content, (1 - weight) * cosine
    source = np.where(by_content > by_vector, Source.CONTENT, _of_vectors(model, rows)).astype(np.float32)
    found = Found(rows, by_content + by_vector, {"cosine": cosine, "content": content, "source": source})
    found = found.take(eligible.of(rows)).best_first().take(slice(k))
    if len(found) < k:
        found = fill(model, eligible, found, k)
    return found.candidates(Route.SIMILAR, "two_tower", degraded=degraded)


def _near(
    model: OpenModel, index: VectorIndex, direction: Floats, k: int, deadline: Deadline
) -> tuple[Rows, tuple[str, ...]]:
    """The best rows of the release and the best fresh ones by inner product with a direction.

    From the embedded vectors where the index does not answer.
    """
    degraded: tuple[str, ...] = ()
    try:
        near = index.search("two_tower", direction, k, None, deadline)[0]
    except IndexUnavailable:
        near, degraded = model.index.search("two_tower", direction, k)[0], (Degraded.INDEX_UNAVAILABLE,)
    if (fresh := model.items.fresh) is not None:
        best = best_positions(fresh.two_tower @ direction, k)
        near = np.concatenate([near, (best + model.items.released).astype(np.int32)])
    return near, degraded


def _of_vectors(model: OpenModel, rows: Rows) -> NDArray[np.integer]:
    """What is found by its vector: by that of the release, or by that of a fresh item."""
    return np.where(rows < model.items.released, Source.MODEL, Source.FRESH)


def _alike_by_content(model: OpenModel, row: int) -> tuple[Rows, Floats]:
    """Hot neighbours of the item, and the cold items that have it among theirs; each once."""
    rows, similarities = model.neighbours_of(row)
    cold = model.cold
    if cold.rows.size and row < model.items.released:
        there = cold.rows[row] >= 0
        rows = np.concatenate([rows, cold.rows[row][there]])
        similarities = np.concatenate([similarities, cold.similarities[row][there]])
    return rows, similarities
