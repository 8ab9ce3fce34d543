"""A dataset as it lies in the data bucket, seeded or left by a night: its catalogue to a folder, its events in slices.

One file of events is on this machine at a time. It does not know the log, nor what becomes of the events;
`snapshot.py` reads with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import polars as pl

from contracts.errors import DatasetError, SchemaError
from contracts.release import FileEntry, release_digest
from contracts.schema import DatasetSchema, parse_schema
from data_sources.dataset import SCHEMA_NAME
from data_sources.slices import event_slices
from data_sources.tables import FORMATS, find_table
from stores.mirrored_folder import Progress, fetch, listed
from stores.s3_bucket import Bucket


@dataclass(frozen=True)
class StoredDataset:
    """The files of a dataset under a prefix, as its listing names them."""

    bucket: Bucket
    prefix: str
    entries: dict[str, FileEntry]

    @classmethod
    def open(cls, bucket: Bucket, prefix: str, listing_key: str) -> StoredDataset:
        """Raises DatasetError where it is not complete, StoreUnavailable."""
        return cls(bucket, prefix, listed(bucket, listing_key))

    @property
    def catalogue(self) -> dict[str, FileEntry]:
        """Schema, users and items."""
        return catalogue_of(self.entries)

    def events_digest(self, schema: DatasetSchema) -> str:
        """Changes where a file of events does, or what the schema says of events."""
        files = release_digest({name: entry for name, entry in self.entries.items() if _is_of(name, "events")})
        return sha256(f"{files} {schema.time} {schema.given_split}".encode()).hexdigest()

    def bring_catalogue(self, folder: Path, progress: Progress | None = None) -> DatasetSchema:
        """Put schema, users and items into a folder.

        Raises SchemaError, DatasetError (a file that is missing or another), StoreUnavailable, StorageFull.
        """
        self._check_schema()
        fetch(self.bucket, self.prefix, self.entries, folder, self.catalogue, progress)
        return self._parsed(folder)

    def schema(self) -> DatasetSchema:
        """The schema alone. Raises as `bring_catalogue`."""
        self._check_schema()
        with tempfile.TemporaryDirectory(prefix="tandem-schema-") as scratch:
            fetch(self.bucket, self.prefix, self.entries, Path(scratch), [SCHEMA_NAME])
            return self._parsed(Path(scratch))

    def _check_schema(self) -> None:
        if SCHEMA_NAME not in self.entries:
            source = self.bucket.url(self.prefix + SCHEMA_NAME)
            raise SchemaError(f"{source}: there is no schema.", fix="Write one; docs/dataset.md shows the smallest.")

    def _parsed(self, folder: Path) -> DatasetSchema:
        source = self.bucket.url(self.prefix + SCHEMA_NAME)
        try:
            text = (folder / SCHEMA_NAME).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SchemaError(f"{source}: it cannot be read: {error}.", fix="Write it as UTF-8 text.") from error
        return parse_schema(text, source)

    def events(self, schema: DatasetSchema, scratch: Path, progress: Progress | None = None) -> Iterator[pl.DataFrame]:
        """Slices of the events, in the order of the files, with every column that the schema lets them have.

        `scratch`: an empty folder. Raises DatasetError (file, column, rows), StoreUnavailable, StorageFull.
        """
        paths = self._event_files(scratch)
        for done, path in enumerate(paths):
            name = path.relative_to(scratch).as_posix()
            if progress is not None:
                progress(done, len(paths), f"reading {self.prefix}{name}")
            fetch(self.bucket, self.prefix, self.entries, scratch, [name])
            yield from event_slices(path, self.prefix + name, schema)
            path.write_bytes(b"")

    def _event_files(self, scratch: Path) -> tuple[Path, ...]:
        """Which files are the table, found by the rule for folders: empty files stand in for those in the bucket."""
        for name in self.entries:
            if _is_of(name, "events"):
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).touch()
        if (found := find_table(scratch, "events")) is None:
            raise DatasetError(
                f"{self.bucket.url(self.prefix)}: there is no table events: expected events.parquet, .csv or .jsonl, "
                "or a folder events of such parts.",
                fix="Put it into the dataset and send it again: `tandem aws seed`.",
            )
        return found.parts


def catalogue_of(entries: dict[str, FileEntry]) -> dict[str, FileEntry]:
    """Of the files of a dataset, those of schema, users and items."""
    wanted = [name for name in entries if name == SCHEMA_NAME or _is_of(name, "users") or _is_of(name, "items")]
    return {name: entries[name] for name in wanted}


def names_users(name: str) -> bool:
    """Whether a file of a dataset may name users."""
    return _is_of(name, "events") or _is_of(name, "users")


def _is_of(name: str, table: str) -> bool:
    """Whether a file of a dataset is the table, or a part of it."""
    return name.startswith(f"{table}/") or name in {f"{table}.{kind}" for kind in FORMATS}
