"""One SQLite file that threads and processes share: opened, made where it is new, its version checked, failures named.

Readers never wait (WAL), writers take turns. One connection reads and one writes, whatever the number of threads: a
development server starts one per request. It knows no table: a store says what its file holds. The local classes of
profiles and of live data are built on it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import StateBusy, StorageFull, TandemError

_BUSY_MS: Final = 5_000
"""How long a writer waits for another: one of a request takes 0.1 ms, a chunk of many records 0.2 s."""

_OPENING_WAIT_SECONDS: Final = 0.01
"""Between two tries to switch a new file to WAL, which does not wait for another process that does the same."""


class Contents(NamedTuple):
    """What a file holds, and what is said where it does not."""

    what: str
    """E.g. "a store of profiles"."""
    version: int
    create: tuple[str, ...]
    """Statements that make the tables of a new file."""
    unavailable: type[TandemError]
    fix: str
    """Of a file that cannot be used."""
    oldest: int | None = None
    """Version whose tables can be used as they are; None: no other than `version`."""


class SqliteFile:
    """An open file. Its methods raise StorageFull, StateBusy or `unavailable`."""

    def __init__(self, path: Path, contents: Contents) -> None:
        """Open or create. Raises `contents.unavailable` for a file that is none, or of another version."""
        self._path, self._contents = path, contents
        self._turn_to_read, self._turn_to_write = threading.Lock(), threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.naming_failures():
            self._writer = _connect(path)
        try:
            self._make_or_check()
            with self.naming_failures():
                self._reader = _connect(path)
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Close the file; whoever still reads or writes finishes first."""
        with self._turn_to_read, self._turn_to_write:
            self._reader.close()
            self._writer.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection that reads; each statement sees the file as it is when it begins."""
        with self.naming_failures(), self._turn_to_read:
            yield self._reader

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What a SELECT finds, as the last write left it."""
        with self.reading() as connection:
            return connection.execute(statement, parameters).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer interleaves with; an exception takes all of it back."""
        with self.naming_failures(), self._turn_to_write:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _make_or_check(self) -> None:
        """Within a transaction: of several processes that open a new file at once, one makes its tables."""
        with self.writing() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == self._contents.version:
                return
            if version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._check_readable(version)
            else:
                for statement in self._contents.create:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._contents.version}")

    def _check_readable(self, version: int) -> None:
        newest, oldest = self._contents.version, self._contents.oldest
        if oldest is None or not oldest <= version <= newest:
            readable = f"version {newest}" if oldest is None else f"versions {oldest} to {newest}"
            raise self._contents.unavailable(
                f"{self._path}: version {version}, but this code reads {readable} of {self._contents.what}.",
                fix=self._contents.fix,
            )

    @contextmanager
    def naming_failures(self) -> Iterator[None]:
        """Around what understands rows, too."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull(
                    f"{self._path}: the disk is full; nothing was written.", fix="Free some space."
                ) from error
            if _is_busy(error):
                raise StateBusy(f"{self._path}: another process is writing for too long.", fix="Try again.") from error
            raise self._unavailable(error) from error
        except (sqlite3.DatabaseError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> TandemError:
        return self._contents.unavailable(
            f"{self._path}: {self._contents.what} that cannot be read or written: {error}.", fix=self._contents.fix
        )


def _connect(path: Path) -> sqlite3.Connection:
    """Autocommit; transactions are opened by name. The caller's locks keep threads apart."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        _switch_to_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last writes, never the file
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    until = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(_OPENING_WAIT_SECONDS)
        else:
            return


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # of extended codes too
