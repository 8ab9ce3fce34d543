"""How events, features and a nightly load change the record of one user: pure rules that every profile store shares.

Events may come twice, late and in any order; two writers apply them one after the other. What a user did before they
left comes back from nowhere, and an anonymous session that is somebody's takes no more events: that is
`profile_leaving.py`. Nothing here knows a store or reads a clock. `profiles.py` and `dynamodb_profiles.py` call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from contracts.errors import ProfileTooLarge
from contracts.profile import HISTORY_LIMIT, MAX_PROFILE_BYTES, SESSION_LIMIT, HistoryEvent, Profile
from stores.profile_leaving import is_before_departure, refuse_merged, since_departure
from stores.profile_records import (
    DIGEST_BYTES,
    Stored,
    check_ids,
    departure_of,
    digest_of,
    pack,
    seen_with,
    visits_of,
)

EVENT_IDS_LIMIT: Final = 500
"""Newest event ids that a user's record remembers: a queue delivers again within minutes, not after 500 events."""

MAX_FEATURES_BYTES: Final = MAX_PROFILE_BYTES // 2
"""Of a user's features, encoded: the other half holds 48 events of the longest ids, or a hundred of 60 bytes."""

_Entry = tuple[HistoryEvent, str | None]
"""An event and the visit that it belongs to, as far as that is known."""


class Addition(msgspec.Struct, frozen=True):
    """What one request adds to one user."""

    user_id: str
    events: Sequence[HistoryEvent]
    event_ids: Sequence[str] = ()
    """[events], where they have any: an event whose id the record remembers is not added again."""
    session_ids: Sequence[str | None] = ()
    """[events], where they have any: the visit that each belongs to."""
    replaces: bool = False
    """Whether the record is to say what these events say, and not to have them added, see `_rebuilt`."""
    received_at: int = 0
    """Unix seconds at which the first of them arrived: where their user left since, none is added. 0: as of now."""


AS_OF_NO_TIME: Final = 0
"""What is added is no arrival of this minute: events that were there before, in a log or in another record."""


def with_events(stored: Stored, addition: Addition, now_seconds: int) -> tuple[Stored, int]:
    """A record with the new ones of some events, and how many were new; the very same record where none was.

    Raises IdInvalid, SessionMerged, and ValueError where ids do not fit the events.
    """
    refuse_merged(stored.profile)
    if is_before_departure(addition.received_at or now_seconds, stored.profile):
        return stored, 0
    return _rebuilt(stored, addition) if addition.replaces else _with_new(stored, addition, now_seconds)


def _with_new(stored: Stored, addition: Addition, now_seconds: int) -> tuple[Stored, int]:
    profile = stored.profile
    check_ids((profile.user_id,), "a user's")
    check_ids((event.item_id for event in addition.events), "an item's")
    new, event_ids = _not_remembered(addition, stored.event_ids)
    if not new:
        return stored, 0
    entries = merged(_entries_of(profile), new)
    session_id, session = session_of(entries)
    history = [event for event, _ in entries]
    minute, in_minute = _arrivals(profile, now_seconds, len(new))
    changed = msgspec.structs.replace(
        profile,
        history=history,
        n_events=profile.n_events + len(new),
        seen=seen_with(profile.seen, (event.item_id for event, _ in new), history),
        session_id=session_id,
        session=session,
        minute=minute,
        in_minute=in_minute,
        version=profile.version + 1,
    )
    return Stored(changed, event_ids), len(new)


