"""The profiles of all users of one line of the world, kept by the rules of the profile stores, in memory.

A store would add a write to the disk a visit and nothing else: what an event does to a profile is `profile_rules.py`
in both. Nobody leaves and nothing comes twice here. `lines.py` reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from contracts.profile import HistoryEvent, Profile
from stores.profile_records import Stored
from stores.profile_rules import Addition, with_events, with_features


class KeptProfiles:
    """Profiles by user number."""

    def __init__(self, user_ids: Sequence[str], users: pl.DataFrame) -> None:
        """Of nobody who did anything; `users`: the users table of the dataset, for their features."""
        self._user_ids = user_ids
        told: dict[str, Mapping[str, Any]] = {row.pop("user_id"): row for row in users.iter_rows(named=True)}
        self._stored = [_newcomer(user_id, told.get(user_id, {})) for user_id in user_ids]

    def of(self, user: int) -> Profile:
        """What is stored of a user."""
        return self._stored[user].profile

    def add(self, user: int, events: Sequence[HistoryEvent], session_id: str, now_seconds: int) -> None:
        """Add the events of one visit."""
        addition = Addition(self._user_ids[user], events, session_ids=[session_id] * len(events))
        self._stored[user], _ = with_events(self._stored[user], addition, now_seconds)


def _newcomer(user_id: str, features: Mapping[str, Any]) -> Stored:
    stored = Stored(Profile(user_id=user_id))
    known = {name: value for name, value in features.items() if value is not None}
    return with_features(stored, known) if known else stored
