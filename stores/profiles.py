"""Profiles: what serving knows of each user, one small record each, read once a request.

`Profiles` is the protocol, `SqliteProfiles` the local version. A record holds the newest history, the newest seen
items, features and the count of events ever; it is live data beside the release (decision 14), and an event that
arrives twice counts once. It does not know items or rows: ids are opaque. The Lambda edge reads and appends, the
backfill after a publish loads all users at once.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from contracts.deadline import Deadline
from contracts.errors import ProfilesUnavailable, StateBusy, StorageFull
from contracts.interactions import Interactions
from contracts.profile import HISTORY_LIMIT, SEEN_LIMIT, HistoryEvent, Profile

CURRENT_VERSION: Final = 1
OLDEST_READABLE_VERSION: Final = 1

EVENT_IDS_LIMIT: Final = 500
"""Newest event ids that a user's record remembers: a queue delivers again within minutes, not after 500 events."""

_DIGEST_BYTES: Final = 8
"""Of an event id: two of a user's 500 collide once in 10¹⁴ users."""

_BUSY_MS: Final = 5_000
"""How long a writer waits for another; a write takes well under a millisecond, a chunk of a bulk load 0.2 s."""

CHUNK_USERS: Final = 10_000
"""Users of one transaction of a bulk load: enough to write fast, few enough that events get in between."""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS profiles (
    user_id TEXT PRIMARY KEY NOT NULL,
    profile BLOB NOT NULL,
    event_ids BLOB NOT NULL DEFAULT x''
)
"""
_READ: Final = "SELECT profile FROM profiles WHERE user_id = ?"
_READ_WITH_IDS: Final = "SELECT profile, event_ids FROM profiles WHERE user_id = ?"
_WRITE: Final = "INSERT OR REPLACE INTO profiles (user_id, profile, event_ids) VALUES (?, ?, ?)"
_WRITE_PROFILE: Final = (
    "INSERT INTO profiles (user_id, profile) VALUES (?, ?) "
    "ON CONFLICT (user_id) DO UPDATE SET profile = excluded.profile"
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Profile).decode


class Profiles(Protocol):
    """Where profiles are kept."""

    def get(self, user_id: str, deadline: Deadline | None = None) -> Profile:
        """The profile of a user; an empty one for a stranger.

        Raises ProfilesUnavailable where the store cannot answer (before `deadline`).
        """
        ...

    def append(self, user_id: str, events: Sequence[HistoryEvent], event_ids: Sequence[str] = ()) -> int:
        """Add events to a history; returns how many were new.

        `event_ids` [events], where they have any: an event whose id the record remembers is not added again.
        """
        ...

    def put_features(self, user_id: str, features: Mapping[str, Any]) -> None:
        """Replace the features of a user."""
        ...

    def bulk_load(
        self,
        user_ids: Iterable[str],
        item_ids: Sequence[str],
        interactions: Interactions,
        features: Iterable[Mapping[str, Any]] | None = None,
        *,
        timed: bool = True,
    ) -> int:
        """Replace the profiles of many users; returns how many.

        `user_ids` and `features` follow the users of `interactions`, `item_ids` names its item rows; `timed`: its times
        are Unix seconds. A user is replaced whole or not at all; after a failure, run it again.
        """
        ...


class SqliteProfiles:
    """Profiles in one SQLite file: readers never wait (WAL), writers of several threads and processes take turns.

    One connection reads and one writes, whatever the number of threads: a dev server starts one per request.
    """

    def __init__(self, path: Path) -> None:
        """Open or create. Raises ProfilesUnavailable for a file that is none or of another version."""
        self._path = path
        self._reading, self._taking_turns = threading.Lock(), threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._naming_failures():
            self._writer = _connect(path)
            self._check_version()
            self._reader = _connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; whoever still reads or writes finishes first."""
        with self._reading, self._taking_turns:
            self._reader.close()
            self._writer.close()

    def get(self, user_id: str, deadline: Deadline | None = None) -> Profile:  # noqa: ARG002  # a local read is 20 µs
        """See `Profiles.get`."""
        with self._naming_failures():
            with self._reading:
                record = self._reader.execute(_READ, (user_id,)).fetchone()
            return Profile(user_id=user_id) if record is None else _decode(record[0])

    def append(self, user_id: str, events: Sequence[HistoryEvent], event_ids: Sequence[str] = ()) -> int:
        """See `Profiles.append`. An event older than the newest one is put where its time belongs."""
        with self._writing() as connection:
            record = connection.execute(_READ_WITH_IDS, (user_id,)).fetchone()
            profile, remembered = (Profile(user_id=user_id), b"") if record is None else (_decode(record[0]), record[1])
            new, remembered = _not_remembered(events, event_ids, remembered)
            if new:
                connection.execute(_WRITE, (user_id, _encode(_with_events(profile, new)), remembered))
            return len(new)

    def put_features(self, user_id: str, features: Mapping[str, Any]) -> None:
        """See `Profiles.put_features`."""
        with self._writing() as connection:
            record = connection.execute(_READ, (user_id,)).fetchone()
            profile = Profile(user_id=user_id) if record is None else _decode(record[0])
            changed = msgspec.structs.replace(profile, features=dict(features))
            connection.execute(_WRITE_PROFILE, (user_id, _encode(changed)))

    def bulk_load(
        self,
        user_ids: Iterable[str],
        item_ids: Sequence[str],
        interactions: Interactions,
        features: Iterable[Mapping[str, Any]] | None = None,
        *,
        timed: bool = True,
    ) -> int:
        """See `Profiles.bulk_load`. A transaction per CHUNK_USERS: memory does not grow with the users."""
        known = repeat({}) if features is None else features
        profiles = _profiles_of(user_ids, item_ids, interactions, known, timed=timed)
        records = ((profile.user_id, _encode(profile)) for profile in profiles)
        loaded = 0
        while chunk := list(islice(records, CHUNK_USERS)):
            with self._writing() as connection:
                connection.executemany(_WRITE_PROFILE, chunk)
            loaded += len(chunk)
        return loaded

    def _check_version(self) -> None:
        try:
            self._create_if_new()
        except BaseException:
            self._writer.close()
            raise

    def _create_if_new(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._writer.execute(_CREATE)
            self._writer.execute(f"PRAGMA user_version = {CURRENT_VERSION}")
        elif not OLDEST_READABLE_VERSION <= version <= CURRENT_VERSION:
            raise ProfilesUnavailable(
                f"{self._path}: version {version} is outside the readable range "
                f"{OLDEST_READABLE_VERSION} to {CURRENT_VERSION}.",
                fix="Move the file away; the next publish fills a new one.",
            )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer interleaves with."""
        with self._naming_failures(), self._taking_turns:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def _naming_failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull(
                    f"{self._path}: the disk is full; nothing was written.", fix="Free some space."
                ) from error
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StateBusy(f"{self._path}: another process is writing for too long.", fix="Try again.") from error
            raise self._unavailable(error) from error
        except (sqlite3.DatabaseError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> ProfilesUnavailable:
        return ProfilesUnavailable(
            f"{self._path}: not a readable profile store: {error}.",
            fix="Move the file away; the next publish fills a new one.",
        )


def _connect(path: Path) -> sqlite3.Connection:
    """Autocommit; transactions are opened by name. The caller's locks keep threads apart."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last writes, never the file
    except BaseException:
        connection.close()
        raise
    return connection


def _not_remembered(
    events: Sequence[HistoryEvent], event_ids: Sequence[str], remembered: bytes
) -> tuple[list[HistoryEvent], bytes]:
    """The events whose ids are new, and the ids to remember now."""
    if not event_ids:
        return list(events), remembered
    known = {remembered[at : at + _DIGEST_BYTES] for at in range(0, len(remembered), _DIGEST_BYTES)}
    new = []
    for event, event_id in zip(events, event_ids, strict=True):
        digest = blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).digest()
        if digest not in known:
            known.add(digest)
            remembered += digest
            new.append(event)
    return new, remembered[-EVENT_IDS_LIMIT * _DIGEST_BYTES :]


