"""Files of exposures or events as frames: JSON lines, CSV or Parquet, one file or a folder of any depth.

A file is read in batches, so that memory is that of what is kept of it. Ids come as text whatever they were, a column
that is not in the file may be in the folders of its path (`experiment_id=new-model/…`, as Hive writes them). The last
line of a log whose writer was killed is unfinished: it was never acknowledged, and is left out. Everything else that
cannot be read is an ExposuresInvalid with file and row. `exposures.py` and `event_files.py` call it.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

import msgspec
import polars as pl

from contracts.errors import ExposuresInvalid
from experiments.analysis.notices import Notice, notice

BATCH_ROWS: Final = 250_000
"""Some 50 MB of text."""
_MAX_LINE_BYTES: Final = 1 << 20
"""An unfinished last line is looked for so far from the end: Firehose takes no longer record."""
_KINDS: Final[dict[str, Literal["lines", "csv", "parquet"]]] = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".csv": "csv",
    ".parquet": "parquet",
}
_PARQUET: Final = b"PAR1"
_UNREADABLE: Final = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError)


@dataclass(frozen=True)
class LogFile:
    """One file of a log."""

    path: Path
    kind: Literal["lines", "csv", "parquet"]
    partitions: dict[str, str]
    """Column → value, from the folders between the log and the file."""


def log_files(path: Path) -> list[LogFile]:
    """The files at a path, by name. Raises ExposuresInvalid where there is none that can be read."""
    if not path.exists():
        raise ExposuresInvalid(f"{path}: there is no such file or folder.", fix="Give the path of the log.")
    paths = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    shown = [one for one in paths if not one.name.startswith((".", "_")) and one.stat().st_size]
    found = [LogFile(one, kind, _partitions(one, path)) for one in shown if (kind := _kind(one)) is not None]
    if not found:
        there = ", ".join(one.name for one in paths[:5]) or "nothing"
        raise ExposuresInvalid(
            f"{path}: no file with rows that is .jsonl, .csv or .parquet; there is {there}.",
            fix="Give a log in one of these formats.",
        )
    return found


def frames(
    file: LogFile, required: Sequence[str], optional: Sequence[str], notices: list[Notice] | None = None
) -> Iterator[pl.DataFrame]:
    """Batches of the columns as they are in the file, ids as text; an optional one that is not there is null.

    Raises ExposuresInvalid where a required column is missing, or the file cannot be read to its end.
    """
    try:
        table, present = _scan(file, [*required, *optional], notices)
        missing = [name for name in required if name not in present and name not in file.partitions]
        if missing:
            raise ExposuresInvalid(
                f"{file.path}: column {missing[0]} is missing; there are {', '.join(present) or 'none'}.",
                fix=f"Every row needs {', '.join(required)}.",
            )
        columns = [_column(file, name, present) for name in [*required, *optional]]
        yield from table.select(columns).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
    except _UNREADABLE as error:
        raise ExposuresInvalid(
            f"{file.path}{_where(file)} cannot be read: {str(error).splitlines()[0][:200]}.",
            fix="Mend or remove the row, or write the file again.",
        ) from error


def bad_row(file: LogFile, row: int, reason: str) -> ExposuresInvalid:
    """The failure that names a row, counted from 1 without a head line and without empty lines."""
    return ExposuresInvalid(f"{file.path}, row {row}: {reason}.", fix="Mend or remove the row.")


def _kind(path: Path) -> Literal["lines", "csv", "parquet"] | None:
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if (kind := _KINDS.get(plain.suffix.lower())) is not None:
        return kind
    with path.open("rb") as file:  # Firehose gives its objects no suffix
        return "parquet" if file.read(len(_PARQUET)) == _PARQUET else None


def _partitions(path: Path, root: Path) -> dict[str, str]:
    folders = path.relative_to(root).parts[:-1] if root.is_dir() else ()
    return dict(folder.split("=", 1) for folder in folders if "=" in folder)


def _scan(
    file: LogFile, wanted: list[str], notices: list[Notice] | None
) -> tuple[pl.LazyFrame, dict[str, pl.DataType]]:
    """The file unread, and the columns that it has."""
    if file.kind == "parquet":
        table = pl.scan_parquet(file.path, hive_partitioning=False)
        return table, dict(table.collect_schema())
    if file.kind == "csv":
        table = pl.scan_csv(file.path, infer_schema=False)
        return table, dict(table.collect_schema())
    source: Path | io.BytesIO = file.path
    if unfinished := _unfinished_bytes(file.path):
        source = io.BytesIO(file.path.read_bytes()[:-unfinished])
        notice(notices, "unfinished-line", f"{file.path}: the last line is unfinished and was left out.")
    present: dict[str, pl.DataType] = {name: pl.String() for name in _fields_of_first_line(file)}
    return pl.scan_ndjson(source, schema=dict.fromkeys(wanted, pl.String)), present


def _column(file: LogFile, name: str, present: dict[str, pl.DataType]) -> pl.Expr:
    kind = present.get(name)
    if kind is None and file.kind == "lines" and name not in file.partitions:
        return pl.col(name)  # a line leaves out what is the default: that the first one has no such field says nothing
    if kind is None:
        return pl.lit(file.partitions.get(name), pl.String).alias(name)
    if name == "timestamp" or kind == pl.String or (name == "value" and kind.is_numeric()):
        return pl.col(name)
    if kind.is_integer() or kind in (pl.Categorical, pl.Enum, pl.Null):
        return pl.col(name).cast(pl.String)
    raise ExposuresInvalid(
        f"{file.path}: column {name} is of type {kind}.",
        fix=f"Write {name} as {'a number' if name == 'value' else 'text'}.",
    )


def _unfinished_bytes(path: Path) -> int:
    """How long a last line is that has no end and is no JSON; 0 where the file is whole."""
    if path.suffix == ".gz":
        return 0
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, _MAX_LINE_BYTES), os.SEEK_END)
        last = file.read().rpartition(b"\n")[2]
    if not last.strip():
        return 0
    try:
        msgspec.json.decode(last)
    except msgspec.DecodeError:
        return len(last)
    return 0


def _fields_of_first_line(file: LogFile) -> list[str]:
    with _opened(file.path) as lines:
        first = next((line for line in lines if line.strip()), b"")
    try:
        found = msgspec.json.decode(first)
    except msgspec.DecodeError:
        raise bad_row(file, 1, "no JSON object") from None
    if not isinstance(found, dict):
        raise bad_row(file, 1, "no JSON object")
    return list(found)


def _where(file: LogFile) -> str:
    """Which row of a file of text it is that cannot be read, as far as that can be told."""
    try:
        row = {"lines": _first_bad_line, "csv": _first_bad_record}[file.kind](file.path)
    except (KeyError, OSError, EOFError):
        return ""
    return "" if row is None else f", row {row}:"


def _first_bad_line(path: Path) -> int | None:
    with _opened(path) as lines:
        for row, line in enumerate((line for line in lines if line.strip()), start=1):
            try:
                whole = isinstance(msgspec.json.decode(line), dict)
            except msgspec.DecodeError:
                whole = False
            if not whole:
                return row
    return None


def _first_bad_record(path: Path) -> int | None:
    """The first row with other than the head's number of fields, or that is no UTF-8."""
    with _opened(path) as file:
        rows, row = csv.reader(line.decode() for line in file), 0
        try:
            fields = len(next(rows, []))
            for row, found in enumerate(rows, start=1):
                if found and len(found) != fields:
                    return row
        except (UnicodeDecodeError, csv.Error):
            return row + 1
    return None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