def _arrivals(profile: Profile, now_seconds: int, new: int) -> tuple[int, int]:
    """The minute that counts arrivals, and how many it has with some new ones."""
    if now_seconds == AS_OF_NO_TIME:
        return profile.minute, profile.in_minute
    minute = max(now_seconds // 60, profile.minute)  # a clock that lags does not restart the count
    return minute, (profile.in_minute if minute == profile.minute else 0) + new


def _rebuilt(stored: Stored, addition: Addition) -> tuple[Stored, int]:
    """A record of nothing but these events and what came after them, and how many these are; the same where it is so.

    Stored events later than the newest of these came while the log was read: they stay on top, counted. Features, what
    tells a flood, a departure, and ids of events that are not among these stay. Without times nothing can be told to be
    later.
    """
    old = stored.profile
    blank = Stored(msgspec.structs.replace(departure_of(old), features=old.features, features_told=old.features_told))
    rebuilt, counted = _with_new(blank, addition, AS_OF_NO_TIME)
    later = _later_than(addition.events, old)
    rebuilt, _ = _with_new(rebuilt, Addition(addition.user_id, *later), AS_OF_NO_TIME)
    known = {rebuilt.event_ids[at : at + DIGEST_BYTES] for at in range(0, len(rebuilt.event_ids), DIGEST_BYTES)}
    digests = (stored.event_ids[at : at + DIGEST_BYTES] for at in range(0, len(stored.event_ids), DIGEST_BYTES))
    event_ids = rebuilt.event_ids + b"".join(digest for digest in digests if digest not in known)
    flood = {"minute": old.minute, "in_minute": old.in_minute}
    profile = msgspec.structs.replace(rebuilt.profile, version=old.version, **flood)
    changed = Stored(profile, event_ids[-EVENT_IDS_LIMIT * DIGEST_BYTES :])
    if pack(changed) == pack(stored):
        return stored, 0
    return Stored(msgspec.structs.replace(profile, version=old.version + 1), changed.event_ids), counted


def _later_than(events: Sequence[HistoryEvent], old: Profile) -> tuple[list[HistoryEvent], list[str], list[str | None]]:
    """The stored events that are later than all of some, without ids, and their visits."""
    newest = max((event.timestamp for event in events if event.timestamp is not None), default=None)
    later = [
        (event, visit)
        for event, visit in _entries_of(old)
        if newest is not None and event.timestamp is not None and event.timestamp > newest
    ]
    return [event for event, _ in later], [], [visit for _, visit in later]


def with_features(stored: Stored, features: Mapping[str, Any], received_at: int = 0) -> Stored:
    """A record with other features; the same where they arrived (Unix seconds) before the user left.

    Raises IdInvalid, ProfileTooLarge, SessionMerged, and TypeError for what is no plain data.
    """
    check_ids((stored.profile.user_id,), "a user's")
    check_features(features)
    refuse_merged(stored.profile)
    if received_at and is_before_departure(received_at, stored.profile):
        return stored
    told = {"features": dict(features), "features_told": True, "version": stored.profile.version + 1}
    return Stored(msgspec.structs.replace(stored.profile, **told), stored.event_ids)


def check_features(features: Mapping[str, Any]) -> None:
    """Raise ProfileTooLarge where features leave too little room for what a user does."""
    if (size := len(msgspec.msgpack.encode(features))) > MAX_FEATURES_BYTES:
        raise ProfileTooLarge(
            f"the features of a user have {size} bytes; a profile holds {MAX_FEATURES_BYTES} of them.",
            fix="Give users fewer or shorter features; long texts belong to items.",
        )


def merged(entries: Sequence[_Entry], new: Sequence[_Entry]) -> list[_Entry]:
    """The newest HISTORY_LIMIT of a history and new events, by time; without times the order of arrival stands.

    Timed events end up the same in whatever order and portions they come: equal times are ordered by item and weight.
    What a load brought keeps the order of its file among equal times.
    """
    if all(event.timestamp is not None for event, _ in new):
        new = sorted(new, key=_by_time)[-HISTORY_LIMIT:]
    found = list(entries)
    for entry in new:
        place = len(found)
        while place and _is_later(found[place - 1], entry):
            place -= 1
        found.insert(place, entry)
    return found[-HISTORY_LIMIT:]


def _by_time(entry: _Entry) -> tuple[int | None, str, float]:
    event, _ = entry
    return event.timestamp, event.item_id, event.weight


def _is_later(one: _Entry, other: _Entry) -> bool:
    if one[0].timestamp is None or other[0].timestamp is None:
        return False
    return _by_time(one) > _by_time(other)


def session_of(entries: Sequence[_Entry]) -> tuple[str | None, list[HistoryEvent]]:
    """The visit of the newest event that belongs to one, and its newest SESSION_LIMIT events."""
    newest = next((visit for _, visit in reversed(entries) if visit is not None), None)
    if newest is None:
        return None, []
    return newest, [event for event, visit in entries if visit == newest][-SESSION_LIMIT:]


def _not_remembered(addition: Addition, remembered: bytes) -> tuple[list[_Entry], bytes]:
    """The events whose ids are new, with their visits, and the ids to remember now."""
    visits = addition.session_ids or [None] * len(addition.events)
    entries = zip(addition.events, visits, strict=True)
    if not addition.event_ids:
        return list(entries), remembered
    known = {remembered[at : at + DIGEST_BYTES] for at in range(0, len(remembered), DIGEST_BYTES)}
    new, digests = [], []
    for entry, event_id in zip(entries, addition.event_ids, strict=True):
        if (digest := digest_of(event_id)) not in known:
            known.add(digest)
            digests.append(digest)
            new.append(entry)
    return new, (remembered + b"".join(digests))[-EVENT_IDS_LIMIT * DIGEST_BYTES :]


def _entries_of(profile: Profile) -> list[_Entry]:
    return list(zip(profile.history, visits_of(profile), strict=True))


def with_load(stored: Stored, loaded: Profile, watermark: int | None, *, has_features: bool) -> Stored:
    """A record with what a dataset holds of its user; the very same record where nothing changes.

    `watermark`: the newest time of the dataset, Unix seconds; events of the stored history after it are live ones and
    stay on top, counted. Without one the stored record wins where it has more events than the dataset. `has_features`:
    whether the dataset knows any; those that a client told stay. What was seen stays seen, as far as it fits. Of a user
    who left, what the dataset has from before is left out; a session that is somebody's stays as it is. Raises
    IdInvalid, ProfileTooLarge.
    """
    old = stored.profile
    check_ids((old.user_id,), "a user's")
    if old.merged_into is not None:
        return stored
    loaded = since_departure(loaded, old, watermark)
    live_wins = watermark is None and old.n_events > loaded.n_events
    changed = old if live_wins else _with_live(old, loaded, watermark)
    if old.deleted_at:  # what it counts is what the history still shows
        changed = msgspec.structs.replace(changed, n_events=max(changed.n_events, old.n_events))
    if has_features and not old.features_told:
        check_features(loaded.features)
        changed = msgspec.structs.replace(changed, features=loaded.features)
    if _is_stored(changed, stored):
        return stored
    return Stored(msgspec.structs.replace(changed, version=old.version + 1), stored.event_ids)


def _is_stored(changed: Profile, stored: Stored) -> bool:
    """Whether it comes to the same bytes: what had no room the last time has none now."""
    if msgspec.structs.replace(changed, seen=stored.profile.seen) != stored.profile:
        return False
    return changed == stored.profile or pack(Stored(changed, stored.event_ids)) == pack(stored)


def _with_live(old: Profile, loaded: Profile, watermark: int | None) -> Profile:
    if not old.history and not old.seen:  # a first night, or a new user: there is nothing to be put together
        kept = ("user_id", "features", "features_told", "deleted_at", "version")
        return msgspec.structs.replace(loaded, **{name: getattr(old, name) for name in kept})
    live: list[_Entry] = [
        (event, None)
        for event in old.history
        if watermark is not None and event.timestamp is not None and event.timestamp > watermark
    ]
    history = [event for event, _ in merged([(event, None) for event in loaded.history], live)]
    changed = msgspec.structs.replace(
        old,
        history=history,
        n_events=loaded.n_events + len(live),
        seen=seen_with((*old.seen, *loaded.seen), (event.item_id for event, _ in live), history),
    )
    session_id, session = session_of(_entries_of(changed))
    return msgspec.structs.replace(changed, session_id=session_id, session=session)
