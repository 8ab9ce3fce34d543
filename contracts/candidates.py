"""Candidates and ranked items: what retrieval hands to re-ranking, and re-ranking to the edge.

Arrays of one request, item rows of one release. `retrieval` makes Candidates, `reranking` turns them into Ranked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from contracts.slate import Route


class Source(IntEnum):
    """Where a candidate came from; `name.lower()` is what `explain` shows."""

    MODEL = 0
    """The query vector of the served model."""
    POPULARITY = 1
    """A popularity table."""
    NEIGHBOUR = 2
    """A cold item, through a similar item of the user's history."""
    NEW = 3
    """A newly published item of a category."""
    CONTENT = 4
    """Similar attributes and text (TF-IDF)."""
    FILL = 5
    """Taken because too little else was eligible."""
    FRESH = 6
    """An item told since the last night, by its content."""
    EXPLORED = 7
    """A fresh item without events, shown to find out whom it pleases."""
    TRENDING = 8
    """Popular in the last hours or days."""
    RANDOM = 9
    """Drawn from the next best candidates, as a variant of an experiment asks for."""


class Degraded(StrEnum):
    """What was cut short, and what happened instead (decision 11)."""

    MODEL_SKIPPED = "model_skipped"
    """No time left for the query: popularity alone."""
    INDEX_UNAVAILABLE = "index_unavailable"
    """The index did not answer: the vectors embedded in the release were searched instead."""
    NEIGHBOURS_SKIPPED = "neighbours_skipped"
    """No time left for cold items near the history: the model's candidates alone."""
    WIDER_QUERY_SKIPPED = "wider_query_skipped"
    """No time left for a second query: popularity filled the slate."""
    LIVE_DATA_OLD = "live_data_old"
    """Fresh items, stock and hidden items could not be read for a while: the last ones that were read were used."""
    DIVERSITY_SKIPPED = "diversity_skipped"
    """No time left to diversify: best scores first."""
    EXPERIMENTS_OLD = "experiments_old"
    """The payload of experiments is older than it may be: everybody is served as control and takes part in none."""
    VARIANT_NOT_SERVED = "variant_not_served"
    """The release lacks a model of the variant, or there was no time for its second one: the publication's answered, or
    the first. The user stays in the variant."""
    EXPOSURE_NOT_LOGGED = "exposure_not_logged"
    """The log of exposures took no row: the variant was served and the user is not counted."""


@dataclass(frozen=True)
class Candidates:
    """Items that may be served, best first, each row once, every one eligible. c candidates."""

    rows: NDArray[np.int32]
    """[c]"""
    scores: NDArray[np.float32]
    """[c] higher is better; on the scale of whatever route found them."""
    route: Route
    model: str
    """`two_tower`, `als` or `popularity`."""
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Name → [c]: what the score was made of; filled where the request asks for `explain`, 0 where a part is absent."""
    segment: str | None = None
    """Key of the popularity table that was blended in."""
    degraded: tuple[str, ...] = ()
    sources: NDArray[np.int8] | None = None
    """[c] a Source each; None where the request does not ask for `explain`."""
    unknown_items: int = 0
    """Events of the history whose item this release does not know; they were skipped."""
    explored: NDArray[np.int32] | None = None
    """[x] eligible rows, none of them in `rows`, that take the last places of the slate; None: none do."""
    explored_propensities: NDArray[np.float32] | None = None
    """[x] probability of each among what could be explored, given those drawn before it; None where `explored` is."""


@dataclass(frozen=True)
class Ranked:
    """The chosen items in serving order. k items."""

    rows: NDArray[np.int32]
    """[k]"""
    scores: NDArray[np.float32]
    """[k] after scale, recency and penalties."""
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Name → [k]: score parts of the chosen, retrieval's and re-ranking's; `source` is a Source number."""
    degraded: tuple[str, ...] = ()
    propensities: NDArray[np.float32] | None = None
    """[k] probability of the item at its place, given the places before; None: chance had no part in any."""
    teams: NDArray[np.int8] | None = None
    """[k] whose draft the item was, see `ServedSlate.teams`; None: nothing was interleaved."""
