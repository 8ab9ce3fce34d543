"""Profiles: what serving knows of each user, one small record each, read once a request.

`Profiles` is the protocol, `SqliteProfiles` the local class; the one in AWS is `dynamodb_profiles.py`. A record holds
the newest history, the newest seen items, the visit, features and the count of events ever; it is live data beside the
release (decision 14), and an event that arrives twice counts once (`profile_rules.py`). It does not know items or rows:
ids are opaque. The Lambda edge reads and appends, the backfill after a publish loads all users at once.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from contracts.deadline import Deadline
from contracts.errors import IdInvalid, ProfilesUnavailable, ProfileTooLarge, StateBusy, StorageFull, TandemError
from contracts.interactions import Interactions
from contracts.profile import HistoryEvent, Profile
from stores.profile_loading import loaded_profiles
from stores.profile_records import Stored as Stored
from stores.profile_records import check_ids, is_id, pack, unpack
from stores.profile_rules import Addition as Addition
from stores.profile_rules import with_events, with_features, with_load

CURRENT_VERSION: Final = 2
"""Of the file; 1 held records of format 1, which are read and written anew one by one."""
OLDEST_READABLE_VERSION: Final = 1

_BUSY_MS: Final = 5_000
"""How long a writer waits for another; a write takes well under a millisecond, a chunk of a bulk load 0.2 s."""

CHUNK_USERS: Final = 1_000
"""Users of one transaction of a bulk load: enough to write fast, few enough that events get in between."""

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS profiles (
    user_id TEXT PRIMARY KEY NOT NULL,
    profile BLOB NOT NULL,
    event_ids BLOB NOT NULL DEFAULT x''
)
"""
_READ: Final = "SELECT profile, event_ids FROM profiles WHERE user_id = ?"
_WRITE: Final = "INSERT OR REPLACE INTO profiles (user_id, profile, event_ids) VALUES (?, ?, ?)"


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

    def put_features(self, user_id: str, features: Mapping[str, Any]) -> None:
        """Replace the features of a user.

        Raises IdInvalid, ProfileTooLarge, ProfilesUnavailable, StateBusy, StorageFull.
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
            with self._writing():
                return [self._append(addition, now_seconds) for addition in additions]
        except TandemError as error:
            return [error] * len(additions)

    def put_features(self, user_id: str, features: Mapping[str, Any]) -> None:
        """See `Profiles.put_features`."""
        with self._writing():
            self._change(user_id, lambda stored: with_features(stored, features))

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
            with self._writing():
                for profile in chunk:
                    change = partial(with_load, loaded=profile, watermark=newest, has_features=has_features)
                    self._change(profile.user_id or "", change)
            loaded += len(chunk)
        return loaded

    def _read(self, user_id: str) -> Stored:
        if not is_id(user_id):
            return Stored(Profile(user_id=user_id))
        with self._naming_failures():
            with self._reading:
                record = self._reader.execute(_READ, (user_id,)).fetchone()
            return Stored(Profile(user_id=user_id)) if record is None else unpack(user_id, *record)

    def _append(self, addition: Addition, now_seconds: int) -> int | TandemError:
        """What became of one user's events; only a failure of theirs, the store's own is raised."""
        new = 0

        def change(stored: Stored) -> Stored:
            nonlocal new
            changed, new = with_events(stored, addition, now_seconds)
            return changed

        try:
            self._change(addition.user_id, change)
        except (IdInvalid, ProfileTooLarge, msgspec.DecodeError) as error:
            return error if isinstance(error, TandemError) else self._unavailable(error)
        return new

    def _change(self, user_id: str, change: Callable[[Stored], Stored]) -> None:
        """Apply a change to a record within a transaction."""
        check_ids((user_id,), "a user's")
        record = self._writer.execute(_READ, (user_id,)).fetchone()
        stored = Stored(Profile(user_id=user_id)) if record is None else unpack(user_id, *record)
        changed = change(stored)
        if changed is not stored:
            self._writer.execute(_WRITE, (user_id, *pack(changed)))

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
        elif version == 1:
            self._writer.execute(f"PRAGMA user_version = {CURRENT_VERSION}")  # what wrote 1 must not write beside us
        elif not OLDEST_READABLE_VERSION <= version <= CURRENT_VERSION:
            raise ProfilesUnavailable(
                f"{self._path}: version {version} is outside the readable range "
                f"{OLDEST_READABLE_VERSION} to {CURRENT_VERSION}.",
                fix="Move the file away; the next publish fills a new one.",
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that no other writer interleaves with."""
        with self._naming_failures(), self._taking_turns:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
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
