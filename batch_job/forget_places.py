"""Where rows of a user may lie: the logs on this machine or in S3, a dataset, a batch; each file named.

A place counts the rows of a user in a file and takes them out of it, whole file after whole file: a reader sees the old
one or the new one. It does not know in which order that is done nor what is told of it; `forget.py` goes through them.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copymode, rmtree
from typing import Final, NamedTuple, Protocol

import msgspec

from batch_job.forget_journal import Taken
from batch_job.forget_rows import Leaver, Rows, blank_out, rows_of, write_without
from batch_job.recommend_folder import BatchFolder
from contracts.batch import BATCH_SUCCESS, BatchDone, PartCounts
from contracts.errors import BatchMismatch, StateBusy, naming_full_disk
from contracts.live import user_digest
from data_sources.dataset import read_schema
from data_sources.tables import find_table
from stores.mirrored_folder import entry_of
from stores.release_files import sync_folder
from stores.s3_bucket import Bucket, ObjectMissing, ObjectMoved
from stores.served_log import EXPOSURES_FOLDER, SLATES_FOLDER

ARRIVED, HAPPENED = "received_at", "timestamp"
"""Columns that say when: of the event log; of what was served, and of a dataset whose times are times."""

TRIES: Final = 5
"""At a file that others write in the same moment."""
WRITTEN_SECONDS: Final = 300
"""After its hour a file of a log may still be written to: a row carries the time at which its request came."""
_HOUR: Final = 3_600

Note = Callable[[Taken], None]
"""Keeps what is about to be taken out of a file, before anything is written."""


class Place(Protocol):
    """Files of one kind."""

    kind: str
    """For people: `event log`, `dataset`, …"""
    where: str
    """Folder or `s3://…`."""

    def names(self) -> list[str]:
        """Files that there are now."""
        ...

    def rows(self, name: str, leaver: Leaver) -> Rows:
        """What a file has of a user; nothing where it is gone. Raises FileUnreadable."""
        ...

    def take_out(self, name: str, leaver: Leaver, note: Note) -> None:
        """Leave a user's rows out of a file. Safe to repeat. Raises FileUnreadable, StateBusy, StorageFull."""
        ...

    def mend(self, name: str, taken: Taken) -> None:
        """Finish what `take_out` has noted of a file and maybe not finished."""
        ...


class FolderFiles:
    """Files below a folder, or some of them: of a log, or the tables of a dataset that have users."""

    def __init__(
        self, kind: str, folder: Path, time: str | None, names: Callable[[Path], list[str]] | None = None
    ) -> None:
        """`time`: column that says when a row is of, None: none does."""
        self.kind, self.where = kind, str(folder)
        self._folder, self._time, self._names = folder, time, names or _all_below

    def names(self) -> list[str]:
        """See `Place.names`."""
        return self._names(self._folder)

    def rows(self, name: str, leaver: Leaver) -> Rows:
        """See `Place.rows`."""
        try:
            return rows_of(self._folder / name, leaver, self._time)
        except FileNotFoundError:
            return Rows()

    def take_out(self, name: str, leaver: Leaver, note: Note) -> None:
        """See `Place.take_out`."""
        path, scratch = self._folder / name, self._folder.with_name(f".{self._folder.name}.forgetting")
        rmtree(scratch, ignore_errors=True)  # of a run that was killed; nobody reads it
        scratch.mkdir()
        try:
            written = scratch / path.name
            note(Taken(write_without(path, written, leaver, self._time).gone))
            copymode(path, written)
            sync_folder(written)  # a file is flushed as a folder is
            written.replace(path)
        finally:
            rmtree(scratch, ignore_errors=True)
        sync_folder(path.parent)

    def mend(self, name: str, taken: Taken) -> None:
        """See `Place.mend`: a file is whole at any time."""


class LocalLog(FolderFiles):
    """A log of this machine, to which a server may be appending (`stores/line_log.py`)."""

    def __init__(self, folder: Path, now_seconds: int, kind: str = "event log", time: str = ARRIVED) -> None:
        super().__init__(kind, folder, time)
        self._now = now_seconds

    def take_out(self, name: str, leaver: Leaver, note: Note) -> None:
        """See `Place.take_out`. In a file that may be written to, lines are blanked where they stand."""
        path = self._folder / name
        if path.stat().st_mtime < self._now - _HOUR - WRITTEN_SECONDS:
            super().take_out(name, leaver, note)
            return
        note(Taken(self.rows(name, leaver).gone))
        with naming_full_disk(path):
            blank_out(path, leaver, self._time)


