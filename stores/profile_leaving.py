"""What a record says of a user who left, and of an anonymous session that turned out to be somebody's: pure rules.

A departure leaves its time and nothing else, and the time stays: whatever a slower writer, a nightly load or a repair
still has from before is told by it. A session is claimed once, for good; what it held goes to its user and is then
taken away here. Nothing here knows a store or reads a clock. `profile_rules.py` and both profile stores call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.errors import SessionMerged
from contracts.event import derived_id
from contracts.profile import HistoryEvent, Profile
from stores.profile_records import Stored, check_ids, departure_of


def without_everything(stored: Stored, now_seconds: int) -> tuple[Stored, int]:
    """A record of nothing but that its user left, and 1 where there was anything else. Raises IdInvalid."""
    old = stored.profile
    check_ids((old.user_id,), "a user's")
    left = msgspec.structs.replace(departure_of(old), deleted_at=max(old.deleted_at, now_seconds))
    held = old != departure_of(old) or bool(stored.event_ids)
    if left == old and not held:
        return stored, 0
    return Stored(msgspec.structs.replace(left, version=old.version + 1)), int(held)


def is_before_departure(received_at: int, profile: Profile) -> bool:
    """Whether what arrived then (Unix seconds) is of a time before the user left; the second itself is."""
    return 0 < profile.deleted_at >= received_at


def since_departure(loaded: Profile, old: Profile, watermark: int | None) -> Profile:
    """What a dataset tells of a user, without what it has from before they left; `old`: their stored profile.

    A dataset without times, or whose newest event (`watermark`) is of before, is left out whole, features too. How many
    events are beyond its history since the departure it does not say: the stored count stays where it is greater.
    """
    if not old.deleted_at:
        return loaded
    history = [event for event in loaded.history if not _is_old(event, old.deleted_at)]
    changes: Mapping[str, Any] = {
        "history": history,
        "n_events": len(history),
        "seen": list(dict.fromkeys(event.item_id for event in history)),
        "features": loaded.features if watermark is not None and watermark > old.deleted_at else old.features,
    }
    return msgspec.structs.replace(loaded, **changes)


def _is_old(event: HistoryEvent, deleted_at: int) -> bool:
    return event.timestamp is None or event.timestamp <= deleted_at


def claimed(stored: Stored, user_id: str) -> Stored:
    """The record of a session as this user's; the same where it is already. Raises IdInvalid, SessionMerged."""
    session = stored.profile
    check_ids((session.user_id, user_id), "a session's or a user's")
    if session.merged_into == user_id:
        return stored
    refuse_merged(session)
    return Stored(msgspec.structs.replace(session, merged_into=user_id, version=session.version + 1), stored.event_ids)


def handed_over(stored: Stored) -> Stored:
    """The record of a claimed session without what its user has by now; the same where there is nothing of it.

    Ids of events stay: one that is sent again under the session has been taken before.
    """
    session = stored.profile
    if session.merged_into is None:
        return stored
    left = msgspec.structs.replace(departure_of(session), merged_into=session.merged_into)
    if left == session:
        return stored
    return Stored(msgspec.structs.replace(left, version=session.version + 1), stored.event_ids)


def handed_over_id(session: str, event: HistoryEvent, otherwise: str) -> str:
    """The id under which an event of a claimed session is added to its user, the same whoever does it, and again.

    Equal content at the same time is the same event; without a time `otherwise`.
    """
    if event.timestamp is None:
        return otherwise
    return derived_id(session, event.item_id, repr(event.weight), event.timestamp)


def refuse_merged(profile: Profile) -> None:
    """Raise SessionMerged where a profile is that of a claimed session."""
    if profile.merged_into is not None:
        raise SessionMerged(
            "the session is a user's already: it takes no events, and cannot become another's.",
            user_id=profile.merged_into,
            fix="Send events under the user, or begin a new session.",
        )
