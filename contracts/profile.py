"""A user as serving knows them: recent history, what they have seen, features.

Stores keep profiles, the Lambda edge reads one a request, retrieval turns it into candidates.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

HISTORY_LIMIT: Final = 100
"""Newest events that a profile keeps; the user tower reads no more (see `TowerArrays.positions`)."""

SEEN_LIMIT: Final = 2_000
"""Items that a profile remembers as seen: lasts longer than the history and fits a 16 KB record as row ids."""


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
    session: list[HistoryEvent] = []
    """Events of this session, oldest first; for an anonymous visitor all there is."""
