"""Events by user on disk: what comes in the order of a log goes out with all events of a user together.

A bucket is the users of one remainder of a hash. Memory: FLUSH_ROWS events going in and one bucket coming out, each
some 250 bytes an event in use: a repair of 10 million events of a million users peaks at 400 MB. Disk: some 100 bytes
an event with random ids, freed at the end. It does not know what is done with events; repairs, snapshots and backfills
fill and empty it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import naming_full_disk

BUCKETS: Final = 64
"""Few enough files to write at once, enough that a bucket of a hundred million events is held in half a gigabyte."""
FLUSH_ROWS: Final = 500_000

PLACE: Final = "place"
"""Column of the order in which events came in."""
_BUCKET: Final = "bucket"


class UserBuckets:
    """Takes frames with a column user_id; gives them back bucket by bucket."""

    def __init__(self, folder: Path, key: str = "user_id") -> None:
        """`folder`: empty, and the caller's to remove. `key`: column that says what belongs together."""
        self._folder, self._key = folder, key
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = self._rows = self._flushes = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Take events in. Raises StorageFull."""
        bucket = (pl.col(self._key).hash(seed=0) % BUCKETS).cast(pl.UInt8).alias(_BUCKET)
        self._waiting.append(frame.with_row_index(PLACE, self._rows).with_columns(pl.col(PLACE).cast(pl.Int64), bucket))
        self._rows += len(frame)
        self._waiting_rows += len(frame)
        if self._waiting_rows >= FLUSH_ROWS:
            self._flush()

    def frames(self) -> Iterator[pl.DataFrame]:
        """The events of each bucket that has any, in no order; PLACE says which came first."""
        self.finish()
        for number in range(BUCKETS):
            if (frame := self.frame(number)) is not None:
                yield frame

    def frame(self, number: int) -> pl.DataFrame | None:
        """The events of one bucket, None where it has none; another process may ask, once all are in (`finish`)."""
        paths = sorted(self._folder.glob(f"{number:03}-*.arrow"))
        return pl.concat([pl.read_ipc(path) for path in paths]) if paths else None

    def finish(self) -> None:
        """Write what waits in memory. Raises StorageFull."""
        self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        parts = pl.concat(self._waiting).partition_by(_BUCKET, as_dict=True, include_key=False)
        self._waiting, self._waiting_rows = [], 0
        for (number,), part in parts.items():
            packed = io.BytesIO()  # polars does not say of a full disk what kind of error it is
            part.write_ipc(packed, compression="lz4")
            with naming_full_disk(self._folder):
                (self._folder / f"{number:03}-{self._flushes:06}.arrow").write_bytes(packed.getbuffer())
        self._flushes += 1
