"""The record of a profile: what a store holds of one user, as bytes that fit MAX_PROFILE_BYTES.

Items of the history stand in it once, whether or not they are seen or of the session. It knows no store, and not what
changes a record: that is `profile_rules.py`. Both profile stores call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Any, Final, NamedTuple, TypeGuard

import msgspec

from contracts.errors import IdInvalid, ProfileTooLarge
from contracts.profile import MAX_PROFILE_BYTES, SEEN_LIMIT, HistoryEvent, Profile
from contracts.schema import MAX_ID_BYTES

CURRENT_FORMAT: Final = 3
"""Of a record that says that its user left or whose session it was, for what wrote 2 would take such a word back. 1 had
no session, minute and version, and its seen items repeated those of the history."""
_PLAIN_FORMAT: Final = 2
"""Of any other record."""
OLDEST_READABLE_FORMAT: Final = 1

EVENT_IDS_FLOOR: Final = 100
"""Event ids that are remembered however little room there is: what a client that sends again has sent last."""

DIGEST_BYTES: Final = 8
"""Of an event id: two of a user's 500 collide once in 10¹⁴ users."""

_ITEM_BYTES: Final = 113
"""Of a DynamoDB item beside the user id, the record and the event ids: 47 of attribute names, 66 of three numbers."""

DEPARTURE_BYTES: Final = 46
"""Of a record of nothing but a departure, at most: 28 of its names and its format, and two numbers of 9."""


class Stored(msgspec.Struct, frozen=True):
    """What a store holds of one user."""

    profile: Profile
    event_ids: bytes = b""
    """Digests of the newest event ids, oldest first."""

    def knows(self, event_id: str) -> bool:
        """Whether the event of this id is in the profile already."""
        digest = digest_of(event_id)
        at = self.event_ids.find(digest)
        while at % DIGEST_BYTES and at > 0:  # across two digests
            at = self.event_ids.find(digest, at + 1)
        return at >= 0


class Packed(NamedTuple):
    """A record as bytes."""

    profile: bytes
    event_ids: bytes


