"""A user as serving knows them: recent history, what they have seen, features.

Stores keep profiles, the Lambda edge reads one a request, retrieval turns it into candidates.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

HISTORY_LIMIT: Final = 100
"""Newest events that a profile keeps; the user tower reads no more (see `TowerArrays.positions`)."""

SEEN_LIMIT: Final = 2_000
"""Items that a profile remembers as seen, as far as they fit: lasts longer than the history."""

SESSION_LIMIT: Final = 50
"""Newest events of one visit that a profile keeps apart."""

MAX_PROFILE_BYTES: Final = 16 * 1024
"""Of a stored record, ids of events included: four read units of DynamoDB, whatever a user does."""


class HistoryEvent(msgspec.Struct, frozen=True, array_like=True):
    """One event of a history."""

    item_id: str
    timestamp: int | None = None
    """Unix seconds."""
    weight: float = 1.0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a user or a session; everything may be empty."""

    user_id: str | None = None
    history: list[HistoryEvent] = []
    """Oldest first."""
    n_events: int = 0
    """Events ever, which routing compares with its threshold; at least len(history)."""
    seen: list[str] = []
    """Item ids not to repeat, history included."""
    features: dict[str, Any] = {}
    features_told: bool = False
    """Whether a client told the features: what a dataset says of the user no longer replaces them."""
    session_id: str | None = None
    """Of the visit that the newest event with a session id came from."""
    session: list[HistoryEvent] = []
    """Events of that session, oldest first, in the history too; for an anonymous visitor all there is."""
    minute: int = 0
    """Unix minute in which the newest events arrived ..."""
    in_minute: int = 0
    """... and how many arrived in it: what a flood is told by."""
    deleted_at: int = 0
    """Unix seconds at which the user left; what is of an earlier time is never added again. 0: never left."""
    merged_into: str | None = None
    """The user that an anonymous session turned out to be; its events are theirs."""
    version: int = 0
    """Writes of the record so far: a conditional write shows the one that it was made from."""