def _with_events(profile: Profile, new: Sequence[HistoryEvent]) -> Profile:
    history = list(profile.history)
    for event in new:
        place = len(history)
        while place and _is_later(history[place - 1], event):
            place -= 1
        history.insert(place, event)
    touched = dict.fromkeys(event.item_id for event in reversed(new))  # newest first, each once
    seen = [item for item in profile.seen if item not in touched] + list(touched)[::-1]
    return msgspec.structs.replace(
        profile,
        history=history[-HISTORY_LIMIT:],
        n_events=profile.n_events + len(new),
        seen=seen[-SEEN_LIMIT:],
    )


def _is_later(one: HistoryEvent, other: HistoryEvent) -> bool:
    """Where a time is missing, the order of arrival stands."""
    return one.timestamp is not None and other.timestamp is not None and one.timestamp > other.timestamp


def _profiles_of(
    user_ids: Iterable[str],
    item_ids: Sequence[str],
    interactions: Interactions,
    features: Iterable[Mapping[str, Any]],
    *,
    timed: bool,
) -> Iterator[Profile]:
    names = list(item_ids)
    for user, (user_id, known) in enumerate(zip(user_ids, features, strict=False)):  # features may repeat for ever
        events = interactions.of(user)
        newest = slice(max(events.start, events.stop - HISTORY_LIMIT), events.stop)
        rows = interactions.items[events].tolist()
        times = interactions.times[newest].tolist() if timed else repeat(None)
        items = (names[row] for row in rows[-HISTORY_LIMIT:])
        newest_seen = [names[row] for row in islice(dict.fromkeys(reversed(rows)), SEEN_LIMIT)]
        yield Profile(
            user_id=user_id,
            history=list(map(HistoryEvent, items, times, interactions.weights[newest].tolist())),
            n_events=len(rows),
            seen=newest_seen[::-1],
            features={name: value for name, value in known.items() if value is not None},
        )
