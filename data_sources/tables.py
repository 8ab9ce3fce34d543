"""Finding the files of a table and reading one of them raw: Parquet, CSV or JSON Lines, whole or in parts.

Says in words when a file is empty, truncated or of another format than its name. Knows nothing of schemas: values come
back as the file holds them (CSV: all text, so that the id 007 stays 007). `reading` calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError
from data_sources.findings import SHOWN

FORMATS: Final = ("parquet", "csv", "jsonl")

READ_FAILURES: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeError)
"""What polars raises for a broken file; a panic of its Rust side is no Exception, so it is named here."""

_MAGIC: Final = {
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"ARROW1": "an Arrow file",
    b"SQLite": "an SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_SMALLEST_PARQUET: Final = 12  # magic, footer length, magic


@dataclass(frozen=True)
class TableFiles:
    """The files of a table, in the order in which they are read."""

    format: str
    parts: tuple[Path, ...]


@dataclass(frozen=True)
class RawTable:
    """One file as it is: the columns that were asked for, and the names of all it has."""

    frame: pl.DataFrame
    columns: tuple[str, ...]


def find_table(folder: Path, name: str) -> TableFiles | None:
    """The files of a table: `name.parquet|csv|jsonl`, or the parts in the folder `name`, ordered by file name.

    Raises DatasetError where the table exists twice, or a folder of parts holds none or several formats.
    """
    files = [path for kind in FORMATS if (path := folder / f"{name}.{kind}").is_file()]
    parts = folder / name
    if parts.is_dir():
        files += [parts]
    if len(files) > 1:
        raise DatasetError(
            f"{folder}: the table {name} exists more than once: {', '.join(path.name for path in files)}.",
            fix="Keep the one that is meant and remove the others.",
        )
    if not files:
        return None
    if files[0] == parts:
        return _find_parts(parts)
    return TableFiles(files[0].suffix[1:], (files[0],))


def _find_parts(folder: Path) -> TableFiles:
    found = sorted(path for path in folder.iterdir() if path.suffix[1:] in FORMATS and path.name[0] not in "._")
    formats = sorted({path.suffix[1:] for path in found})
    if len(formats) != 1:
        raise DatasetError(
            f"{folder}: a folder of parts must hold files of one format, found {' and '.join(formats) or 'none'}.",
            fix=f"Put {' or '.join(f'*.{kind}' for kind in FORMATS)} files there, of one kind.",
        )
    return TableFiles(formats[0], tuple(found))


def read_raw(path: Path, wanted: Iterable[str], texts: Iterable[str]) -> RawTable:
    """Read the `wanted` columns that a file has; in JSON Lines, `texts` are read as text whatever they look like.

    Raises DatasetError for a file that is empty, truncated, of another format, or does not parse.
    """
    readers = {".parquet": _read_parquet, ".csv": _read_csv}
    with _naming_failures(path):
        _check_magic(path)
        if path.suffix == ".jsonl":
            return _read_jsonl(path, set(wanted), list(texts))
        return readers[path.suffix](path, set(wanted))


def raw_slices(path: Path, wanted: Iterable[str], texts: Iterable[str], rows: int) -> Iterator[RawTable]:
    """What `read_raw` reads, `rows` at a time and in the order of the file; an empty slice for a file without rows.

    Memory is that of a slice, and of a row group where a Parquet file has larger ones.
    """
    with _naming_failures(path):
        _check_magic(path)
        table = _scan(path, list(texts))
        columns = tuple(table.collect_schema().names())
        table = table.select([name for name in columns if name in set(wanted)] or columns[:1])
        by_position = path.suffix == ".parquet"  # it can jump; a batch of the engine holds several row groups at once
        frames = _by_position(table, rows) if by_position else table.collect_batches(chunk_size=rows)
        none_yet = True
        for frame in frames:
            none_yet = False
            yield RawTable(frame, columns)
        if none_yet:
            yield RawTable(table.head(0).collect(), columns)


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file has, by its footer. Raises DatasetError as `read_raw` does."""
    with _naming_failures(path):
        _check_magic(path)
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _scan(path: Path, texts: list[str]) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path)
    if path.suffix == ".csv":
        return pl.scan_csv(path, infer_schema=False)
    columns = pl.scan_ndjson(path, infer_schema_length=None).collect_schema().names()
    overrides = {name: pl.String for name in texts if name in columns}
    return pl.scan_ndjson(path, infer_schema_length=None, schema_overrides=overrides)


