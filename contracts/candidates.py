"""Candidates and ranked items: what retrieval hands to re-ranking, and re-ranking to the edge.

Arrays of one request, item rows of one release. `retrieval` makes Candidates, `reranking` turns them into Ranked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.slate import Route


@dataclass(frozen=True)
class Candidates:
    """Items that might be served, each row once. c candidates."""

    rows: NDArray[np.int32]
    """[c]"""
    scores: NDArray[np.float32]
    """[c] higher is better; on the scale of whatever route found them."""
    route: Route
    model: str
    """`two_tower`, `als` or `popularity`."""
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Name → [c]: what the score was made of, for `explain`."""
    segment: str | None = None
    """Key of the popularity table that was blended in."""
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ranked:
    """The chosen items in serving order. k items."""

    rows: NDArray[np.int32]
    """[k]"""
    scores: NDArray[np.float32]
    """[k]"""
    parts: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Name → [k]: score parts of the chosen, retrieval's and re-ranking's."""