class _Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored form of a profile; its key, the user id, stands beside it."""

    format: int = 1
    history: list[HistoryEvent] = []
    n_events: int = 0
    seen: list[str] = []
    """Beyond the history, oldest first."""
    features: dict[str, Any] = {}
    features_told: bool = False
    session_id: str | None = None
    in_session: list[int] = []
    """Positions in the history, ascending."""
    minute: int = 0
    in_minute: int = 0
    deleted_at: int = 0
    merged_into: str | None = None
    version: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


def is_id(text: str | None) -> TypeGuard[str]:
    """Whether a store can hold this id."""
    try:
        return text is not None and 0 < len(text.encode()) <= MAX_ID_BYTES
    except UnicodeEncodeError:
        return False


def check_ids(ids: Iterable[str | None], whose: str) -> None:
    """Raise IdInvalid where one of the ids cannot be stored, without telling it: logs must not name a user."""
    if not all(map(is_id, ids)):
        raise IdInvalid(f"{whose} id is empty, no Unicode, or longer than {MAX_ID_BYTES} bytes of UTF-8.")


def digest_of(event_id: str) -> bytes:
    """What is remembered of an event id; lone surrogates, which JSON allows, are told apart too."""
    return blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def seen_with(seen: Sequence[str], items: Iterable[str], history: Sequence[HistoryEvent]) -> list[str]:
    """Seen items and more, each once, SEEN_LIMIT at most: by arrival, then those of the history by time."""
    recent = distinct([event.item_id for event in history])
    in_history = set(recent)
    beyond = distinct([item for item in (*seen, *items) if item not in in_history])
    return beyond[max(0, len(beyond) + len(recent) - SEEN_LIMIT) :] + recent


def distinct(items: list[str]) -> list[str]:
    """Items in their order, each once, where it stands last."""
    return list(dict.fromkeys(items[::-1]))[::-1]


def visits_of(profile: Profile) -> list[str | None]:
    """[history] the visit that each event belongs to, as far as the profile remembers it."""
    visits: list[str | None] = list(repeat(None, len(profile.history)))
    left = list(profile.session)
    for place in reversed(range(len(profile.history))):
        if not left:
            break
        if profile.history[place] == left[-1]:
            visits[place] = profile.session_id
            left.pop()
    return visits


def pack(stored: Stored) -> Packed:
    """A record as bytes, MAX_PROFILE_BYTES at most with all that an item of DynamoDB has around it.

    What does not fit is dropped, oldest first: seen items beyond the history, then event ids beyond EVENT_IDS_FLOOR,
    then the history. Raises ProfileTooLarge where even that leaves no room, TypeError for features that are no plain
    data.
    """
    record, event_ids = _record_of(stored.profile), stored.event_ids
    room = MAX_PROFILE_BYTES - _ITEM_BYTES - len((stored.profile.user_id or "").encode())
    packed = _encode(record)
    if (excess := len(packed) + len(event_ids) - room) > 0:
        record = msgspec.structs.replace(record, seen=record.seen[_to_drop(record.seen, excess) :])
        packed = _encode(record)
    if (excess := len(packed) + len(event_ids) - room) > 0:
        spare = max(0, len(event_ids) - EVENT_IDS_FLOOR * DIGEST_BYTES)
        event_ids = event_ids[min(spare, -(-excess // DIGEST_BYTES) * DIGEST_BYTES) :]
    if (excess := len(packed) + len(event_ids) - room) > 0:
        packed = _encode(_shorter(record, _to_drop(record.history, excess)))
    if len(packed) + len(event_ids) > room:
        raise ProfileTooLarge(f"a profile without any history exceeds {MAX_PROFILE_BYTES} bytes.")
    return Packed(packed, event_ids)


def _to_drop(values: Sequence[object], excess: int) -> int:
    """How many of the oldest values must go to free `excess` bytes."""
    for place, value in enumerate(values):
        if excess <= 0:
            return place
        excess -= len(_encode(value))
    return len(values)


def _shorter(record: _Record, drop: int) -> _Record:
    in_session = [place - drop for place in record.in_session if place >= drop]
    return msgspec.structs.replace(record, history=record.history[drop:], in_session=in_session)


def _record_of(profile: Profile) -> _Record:
    in_history = {event.item_id for event in profile.history}
    plain = not profile.deleted_at and profile.merged_into is None and not profile.features_told
    return _Record(
        format=_PLAIN_FORMAT if plain else CURRENT_FORMAT,
        history=profile.history,
        n_events=profile.n_events,
        seen=[item for item in profile.seen if item not in in_history],
        features=profile.features,
        features_told=profile.features_told,
        session_id=profile.session_id,
        in_session=[place for place, visit in enumerate(visits_of(profile)) if visit is not None],
        minute=profile.minute,
        in_minute=profile.in_minute,
        deleted_at=profile.deleted_at,
        merged_into=profile.merged_into,
        version=profile.version,
    )


def is_departure(record: bytes) -> bool:
    """Whether a record says nothing but that its user left; of a damaged one nobody can say that."""
    try:
        return len(record) <= DEPARTURE_BYTES and has_only_left(unpack("", record).profile)
    except msgspec.DecodeError:
        return False


def has_only_left(profile: Profile) -> bool:
    """Whether a user left and nothing has come of them since."""
    return profile.deleted_at > 0 and profile == departure_of(profile)


def departure_of(profile: Profile) -> Profile:
    """A profile of nothing but the departure of its user, and how often it was written."""
    return Profile(user_id=profile.user_id, deleted_at=profile.deleted_at, version=profile.version)


def unpack(user_id: str, profile: bytes, event_ids: bytes = b"") -> Stored:
    """The record of a user. Raises msgspec.DecodeError for what is damaged or of another format, naming nobody."""
    try:
        record = _decode(profile)
        if not OLDEST_READABLE_FORMAT <= record.format <= CURRENT_FORMAT:
            raise msgspec.DecodeError(
                f"format {record.format} is outside the readable range {OLDEST_READABLE_FORMAT} to {CURRENT_FORMAT}"
            )
        session = [record.history[place] for place in record.in_session]
    except (UnicodeDecodeError, IndexError) as error:
        raise msgspec.DecodeError(f"not a record of a profile ({type(error).__name__})") from error
    if len(event_ids) % DIGEST_BYTES:
        raise msgspec.DecodeError("event ids are cut")
    return Stored(
        Profile(
            user_id=user_id,
            history=record.history,
            n_events=record.n_events,
            seen=_seen_of(record),
            features=record.features,
            features_told=record.features_told,
            session_id=record.session_id,
            session=session,
            minute=record.minute,
            in_minute=record.in_minute,
            deleted_at=record.deleted_at,
            merged_into=record.merged_into,
            version=record.version,
        ),
        event_ids,
    )


def _seen_of(record: _Record) -> list[str]:
    if record.format == 1:
        return seen_with(record.seen, (), record.history)
    return record.seen + distinct([event.item_id for event in record.history])
