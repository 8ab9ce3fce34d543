"""The file `live.sqlite`: the tables of fresh items, identities and live counts, and the version that all share.

Each of the three local stores opens it by itself; whichever comes first makes all tables. A change of any table is a
new version of the file. It knows nothing of what the stores do with their tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from contracts.errors import LiveDataUnavailable
from stores.sqlite_file import Contents, SqliteFile

LIVE_FILE: Final = "live.sqlite"
"""In the folder of a laptop."""

VERSION: Final = 1

_CREATE: Final = (
    # `changed`: the number of the transaction that changed it last; NULL: settled, serving need not know it.
    "CREATE TABLE items (item_id TEXT PRIMARY KEY NOT NULL, record BLOB NOT NULL, changed INTEGER)",
    "CREATE INDEX feed ON items (changed) WHERE changed IS NOT NULL",
    # The number must not fall when the newest item is settled: a cursor may have passed it.
    "CREATE TABLE sequence (number INTEGER NOT NULL)",
    "INSERT INTO sequence (number) VALUES (0)",
    "CREATE TABLE tombstones (digest TEXT PRIMARY KEY NOT NULL, deleted_at INTEGER NOT NULL)",
    "CREATE TABLE merges (session TEXT PRIMARY KEY NOT NULL, user_id TEXT NOT NULL, merged_at INTEGER NOT NULL)",
    "CREATE TABLE counts (bucket INTEGER, writer TEXT, weights BLOB NOT NULL, PRIMARY KEY (bucket, writer))",
)


class InLiveFile:
    """A store that is some tables of the file."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises LiveDataUnavailable for a file that is none or of another version, StateBusy."""
        self._file = open_live_file(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """The file is open."""

    def reconnect(self) -> None:
        """A file has no connections."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_live_file(path: Path) -> SqliteFile:
    """Open or create. Raises LiveDataUnavailable for a file that is none or of another version, StateBusy."""
    return SqliteFile(
        path,
        Contents(
            what="a store of live data",
            version=VERSION,
            create=_CREATE,
            unavailable=LiveDataUnavailable,
            fix="Move the file away and tell the items again; the users who left must be deleted again.",
        ),
    )