def _by_position(table: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    for first in range(0, table.select(pl.len()).collect().item(), rows):
        yield table.slice(first, rows).collect()


@contextmanager
def _naming_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except READ_FAILURES as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DatasetError(f"it cannot be read: {reason}{_bad_lines(path)}.", fix=_FIX_READ) from error


_FIX_READ: Final = "Write the file again from its source, as Parquet if you can; CSV and JSON Lines must be UTF-8."


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(16)
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if size == 0:
        raise DatasetError("the file is empty.", fix="Write it again; a table without rows still needs its header.")
    found = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "text" if head.isascii() else None)
    if path.suffix == ".parquet" and (not head.startswith(b"PAR1") or size < _SMALLEST_PARQUET):
        raise DatasetError(
            f"it is named .parquet but is {found or 'of another format'} (it begins with {head[:8]!r}).",
            fix="Name the file for what it holds, or write it as Parquet.",
        )
    if path.suffix == ".parquet" and tail != b"PAR1":
        raise DatasetError(
            "the Parquet file is truncated: its footer is missing.",
            fix="Copy it again; a writer that was killed leaves such files.",
        )
    if path.suffix != ".parquet" and found not in (None, "text"):
        raise DatasetError(
            f"it is named {path.suffix} but is {found}.", fix=f"Unpack or convert it to UTF-8 {path.suffix[1:]}."
        )
    if path.suffix == ".jsonl" and head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
        raise DatasetError(
            "it holds one JSON array, not JSON Lines.", fix="Write one object a line, without brackets around them."
        )


def _read_parquet(path: Path, wanted: set[str]) -> RawTable:
    columns = tuple(pl.read_parquet_schema(path))
    present = [name for name in columns if name in wanted]
    return RawTable(pl.read_parquet(path, columns=present), columns)


def _read_csv(path: Path, wanted: set[str]) -> RawTable:
    scan = pl.scan_csv(path, infer_schema=False)
    columns = tuple(scan.collect_schema().names())
    present = [name for name in columns if name in wanted]
    return RawTable(scan.select(present or columns[:1]).collect(), columns)


def _read_jsonl(path: Path, wanted: set[str], texts: list[str]) -> RawTable:
    columns = tuple(pl.scan_ndjson(path, infer_schema_length=None).collect_schema().names())
    overrides = {name: pl.String for name in texts if name in columns}
    frame = pl.read_ndjson(path, infer_schema_length=None, schema_overrides=overrides)
    return RawTable(frame.select(name for name in columns if name in wanted), columns)


def _bad_lines(path: Path) -> str:
    """Which lines of a text file do not parse, as the end of a sentence; nothing where that cannot be said."""
    if path.suffix == ".parquet":
        return ""
    try:
        lines = pl.read_lines(path)["line"]
    except READ_FAILURES:
        return " (it is not UTF-8 text)"
    bad = odd_json_lines(lines) if path.suffix == ".jsonl" else odd_csv_lines(lines)
    rows = bad.arg_true().head(SHOWN).to_list()
    return f" (see line{'s' if len(rows) > 1 else ''} {', '.join(str(row + 1) for row in rows)})" if rows else ""


def odd_json_lines(lines: pl.Series) -> pl.Series:
    """[n] lines that are neither blank nor JSON."""
    return lines.str.json_path_match("$").is_null() & (lines.str.strip_chars() != "")


def odd_csv_lines(lines: pl.Series) -> pl.Series:
    """[n] lines without quotes that have another number of fields than the header.

    None where a quoted field goes over several lines: lines are not rows then.
    """
    commas, quotes = lines.str.count_matches(","), lines.str.count_matches('"', literal=True)
    if lines.is_empty() or (quotes % 2 == 1).any():
        return pl.repeat(False, len(lines), dtype=pl.Boolean, eager=True)
    odd: pl.Series = commas != commas.head(1).item()
    return odd & (quotes == 0) & (lines != "")
