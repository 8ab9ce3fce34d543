"""What a forgetting has done so far, so that one that was killed goes on and still counts everything.

Written before each file is, keyed by it: whether or not the write came about, the count is right. It names the user by
a digest, and stays. `forget.py` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import msgspec

from contracts.errors import ReleaseCorrupt, naming_full_disk
from contracts.processing_job import FORGOTTEN
from contracts.release import FileEntry
from stores.release_files import write_atomically
from stores.s3_bucket import Bucket, ObjectMissing

MAX_JOURNAL_BYTES: Final = 64 << 20
"""A hundred thousand files of one user."""


class Taken(msgspec.Struct, frozen=True):
    """Out of one file."""

    rows: int
    was: FileEntry | None = None
    """The file before, and afterwards: a listing must say so."""
    becomes: FileEntry | None = None


class Journal(msgspec.Struct):
    """Of one departure."""

    sessions: list[str] = []
    """Digests of the sessions that were the user's."""
    profile: bool = False
    places: dict[str, dict[str, Taken]] = {}
    """Place → file → what was taken out of it."""


class Journals(Protocol):
    """Where journals are kept."""

    def read(self, name: str) -> Journal:
        """An empty one where there is none."""
        ...

    def write(self, name: str, journal: Journal) -> None:
        """Durable when it returns."""
        ...


class FolderJournals:
    """In a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> Journal:
        """See `Journals.read`."""
        path = self._folder / f"{name}.json"
        return _parsed(path.read_bytes(), str(path)) if path.exists() else Journal()

    def write(self, name: str, journal: Journal) -> None:
        """See `Journals.write`. Raises StorageFull."""
        with naming_full_disk(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / f"{name}.json", msgspec.json.encode(journal))


class BucketJournals:
    """In the data bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, name: str) -> Journal:
        """See `Journals.read`. Raises StoreUnavailable."""
        key = f"{FORGOTTEN}{name}.json"
        try:
            return _parsed(self._bucket.read(key, MAX_JOURNAL_BYTES).data, self._bucket.url(key))
        except ObjectMissing:
            return Journal()

    def write(self, name: str, journal: Journal) -> None:
        """See `Journals.write`. Raises StoreUnavailable; ObjectMoved where another run forgets the same user."""
        key = f"{FORGOTTEN}{name}.json"
        self._bucket.replace(key, msgspec.json.encode(journal), self._bucket.etag(key), {})


def _parsed(data: bytes, where: str) -> Journal:
    try:
        return msgspec.json.decode(data, type=Journal)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReleaseCorrupt(f"{where}: not what a forgetting writes: {error}.", fix="Move it away.") from error
