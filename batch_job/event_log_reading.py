"""The event log as frames: JSON lines as they are written here and by Firehose, or the Parquet that Glue's table gives.

An object is known by its first bytes. Damage is counted, named and left out, and never stops a reading: a line that is
no event, an object that ends too early. One object is read at a time, in blocks: memory is that of BLOCK_BYTES of lines
or PARQUET_ROWS rows, some 100 MB. It does not know users or profiles; `repair.py` reads with it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import IO, Final

import msgspec
import polars as pl

from batch_job.log_sources import LogSource
from contracts.event import Event
from contracts.event_columns import EVENT_COLUMNS

BLOCK_BYTES: Final = 16 << 20
"""Of lines at once: some 70,000 events."""
PARQUET_ROWS: Final = 250_000
MAX_LINE_BYTES: Final = 1 << 20
"""Firehose takes no longer record; what has no end of line for so long is not a log."""

_TYPES: Final = {"string": pl.String(), "bigint": pl.Int64(), "double": pl.Float64(), "boolean": pl.Boolean()}
EVENT_SCHEMA: Final = {name: _TYPES[hive] for name, hive in EVENT_COLUMNS}
"""Column → type of the frames."""
REQUIRED: Final = tuple(one.name for one in msgspec.structs.fields(Event) if one.required)

PARQUET: Final = b"PAR1"
GZIP: Final = b"\x1f\x8b"
UNREADABLE: Final = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    EOFError,
    zlib.error,
    ValueError,
)
"""What reading an object that is cut, altered or something else raises."""


class Damage(msgspec.Struct, frozen=True):
    """What could not be read of one object."""

    object: str
    lines: int
    """Lines or rows that are no events; 0 where the object, or the rest of it, is not readable at all."""
    reason: str


@dataclass
class Reading:
    """What a reading has seen so far."""

    objects: int = 0
    events: int = 0
    """Since the date, repeated ones included."""
    unfinished: int = 0
    """Last lines without an end: the writer was killed, or is writing now. Never acknowledged."""
    damaged: list[Damage] = field(default_factory=list)


def read_events(source: LogSource, since: date | None = None, reading: Reading | None = None) -> Iterator[pl.DataFrame]:
    """Frames of EVENT_SCHEMA of the events that arrived since a date (UTC), in the order of the objects' names.

    Repeated events are still there. Raises LogUnavailable where the source cannot be listed or fetched.
    """
    reading = reading if reading is not None else Reading()
    earliest = None if since is None else int(datetime.combine(since, time(), UTC).timestamp())
    for one in source.objects(since):
        reading.objects += 1
        with source.fetch(one.name) as path:
            for frame in _ObjectReading(one.name, reading).frames(path):
                wanted = frame if earliest is None else frame.filter(pl.col("received_at") >= earliest)
                reading.events += len(wanted)
                if len(wanted):
                    yield wanted


class _ObjectReading:
    """One object, and what is wrong with it."""

    def __init__(self, name: str, reading: Reading) -> None:
        self._name, self._reading = name, reading
        self._bad_lines = 0

    def frames(self, path: Path) -> Iterator[pl.DataFrame]:
        """The events of the file; what cannot be read is noted."""
        try:
            yield from self._by_kind(path)
        except UNREADABLE as error:
            self._note(0, f"{type(error).__name__}: {str(error)[:200]}")
        if self._bad_lines:
            self._note(self._bad_lines, "no events, or without a field that every event has")

    def _note(self, lines: int, reason: str) -> None:
        self._reading.damaged.append(Damage(self._name, lines, reason))

    def _by_kind(self, path: Path) -> Iterator[pl.DataFrame]:
        with path.open("rb") as file:
            head = file.read(len(PARQUET))
            file.seek(0)
            if head == PARQUET:
                yield from map(self._complete, _parquet_frames(path))
            elif head.startswith(GZIP):
                with gzip.open(file) as unpacked:
                    yield from self._line_frames(unpacked)
            else:
                yield from self._line_frames(file)

    def _line_frames(self, file: IO[bytes] | gzip.GzipFile) -> Iterator[pl.DataFrame]:
        for block in line_blocks(file):
            try:
                yield self._complete(_parsed(block))
            except UNREADABLE:
                yield from self._salvaged(block)

    def _salvaged(self, block: bytes) -> Iterator[pl.DataFrame]:
        """What there is beside the damage."""
        lines = block.split(b"\n")
        unfinished = lines.pop()  # empty where the block ends with its last line
        objects = [line for line in lines if line.lstrip()[:1] == b"{"]
        self._bad_lines += sum(1 for line in lines if line.strip()) - len(objects)
        frames, bad = _by_halves(objects)
        self._bad_lines += bad
        if unfinished.strip():
            last, bad = _by_halves([unfinished])
            frames += last
            self._reading.unfinished += bad
        yield from map(self._complete, frames)

    def _complete(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows that have every field that an event has."""
        whole = frame.drop_nulls(list(REQUIRED))
        self._bad_lines += len(frame) - len(whole)
        return whole.with_columns(pl.col("known_item").fill_null(value=True))


def line_blocks(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    """Whole lines, some BLOCK_BYTES of them at a time; at the end what has no end of line."""
    rest = b""
    while read := file.read(BLOCK_BYTES):
        block = rest + read
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
        if end:
            yield block[:end]
    if rest:
        yield rest


def _parsed(lines: bytes) -> pl.DataFrame:
    """Lines of JSON as a frame. Raises one of UNREADABLE where one line of them is none."""
    return pl.read_ndjson(lines, schema=EVENT_SCHEMA)


def _by_halves(lines: list[bytes]) -> tuple[list[pl.DataFrame], int]:
    """The lines that can be read, and how many cannot: a few bad ones cost a few readings more."""
    if not lines:
        return [], 0
    try:
        return [_parsed(b"\n".join(lines))], 0
    except UNREADABLE:
        if len(lines) == 1:
            return [], 1
    middle = len(lines) // 2
    first, bad_first = _by_halves(lines[:middle])
    second, bad_second = _by_halves(lines[middle:])
    return first + second, bad_first + bad_second


def _parquet_frames(path: Path) -> Iterator[pl.DataFrame]:
    """The columns of events, PARQUET_ROWS at a time, null where the file has no such column."""
    table = pl.scan_parquet(path)
    present = table.collect_schema()
    columns = []
    for name, kind in EVENT_SCHEMA.items():
        if name not in present:
            columns.append(pl.lit(None, kind).alias(name))
        elif _reads_as(present[name], kind):
            columns.append(pl.col(name).cast(kind))
        else:
            raise ValueError(f"column {name} is of type {present[name]}, expected {kind}")
    rows = table.select(pl.len()).collect().item()
    for start in range(0, rows, PARQUET_ROWS):
        yield table.slice(start, PARQUET_ROWS).select(columns).collect()


def _reads_as(found: pl.DataType, kind: pl.DataType) -> bool:
    """Whether a cast keeps the meaning: a date as a number would not be Unix seconds."""
    if found == pl.Null:  # a writer that saw no value
        return True
    if kind == pl.Int64:
        return found.is_integer()
    return found.is_numeric() if kind == pl.Float64 else found == kind
