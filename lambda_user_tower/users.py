"""Users between two nights: told features, who leaves, and which anonymous session turned out to be whose.

Every change is several small writes in an order in which each can be the last: whatever was cut off is completed by
sending the request again, and no repetition adds an event twice. It knows no HTTP; the edge's calls about users call
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from contracts.errors import SessionMerged, TandemError
from contracts.live import ANONYMOUS_PREFIX, Merge
from contracts.profile import HistoryEvent, Profile
from contracts.schema import DatasetSchema
from lambda_user_tower.features import check_features
from stores.identities import Identities
from stores.profile_leaving import handed_over_id
from stores.profile_rules import AS_OF_NO_TIME
from stores.profiles import Addition, Profiles


class UserStatus(StrEnum):
    """What became of a user."""

    STORED = "stored"
    """The features are in the profile."""
    DELETED = "deleted"
    """Nothing is left but that they left."""
    NOT_KNOWN = "not-known"
    """There was nothing; that they left is kept all the same."""
    MERGED = "merged"
    """The session is theirs."""


class UserAnswer(msgspec.Struct, frozen=True):
    """What became of a user."""

    status: UserStatus


class MergeAnswer(msgspec.Struct, frozen=True):
    """What became of a session."""

    status: UserStatus
    events: int
    """How many of it this request brought into the user's profile."""


def put_features(
    user_id: str, features: Mapping[str, Any], profiles: Profiles, schema: DatasetSchema, now_seconds: int
) -> UserAnswer:
    """Replace what is stored of a user's features; null is as not told.

    Raises RequestInvalid where one is of another kind than the schema says, and as `Profiles.put_features`.
    """
    check_features(features, schema.users)
    told = {name: value for name, value in features.items() if value is not None}
    profiles.put_features(user_id, told, now_seconds)
    return UserAnswer(UserStatus.STORED)


def leave(user_id: str, profiles: Profiles, identities: Identities, now_seconds: int) -> UserAnswer:
    """Forget a user. That they left is written first, for from then on no night brings them back.

    Raises LiveDataUnavailable, and as `Profiles.forget`.
    """
    left = identities.bury(user_id, now_seconds)
    was_known = profiles.forget(user_id, left.deleted_at)
    return UserAnswer(UserStatus.DELETED if was_known else UserStatus.NOT_KNOWN)


def merge(user_id: str, session: str, profiles: Profiles, identities: Identities, now_seconds: int) -> MergeAnswer:
    """Make an anonymous session (its user id) a user's, and bring its events into their profile.

    Claimed first, it takes no more events: what comes later finds its user by itself. Raises SessionMerged where it is
    another user's, LiveDataUnavailable, and as `Profiles.claim`.
    """
    held = profiles.claim(session, user_id)
    merged = identities.merge(session, user_id, now_seconds)
    if merged.user_id != user_id:  # its record was lost, and with it that somebody had claimed it
        raise SessionMerged("the session is another user's.", user_id=merged.user_id, fix="Begin a new session.")
    added = _bring(held, merged, profiles)
    profiles.hand_over(session)
    return MergeAnswer(UserStatus.MERGED, added)


def _bring(held: Profile, merged: Merge, profiles: Profiles) -> int:
    """Add the events of a session to its user, as of when it became theirs: they may have left since."""
    known = profiles.read([merged.user_id])
    events = _since(held.history, known[merged.user_id].profile.deleted_at)
    if not events:
        return 0
    addition = Addition(
        merged.user_id,
        events,
        [handed_over_id(merged.session, event, f"{merged.session}#{place}") for place, event in enumerate(events)],
        [merged.session.removeprefix(ANONYMOUS_PREFIX)] * len(events),
        received_at=merged.merged_at,
    )
    (outcome,) = profiles.append_all([addition], AS_OF_NO_TIME, known)
    if isinstance(outcome, TandemError):
        raise outcome
    return outcome


def _since(history: list[HistoryEvent], deleted_at: int) -> list[HistoryEvent]:
    """The events of a session that are not from before its user left, as a night takes them; without times none is."""
    if not deleted_at:
        return history
    return [event for event in history if event.timestamp is not None and event.timestamp > deleted_at]
