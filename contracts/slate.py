"""What a client gets: an ordered list of items that says why (decision 9).

Retrieval and re-ranking fill it, the Lambda edge encodes it, the CLI prints it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Route(StrEnum):
    """How candidates were found (decision 6)."""

    UNKNOWN = "unknown"
    """Nothing known: global popularity with decay."""
    ANONYMOUS = "anonymous"
    """A session without a user: ALS fold-in, blended with popularity while it is short."""
    BOTH_COLD = "both_cold"
    """A user below the threshold who asks for new items: popularity in the category, new items first."""
    COLD_USER = "cold_user"
    """A user below the threshold: popularity in the segment, and the model as far as it goes by so little."""
    MODEL = "model"
    """The served model."""
    SIMILAR = "similar"
    """Neighbours of an item."""
    POPULAR = "popular"
    """A popularity table that the client asked for."""


class SlateItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place of a slate."""

    item_id: str
    score: float
    explain: dict[str, float | str | bool] | None = None
    """Parts of the score, where the request asked for them."""


class Why(msgspec.Struct, frozen=True):
    """How the slate came about."""

    route: Route
    model: str
    """`two_tower`, `als` or `popularity`."""
    release: str
    publication: str
    variant: str | None = None
    """Where the user is in experiments, `experiment:variation` each, joined by commas; None: in none."""
    degraded: list[str] = []
    """What could not be done in time or was not available, and what happened instead; empty on a good day."""
    segment: str | None = None
    """Popularity table that was blended in, if any."""
    explored: int = 0
    """Places at the end that were given to new items without events, to find out whom they please."""


class Slate(msgspec.Struct, frozen=True):
    """The answer to a recommendation request."""

    recommendation_id: str
    items: list[SlateItem]
    why: Why
