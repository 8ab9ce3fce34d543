"""Text files as numbered lines, parsed a batch at a time; every line that cannot be read is kept with its number.

A format gives a parser from a batch of lines to fields and a fault; this module reads the bytes, finds the encoding,
and keeps the two kinds of lines apart. Memory is that of one batch and of the parsed fields. The importers call it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError

_BATCH_BYTES: Final = 32 << 20
"""About a million short lines: enough to work on whole columns, and little beside the parsed table."""

_REPLACEMENT: Final = "\ufffd"

NOT_UTF8: Final = "not UTF-8"

Parser = Callable[[pl.DataFrame], pl.DataFrame]
"""`text` [n] of a batch of lines → columns [n]: the fields, and `fault`, null where a line is a row."""


@dataclass(frozen=True)
class Rows:
    """What one file held: `fields` of the lines that are rows; `rejected` (file, line, text, reason) of the others."""

    file: str
    lines: int
    fields: pl.DataFrame
    rejected: pl.DataFrame


def read_rows(
    path: Path, parse: Parser, *, latin1: bool = False, header: str | None = None, key: str | None = None
) -> Rows:
    """Parse every line of a file that is not blank.

    `latin1`: what is not UTF-8 is read as ISO 8859-1, else it is rejected. `header`: a first line that begins so is no
    row. `key`: a line whose field of that name repeats an earlier line's is rejected. Raises DatasetError where the
    file is missing or cannot be read.
    """
    fields, rejected, lines = [], [], 0
    for batch in _batches(path, latin1):
        rows = _drop_no_rows(batch, header)
        lines += len(rows)
        parsed = parse(rows.select("text"))
        reason = parsed["fault"] if latin1 else parsed["fault"].set(rows["undecodable"], NOT_UTF8)
        faulty = reason.is_not_null()
        fields.append(parsed.drop("fault").with_columns(rows["line", "text"] if key else []).filter(~faulty))
        rejected.append(rows.select("line", "text", reason.alias("reason")).filter(faulty))
    table = pl.concat(fields)
    if key is not None:
        repeats = ~table[key].is_first_distinct()
        repeated = pl.lit(f"repeats the {key} of an earlier line").alias("reason")
        rejected.append(table.filter(repeats).select("line", "text", repeated))
        table = table.filter(~repeats).drop("line", "text")
    return Rows(path.name, lines, table, _name_rejected(path.name, pl.concat(rejected).sort("line")))


def _drop_no_rows(batch: pl.DataFrame, header: str | None) -> pl.DataFrame:
    rows = batch.filter(pl.col("text").str.strip_chars() != "")
    if header is None:
        return rows
    return rows.filter((pl.col("line") > 1) | ~pl.col("text").str.starts_with(header))


def _name_rejected(file: str, rejected: pl.DataFrame) -> pl.DataFrame:
    return rejected.select(pl.lit(file).alias("file"), "line", "text", "reason")


def _batches(path: Path, latin1: bool) -> Iterator[pl.DataFrame]:
    """Frames of `line` (from 1), `text` and `undecodable`; at least one, perhaps empty."""
    line, empty = 1, True
    try:
        for block in _blocks(path):
            frame = _decode(block, latin1)
            numbers = pl.int_range(line, line + len(frame), dtype=pl.Int64, eager=True).alias("line")
            yield frame.with_columns(numbers)
            line, empty = line + len(frame), False
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: there is no such file.", fix="Name the folder or file of the source.") from error
    except OSError as error:
        raise DatasetError(f"{path}: it cannot be read: {error}.", fix="Check the file and its permissions.") from error
    if empty:
        yield pl.DataFrame(schema={"text": pl.String, "undecodable": pl.Boolean, "line": pl.Int64})


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about _BATCH_BYTES at a time."""
    with path.open("rb") as file:
        rest = file.read(3).removeprefix(b"\xef\xbb\xbf")  # a byte order mark is not text
        while block := file.read(_BATCH_BYTES):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield whole + newline
        if rest:
            yield rest


def _decode(block: bytes, latin1: bool) -> pl.DataFrame:
    damaged = False
    try:
        block.decode()
    except UnicodeDecodeError:
        damaged = not latin1
        block = block.decode("latin-1" if latin1 else "utf-8", errors="replace").encode()
    text = pl.read_lines(io.BytesIO(block))["line"].alias("text")
    undecodable = text.str.contains(_REPLACEMENT, literal=True) if damaged else pl.repeat(False, len(text), eager=True)
    return pl.DataFrame([text, undecodable.alias("undecodable")])


def match(batch: pl.DataFrame, pattern: str, fault: str) -> pl.DataFrame:
    """The named groups of a pattern as columns; lines that do not match get the `fault`."""
    groups = batch["text"].str.extract_groups(pattern).struct.unnest()
    unmatched = ~batch["text"].str.contains(pattern)
    return groups.with_columns(pl.when(unmatched).then(pl.lit(fault)).alias("fault"))
