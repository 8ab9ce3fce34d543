"""The folder of a batch: begun with a manifest, filled part by part, finished with a marker, and never mixed.

A part is there whole or not at all and says itself what is in it, so a run that was killed goes on from what is there.
Whoever left while the batch was made is taken out of the parts that have them. It does not know how recommendations are
made; `recommend.py` calls it, and the processes that make parts write them here.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Final

import msgspec
import polars as pl

from contracts.batch import (
    BATCH_MANIFEST,
    BATCH_SUCCESS,
    CURRENT_BATCH_VERSION,
    OLDEST_READABLE_BATCH_VERSION,
    BatchDone,
    BatchManifest,
    PartCounts,
)
from contracts.errors import BatchMismatch, StateBusy, naming_full_disk
from contracts.live import user_digest
from stores.release_files import write_atomically

COLUMNS: Final = {
    "user_id": pl.String,
    "rank": pl.Int32,
    "item_id": pl.String,
    "score": pl.Float32,
    "route": pl.String,
    "model": pl.String,
    "explored": pl.Boolean,
}
"""Of a part."""

_COUNTS: Final = "tandem"
"""Key of a part's counts in its Parquet metadata: they become visible with it, in one rename."""
LISTS: Final = "_users"
"""Where the users are listed until the batch is finished."""
_TOLD_APART: Final = ("publication", "release", "served_model", "users", "num_items", "settings")
"""Fields in which two batches of one folder must not differ."""
_FIX: Final = "Name another folder with --out, or begin this one anew with --restart."


class BatchFolder:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        """Makes nothing yet."""
        self.folder = folder

    @property
    def lists(self) -> Path:
        """Where the users are listed until the batch is finished."""
        return self.folder / LISTS

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder, made where it is new, for one run at a time. Raises StateBusy, StorageFull."""
        with naming_full_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise StateBusy(f"{self.folder}: another batch is being written there.", fix="Wait for it.") from error
        finally:
            os.close(descriptor)  # which lets go of it, as the end of the process does

    def clear(self) -> None:
        """Take away what an earlier batch left, and nothing else."""
        for path in (self._manifest, self._success, *self._parts()):
            path.unlink(missing_ok=True)
        if self.lists.exists():
            rmtree(self.lists)

    def manifest(self) -> BatchManifest | None:
        """What the batch was begun with; None for a folder in which none was. Raises BatchMismatch."""
        try:
            found = msgspec.json.decode(self._manifest.read_bytes(), type=BatchManifest)
        except FileNotFoundError:
            if self._parts():
                raise BatchMismatch(
                    f"{self.folder}: there are parts of a batch without its manifest.", fix=_FIX
                ) from None
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BatchMismatch(f"{self._manifest}: not a manifest of a batch: {error}.", fix=_FIX) from error
        if not OLDEST_READABLE_BATCH_VERSION <= found.format_version <= CURRENT_BATCH_VERSION:
            raise BatchMismatch(f"{self._manifest}: version {found.format_version} is not readable here.", fix=_FIX)
        return found

    def begin(self, manifest: BatchManifest) -> None:
        """Write what all parts will have in common. Raises StorageFull."""
        self._write(self._manifest, msgspec.json.format(msgspec.json.encode(manifest)))

    def missing(self, manifest: BatchManifest) -> list[int]:
        """Parts that are still to be made. Raises BatchMismatch where a finished batch lacks some."""
        missing = [number for number in range(manifest.parts) if not self._part(number).exists()]
        if missing and not self.lists.exists():
            raise BatchMismatch(f"{self._part(missing[0])}: it was taken away after the batch was finished.", fix=_FIX)
        return missing

    def write_part(self, number: int, frame: pl.DataFrame, counts: PartCounts) -> None:
        """Make a part visible. Raises StorageFull."""
        packed = io.BytesIO()  # polars does not say of a full disk what kind of error it is
        frame.write_parquet(packed, compression="zstd", metadata={_COUNTS: msgspec.json.encode(counts).decode()})
        self._write(self._part(number), packed.getvalue())

    def counts(self, number: int) -> PartCounts:
        """What is in a part."""
        return msgspec.json.decode(pl.read_parquet_metadata(self._part(number))[_COUNTS], type=PartCounts)

    def take_out(self, digests: Collection[str], manifest: BatchManifest) -> int:
        """Remove the rows of users who left (`user_digest`); returns how many users that were. Raises StorageFull."""
        taken = 0
        for number in range(manifest.parts if digests else 0):
            users = pl.read_parquet(self._part(number), columns=["user_id"])["user_id"].unique()
            if gone := [user for user in users.to_list() if user_digest(user) in digests]:
                self._without(number, gone)
                taken += len(gone)
        return taken

    def finish(self, done: BatchDone) -> None:
        """Say that everything is there; the lists, which name those who were left out too, go. Raises StorageFull."""
        self._write(self._success, msgspec.json.format(msgspec.json.encode(done)))
        rmtree(self.lists, ignore_errors=True)

    def _without(self, number: int, gone: Collection[str]) -> None:
        before = self.counts(number)
        frame = pl.read_parquet(self._part(number))
        frame = frame.filter(~pl.col("user_id").is_in(list(gone)))
        routes = frame.filter(pl.col("rank") == 1).group_by("route").len().sort("route")
        counts = msgspec.structs.replace(
            before,
            users=before.users - len(gone),
            rows=len(frame),
            left=before.left + len(gone),
            routes=dict(routes.iter_rows()),
        )
        self.write_part(number, frame, counts)

    def _write(self, path: Path, data: bytes) -> None:
        with naming_full_disk(path):
            write_atomically(path, data)

    @property
    def _manifest(self) -> Path:
        return self.folder / BATCH_MANIFEST

    @property
    def _success(self) -> Path:
        return self.folder / BATCH_SUCCESS

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.parquet"

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))


def check_same(begun: BatchManifest, wanted: BatchManifest, folder: Path) -> None:
    """Raise BatchMismatch where a folder was begun with something else than what is wanted now."""
    for name in _TOLD_APART:
        there, here = getattr(begun, name), getattr(wanted, name)
        if there != here:
            raise BatchMismatch(f"{folder}: it was begun with {_difference(name, there, here)}.", fix=_FIX)


def _difference(name: str, there: object, here: object) -> str:
    if isinstance(there, dict) and isinstance(here, dict):
        name, there, here = next(
            (key, there.get(key), here.get(key)) for key in sorted({*there, *here}) if there.get(key) != here.get(key)
        )
    if name == "users":
        return "other users"
    return f"{name} {there}, now it is {here}"
