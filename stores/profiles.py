"""Profiles: what serving knows of each user, one small record each, read once a request.

`Profiles` is the protocol, `SqliteProfiles` the local class; the one in AWS is `dynamodb_profiles.py`. A record holds
the newest history, the newest seen items, the visit, features and the count of events ever; it is live data beside the
release (decision 14), and an event that arrives twice counts once (`profile_rules.py`). It does not know items or rows:
ids are opaque. The Lambda edge reads and appends, the backfill after a publish loads all users at once.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from contracts.deadline import Deadline
from contracts.errors import IdInvalid, ProfilesUnavailable, ProfileTooLarge, SessionMerged, TandemError
from contracts.interactions import Interactions
from contracts.live import ANONYMOUS_PREFIX
from contracts.profile import HistoryEvent, Profile
from stores.profile_leaving import claimed, handed_over, without_everything
from stores.profile_loading import loaded_profiles
from stores.profile_records import DEPARTURE_BYTES, check_ids, is_departure, is_id, pack, unpack
from stores.profile_records import Stored as Stored
from stores.profile_rules import Addition as Addition
from stores.profile_rules import with_events, with_features, with_load
from stores.sqlite_file import Contents, SqliteFile

CURRENT_VERSION: Final = 2
"""Of the file; 1 held records of format 1, which are read and written anew one by one."""
OLDEST_READABLE_VERSION: Final = 1

CHUNK_USERS: Final = 1_000
"""Users of one transaction of a bulk load: enough to write fast, few enough that events get in between."""
PAGE_USERS: Final = 1_000
"""Ids that are read at once: some milliseconds, and 100 KB."""

_CONTENTS: Final = Contents(
    what="a store of profiles",
    version=CURRENT_VERSION,
    oldest=OLDEST_READABLE_VERSION,
    create=(
        """
        CREATE TABLE profiles (
            user_id TEXT PRIMARY KEY NOT NULL,
            profile BLOB NOT NULL,
            event_ids BLOB NOT NULL DEFAULT x''
        )
        """,
    ),
    unavailable=ProfilesUnavailable,
    fix="Move the file away; the next publish fills a new one.",
)
_READ: Final = "SELECT profile, event_ids FROM profiles WHERE user_id = ?"
_WRITE: Final = "INSERT OR REPLACE INTO profiles (user_id, profile, event_ids) VALUES (?, ?, ?)"
_PAGE: Final = """
SELECT user_id, CASE WHEN length(profile) <= ? THEN profile END FROM profiles
WHERE user_id > ? AND NOT (user_id >= ? AND user_id < ?) ORDER BY user_id LIMIT ?
"""
_CountingChange = Callable[[Stored], tuple[Stored, int]]
_ANONYMOUS: Final = (ANONYMOUS_PREFIX, ANONYMOUS_PREFIX[:-1] + chr(ord(ANONYMOUS_PREFIX[-1]) + 1))
"""First id of an anonymous session, and the one behind all of them."""


class Profiles(Protocol):
    """Where profiles are kept."""

    def get(self, user_id: str, deadline: Deadline | None = None) -> Profile:
        """The profile of a user; an empty one for a stranger, and for an id that no store can hold.

        Sees every write that was acknowledged before. Raises ProfilesUnavailable where the store cannot answer (before
        `deadline`).
        """
        ...

    def read(self, user_ids: Sequence[str]) -> dict[str, Stored]:
        """What is stored of some users, strangers included. Raises ProfilesUnavailable, StateBusy."""
        ...

    def append(self, user_id: str, events: Sequence[HistoryEvent], event_ids: Sequence[str] = ()) -> int:
        """Add events to one user, as of now; returns how many were new.

        `event_ids` [events], where they have any: an event whose id the record remembers is not added again. Raises
        IdInvalid, ProfilesUnavailable, StateBusy, StorageFull.
        """
        (outcome,) = self.append_all([Addition(user_id, events, event_ids)], int(time.time()))
        if isinstance(outcome, TandemError):
            raise outcome
        return outcome

    def append_all(
        self, additions: Sequence[Addition], now_seconds: int, known: Mapping[str, Stored] = {}
    ) -> list[int | TandemError]:
        """[additions] how many events of each were new, or the named failure of its user.

        `now_seconds`: Unix time of arrival; `known`: what `read` returned, which spares reading again.
        """
        ...

    def put_features(self, user_id: str, features: Mapping[str, Any], received_at: int = 0) -> None:
        """Replace the features of a user, unless they arrived (Unix seconds; 0: now) before the user left.

        Raises IdInvalid, ProfileTooLarge, ProfilesUnavailable, StateBusy, StorageFull.
        """
        ...

    def forget(self, user_id: str, now_seconds: int) -> bool:
        """Leave nothing of a user but that they left now; whether there was anything.

        Events that arrived until now are not added afterwards, whoever still has them under way; later ones begin anew.
        Raises IdInvalid, ProfilesUnavailable, StateBusy, StorageFull.
        """
        ...

    def claim(self, session: str, user_id: str) -> Profile:
        """Say that an anonymous session is a user's, and give back what it holds; the first user to say so wins.

        From then on appending to the session raises SessionMerged, naming the user. Raises SessionMerged where it is
        another's, and as `forget`.
        """
        ...

    def hand_over(self, session: str) -> None:
        """Take away what a claimed session held, once its user has it: whose it is stays. Raises as `forget`."""
        ...

    def user_ids(self) -> Iterator[str]:
        """The id of every user with a record, each once, in no order; no anonymous session, and nobody who left.

        Reads page by page: memory does not grow with the users. Raises ProfilesUnavailable, StateBusy.
        """
        ...

    def bulk_load(
        self,
        user_ids: Iterable[str],
        item_ids: Sequence[str],
        interactions: Interactions,
        features: Iterable[Mapping[str, Any]] | None = None,
        *,
        timed: bool = True,
        watermark: int | None = None,
    ) -> int:
        """Bring the profiles of many users up to a dataset, beside writers of live events; returns how many users.

        `user_ids` and `features` follow the users of `interactions`, `item_ids` names its item rows; `timed`: its times
        are Unix seconds; `watermark`: the newest of them. Stored history after the watermark stays on top and is
        counted; without times or a watermark, a record with more events than the dataset stays. A user is changed whole
        or not at all, and not written where nothing changes; after a failure, run it again.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class SqliteProfiles(Profiles):
    """Profiles in one SQLite file: readers never wait (WAL), writers of several threads and processes take turns.

    One connection reads and one writes, whatever the number of threads: a dev server starts one per request.
    """

    def __init__(self, path: Path) -> None:
        """Open or create. Raises ProfilesUnavailable for a file that is none or of another version."""
        self._path, self._file = path, SqliteFile(path, _CONTENTS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; whoever still reads or writes finishes first."""
        self._file.close()

    def get(self, user_id: str, deadline: Deadline | None = None) -> Profile:  # noqa: ARG002  # a local read is 20 µs
        """See `Profiles.get`."""
        return self._read(user_id).profile

    def read(self, user_ids: Sequence[str]) -> dict[str, Stored]:
        """See `Profiles.read`."""
        return {user_id: self._read(user_id) for user_id in user_ids}

    def append_all(
        self,
        additions: Sequence[Addition],
        now_seconds: int,
        known: Mapping[str, Stored] = {},  # noqa: ARG002  # reading within the transaction costs as little
    ) -> list[int | TandemError]:
        """See `Profiles.append_all`. One transaction: all users are written, except those that failed, or none."""
        try:
            with self._file.writing() as connection:
                return [self._append(connection, addition, now_seconds) for addition in additions]
        except TandemError as error:
            return [error] * len(additions)

    def put_features(self, user_id: str, features: Mapping[str, Any], received_at: int = 0) -> None:
        """See `Profiles.put_features`."""
        with self._file.writing() as connection:
            _change(connection, user_id, partial(with_features, features=features, received_at=received_at))

    def forget(self, user_id: str, now_seconds: int) -> bool:
        """See `Profiles.forget`."""
        with self._file.writing() as connection:
            return _change_counting(connection, user_id, partial(without_everything, now_seconds=now_seconds)) > 0

    def claim(self, session: str, user_id: str) -> Profile:
        """See `Profiles.claim`."""
        with self._file.writing() as connection:
            return _change(connection, session, partial(claimed, user_id=user_id)).profile

    def hand_over(self, session: str) -> None:
        """See `Profiles.hand_over`."""
        with self._file.writing() as connection:
            _change(connection, session, handed_over)

    def user_ids(self) -> Iterator[str]:
        """See `Profiles.user_ids`. By key, PAGE_USERS at a time: writers come in between."""
        last = ""
        while page := self._page_after(last):
            yield from (user_id for user_id, record in page if record is None or not is_departure(record))
            last = page[-1][0]

    def bulk_load(
        self,
        user_ids: Iterable[str],
        item_ids: Sequence[str],
        interactions: Interactions,
        features: Iterable[Mapping[str, Any]] | None = None,
        *,
        timed: bool = True,
        watermark: int | None = None,
    ) -> int:
        """See `Profiles.bulk_load`. A transaction per CHUNK_USERS: memory does not grow with the users."""
        profiles = loaded_profiles(user_ids, item_ids, interactions, features, timed=timed)
        newest, has_features = watermark if timed else None, features is not None
        loaded = 0
        while chunk := list(islice(profiles, CHUNK_USERS)):
            with self._file.writing() as connection:
                for profile in chunk:
                    change = partial(with_load, loaded=profile, watermark=newest, has_features=has_features)
                    _change(connection, profile.user_id or "", change)
            loaded += len(chunk)
        return loaded

    def _read(self, user_id: str) -> Stored:
        if not is_id(user_id):
            return Stored(Profile(user_id=user_id))
        with self._file.reading() as connection:
            return _stored(connection, user_id)

    def _page_after(self, user_id: str) -> list[tuple[str, bytes | None]]:
        """The next users by key, with their records where these are as short as a departure."""
        with self._file.reading() as connection:
            return connection.execute(_PAGE, (DEPARTURE_BYTES, user_id, *_ANONYMOUS, PAGE_USERS)).fetchall()

    def _append(self, connection: sqlite3.Connection, addition: Addition, now_seconds: int) -> int | TandemError:
        """What became of one user's events; only a failure of theirs, the store's own is raised."""
        try:
            add = partial(with_events, addition=addition, now_seconds=now_seconds)
            return _change_counting(connection, addition.user_id, add)
        except (IdInvalid, ProfileTooLarge, SessionMerged) as error:
            return error
        except msgspec.DecodeError as error:
            return ProfilesUnavailable(f"{self._path}: a record cannot be read: {error}.", fix=_CONTENTS.fix)


def _stored(connection: sqlite3.Connection, user_id: str) -> Stored:
    record = connection.execute(_READ, (user_id,)).fetchone()
    return Stored(Profile(user_id=user_id)) if record is None else unpack(user_id, *record)


def _change(connection: sqlite3.Connection, user_id: str, change: Callable[[Stored], Stored]) -> Stored:
    """Apply a change to a record within a transaction; returns what it is then."""
    check_ids((user_id,), "a user's")
    stored = _stored(connection, user_id)
    changed = change(stored)
    if changed is not stored:
        connection.execute(_WRITE, (user_id, *pack(changed)))
    return changed


def _change_counting(connection: sqlite3.Connection, user_id: str, change: _CountingChange) -> int:
    """As `_change`; returns what the change counted."""
    counted = 0

    def uncounted(stored: Stored) -> Stored:
        nonlocal counted
        changed, counted = change(stored)
        return changed

    _change(connection, user_id, uncounted)
    return counted