def local_logs(home: Path, now_seconds: int) -> list[LocalLog]:
    """All logs of a home; a folder that is not there has no files."""
    served = (EXPOSURES_FOLDER, SLATES_FOLDER)
    return [
        LocalLog(home / "events", now_seconds),
        *(LocalLog(home / kind, now_seconds, kind, HAPPENED) for kind in served),
    ]


@contextmanager
def one_at_a_time(home: Path) -> Iterator[None]:
    """Two runs would each put back what the other has taken out of a file. Raises StateBusy."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "forgetting.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateBusy(f"{home}: somebody is being forgotten there.", fix="Wait for it.") from error
        yield


def dataset_folder(folder: Path) -> FolderFiles:
    """The tables of a dataset that name users. Raises DatasetError, SchemaError."""
    time = HAPPENED if read_schema(folder).timed else None
    return FolderFiles("dataset", folder, time, _tables_of_users)


class BatchOutput:
    """The folder of a finished batch; one that is not finished yet leaves out by itself who left."""

    kind = "batch"

    def __init__(self, folder: Path) -> None:
        self.where, self._folder = str(folder), BatchFolder(folder)

    def names(self) -> list[str]:
        """See `Place.names`."""
        return sorted(path.name for path in self._folder.folder.glob("part-*.parquet"))

    def rows(self, name: str, leaver: Leaver) -> Rows:
        """See `Place.rows`."""
        return rows_of(self._folder.folder / name, leaver, None)

    def take_out(self, name: str, leaver: Leaver, note: Note) -> None:
        """See `Place.take_out`. All parts at once, with what the batch says of itself."""
        success = self._folder.folder / BATCH_SUCCESS
        with self._folder.held():
            manifest = self._folder.manifest()
            if manifest is None or not success.exists():
                raise BatchMismatch(
                    f"{self.where}: the batch is not finished.",
                    fix="Finish it (`tandem batch` again), which leaves out who left; or remove the folder.",
                )
            note(Taken(self.rows(name, leaver).gone))
            self._folder.take_out({user_digest(one) for one in leaver.ids}, manifest)
            counts = sum((self._folder.counts(number) for number in range(manifest.parts)), PartCounts())
            done = msgspec.json.decode(success.read_bytes(), type=BatchDone)
            self._folder.finish(msgspec.structs.replace(done, counts=counts))

    def mend(self, name: str, taken: Taken) -> None:
        """See `Place.mend`: whoever takes out next says what is in it."""


class BucketFiles:
    """Objects below a prefix of a bucket."""

    def __init__(self, kind: str, bucket: Bucket, prefix: str, time: str | None) -> None:
        """`time`: column that says when a row is of, None: none does."""
        self.kind, self.where = kind, bucket.url(prefix)
        self._bucket, self._prefix, self._time = bucket, prefix, time

    def names(self) -> list[str]:
        """See `Place.names`."""
        return [key.removeprefix(self._prefix) for key, size in self._bucket.sizes(self._prefix) if size]

    def rows(self, name: str, leaver: Leaver) -> Rows:
        """See `Place.rows`."""
        with tempfile.TemporaryDirectory(prefix="tandem-forget-") as scratch:
            held = self._fetch(name, Path(scratch))
            return Rows() if held is None else rows_of(held.path, leaver, self._time)

    def take_out(self, name: str, leaver: Leaver, note: Note) -> None:
        """See `Place.take_out`. What others wrote since it was read is never covered."""
        for _ in range(TRIES):
            with tempfile.TemporaryDirectory(prefix="tandem-forget-") as scratch:
                if (held := self._fetch(name, Path(scratch))) is None:
                    return
                target = held.path.with_name(f"without-{held.path.name}")
                rows = write_without(held.path, target, leaver, self._time)
                taken = Taken(rows.gone, entry_of(held.path), entry_of(target))
                note(taken)
                with suppress(ObjectMoved):
                    self._bucket.overwrite(self._prefix + name, target, entry_of(target), held.tag)
                    self.mend(name, taken)
                    return
        raise StateBusy(f"{self._bucket.url(self._prefix + name)}: is being written all the time.", fix="Try again.")

    def mend(self, name: str, taken: Taken) -> None:
        """See `Place.mend`: an object is whole at any time."""

    def _fetch(self, name: str, scratch: Path) -> _Held | None:
        path = scratch / name.rsplit("/", 1)[-1]
        try:
            return _Held(path, self._bucket.download(self._prefix + name, path))
        except ObjectMissing:
            return None


class _Held(NamedTuple):
    path: Path
    tag: str


def _all_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _tables_of_users(folder: Path) -> list[str]:
    found = (find_table(folder, name) for name in ("events", "users"))
    return [path.relative_to(folder).as_posix() for files in found if files for path in files.parts]
