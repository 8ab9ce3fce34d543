"""Who left, and which anonymous session turned out to be whom: what every reading of old events has to respect.

`Identities` is the protocol, `SqliteIdentities` the local class; the one in AWS is `dynamodb_identities.py`. Small
against the users: a line a departure or a sign-in. The profile's own record says the same to writers of live events;
this is the list that a night, a batch and a job of forgetting read whole. It does not know profiles or logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from contracts.live import Merge, Tombstone, user_digest
from stores.live_file import InLiveFile
from stores.profile_records import check_ids

_PAGE_ROWS: Final = 10_000
"""Of a list that is read whole: a megabyte."""

_BURY: Final = (
    "INSERT INTO tombstones (digest, deleted_at) VALUES (?, ?) "
    "ON CONFLICT (digest) DO UPDATE SET deleted_at = max(deleted_at, excluded.deleted_at) RETURNING digest, deleted_at"
)
_TOMBSTONE: Final = "SELECT digest, deleted_at FROM tombstones WHERE digest = ?"
_TOMBSTONES: Final = "SELECT digest, deleted_at FROM tombstones WHERE digest > ? ORDER BY digest LIMIT ?"
_MERGE: Final = "INSERT INTO merges (session, user_id, merged_at) VALUES (?, ?, ?) ON CONFLICT (session) DO NOTHING"
_MERGED: Final = "SELECT session, user_id, merged_at FROM merges WHERE session = ?"
_MERGES: Final = "SELECT session, user_id, merged_at FROM merges WHERE session > ? ORDER BY session LIMIT ?"


class Identities(Protocol):
    """Where tombstones and merges are kept. Every method raises LiveDataUnavailable where the store cannot answer."""

    def bury(self, user_id: str, now_seconds: int) -> Tombstone:
        """A user left: written before anything of them is removed. The latest departure counts, and is returned.

        Raises IdInvalid.
        """
        ...

    def merge(self, session: str, user_id: str, now_seconds: int) -> Merge:
        """A session is a user's; the first one to say so wins, and is returned to everybody else too.

        Raises IdInvalid.
        """
        ...

    def tombstones(self) -> Iterator[Tombstone]:
        """All of them, in no order."""
        ...

    def merges(self) -> Iterator[Merge]:
        """All of them, in no order."""
        ...

    def tombstone(self, user_id: str) -> Tombstone | None:
        """That of one user."""
        ...

    def forget_merge(self, session: str) -> None:
        """Take the name of the user from a session; its tombstone keeps its events out from then on."""
        ...

    def connect(self) -> None:
        """Make ready what a request would wait for; nothing is sent."""
        ...

    def reconnect(self) -> None:
        """Let go of connections that a snapshot has cut."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class SqliteIdentities(InLiveFile, Identities):
    """Tombstones and merges in one SQLite file, for threads and processes of one machine."""

    def bury(self, user_id: str, now_seconds: int) -> Tombstone:
        """See `Identities.bury`."""
        check_ids((user_id,), "a user's")
        with self._file.writing() as connection:
            ((digest, deleted_at),) = connection.execute(_BURY, (user_digest(user_id), now_seconds)).fetchall()
        return Tombstone(digest, deleted_at)

    def merge(self, session: str, user_id: str, now_seconds: int) -> Merge:
        """See `Identities.merge`."""
        check_ids((session, user_id), "a session's or a user's")
        with self._file.writing() as connection:
            connection.execute(_MERGE, (session, user_id, now_seconds))
            return Merge(*connection.execute(_MERGED, (session,)).fetchone())

    def tombstones(self) -> Iterator[Tombstone]:
        """See `Identities.tombstones`."""
        return (Tombstone(*row) for row in self._rows(_TOMBSTONES))

    def merges(self) -> Iterator[Merge]:
        """See `Identities.merges`."""
        return (Merge(*row) for row in self._rows(_MERGES))

    def tombstone(self, user_id: str) -> Tombstone | None:
        """See `Identities.tombstone`."""
        rows = self._file.rows(_TOMBSTONE, (user_digest(user_id),))
        return Tombstone(*rows[0]) if rows else None

    def forget_merge(self, session: str) -> None:
        """See `Identities.forget_merge`."""
        check_ids((session,), "a session's")
        with self._file.writing() as connection:
            connection.execute("DELETE FROM merges WHERE session = ?", (session,))

    def _rows(self, page: str) -> Iterator[tuple[Any, ...]]:
        """All rows of a table, page by page after the last key."""
        last = ""
        while True:
            rows = self._file.rows(page, (last, _PAGE_ROWS))
            if not rows:
                return
            last = rows[-1][0]
            yield from rows
