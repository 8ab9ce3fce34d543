"""The rows of one user in one file, whatever kind of file it is: found, and left out of a copy of it.

Lines of JSON (plain or packed), Parquet and CSV, known by their first bytes. Of lines every other one stays the bytes
that it is; a damaged line that names the user goes too, for no reader has any use of it. What came after the user left
is a new beginning and stays. Memory is a block of lines or a slice of rows. It does not know where files lie;
`forget_places.py` calls it.
"""

from __future__ import annotations

import gzip
import os
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import polars as pl

from batch_job.event_log_reading import GZIP, PARQUET, UNREADABLE, line_blocks
from contracts.errors import naming_full_disk
from contracts.schema import FeatureKind
from data_sources.columns import Role, convert

SLICE_ROWS: Final = 250_000
"""Of two columns while they are looked through, and of a CSV file: 50 MB."""
CSV_SUFFIX: Final = ".csv"
_ARROW: Final = "ARROW:schema"
"""Key of Parquet's metadata that every writer writes itself."""


class Leaver(NamedTuple):
    """Who is to be forgotten."""

    ids: tuple[str, ...]
    """The user's, and those of the sessions that were theirs."""
    left_at: int
    """Unix seconds; what came later is not of theirs to forget."""


class Rows(NamedTuple):
    """Of one user in one file."""

    gone: int = 0
    """To be left out."""
    since: int = 0
    """Of after they left."""


class FileUnreadable(Exception):
    """A file is damaged, so nobody can say what is in it."""


class _Line(msgspec.Struct):
    user_id: Any = None
    received_at: Any = None
    timestamp: Any = None


_decode: Final = msgspec.json.Decoder(_Line).decode


def rows_of(path: Path, leaver: Leaver, time: str | None) -> Rows:
    """What a file has of a user. `time`: column that says when, None: all of it is from before.

    Raises FileUnreadable.
    """
    return _handled(path, leaver, time, None)


def write_without(path: Path, target: Path, leaver: Leaver, time: str | None) -> Rows:
    """Copy a file without the rows of a user. Raises FileUnreadable, StorageFull."""
    with naming_full_disk(target):
        return _handled(path, leaver, time, target)


def blank_out(path: Path, leaver: Leaver, time: str | None) -> Rows:
    """Write spaces over whole lines of a user, in a file of lines that somebody may be appending to.

    A writer appends at the end and never looks back, readers skip empty lines: nobody has to wait. Killed in a line it
    leaves a damaged one, which the next call takes as the user's while it names them. Raises OSError.
    """
    found, at = Rows(), 0
    with path.open("rb") as reading:
        places = os.open(path, os.O_WRONLY)
        try:
            for block in line_blocks(reading):
                lines = block.splitlines(keepends=True)
                starts = list(accumulate(map(len, lines), initial=at))
                whole = [line for line in lines if line.endswith(b"\n")]  # the last one may be half written
                theirs, since = _of_user(whole, leaver, time)
                for number in theirs:
                    os.pwrite(places, b" " * (len(lines[number]) - 1), starts[number])
                found, at = Rows(found.gone + len(theirs), found.since + since), starts[-1]
            os.fsync(places)
        finally:
            os.close(places)
    return found


def _handled(path: Path, leaver: Leaver, time: str | None, target: Path | None) -> Rows:
    with path.open("rb") as file:
        head = file.read(len(PARQUET))
    try:
        if head == PARQUET:
            return _of_parquet(path, leaver, time, target)
        if path.suffix == CSV_SUFFIX:
            return _of_csv(path, leaver, time, target)
        return _of_lines(path, gzip.open if head.startswith(GZIP) else open, leaver, time, target)
    except OSError as error:
        if not isinstance(error, gzip.BadGzipFile):
            raise  # of the machine, not of the file
        raise FileUnreadable(str(error)) from error
    except UNREADABLE as error:
        raise FileUnreadable(f"{type(error).__name__}: {str(error)[:200]}") from error


def _of_parquet(path: Path, leaver: Leaver, time: str | None, target: Path | None) -> Rows:
    table = pl.scan_parquet(path)
    present = table.collect_schema()
    if "user_id" not in present:
        return Rows()
    dated = time if time in present else None
    narrow = table.select([name for name in ("user_id", dated) if name])
    rows, found = table.select(pl.len()).collect().item(), Rows()
    for start in range(0, rows, SLICE_ROWS):
        found = _plus(found, _marked(narrow.slice(start, SLICE_ROWS).collect(), leaver, dated)[1])
    if target is not None and found.gone:
        kept = pl.struct(pl.col(name) for name in ("user_id", dated) if name).map_batches(
            lambda pairs: ~_marked(pairs.struct.unnest(), leaver, dated)[0], return_dtype=pl.Boolean
        )
        said = {key: value for key, value in pl.read_parquet_metadata(path).items() if key != _ARROW}
        table.filter(kept).sink_parquet(target, metadata=said)
    return found


def _of_csv(path: Path, leaver: Leaver, time: str | None, target: Path | None) -> Rows:
    table, found = pl.scan_csv(path, infer_schema=False), Rows()
    present = table.collect_schema()
    if "user_id" not in present:
        return found
    dated = time if time in present else None
    with ExitStack() as opened:
        out = opened.enter_context(target.open("wb")) if target is not None else None
        for number, frame in enumerate(table.collect_batches(chunk_size=SLICE_ROWS)):
            gone, rows = _marked(frame, leaver, dated)
            found = _plus(found, rows)
            if out is not None:
                frame.filter(~gone).write_csv(out, include_header=number == 0)
    return found


def _of_lines(path: Path, opened_by: Callable[..., Any], leaver: Leaver, time: str | None, target: Path | None) -> Rows:
    found = Rows()
    with ExitStack() as opened:
        file = opened.enter_context(opened_by(path, "rb"))
        out = opened.enter_context(opened_by(target, "wb")) if target is not None else None
        for block in line_blocks(file):
            lines = block.splitlines(keepends=True) if _may_hold(block, leaver) else []
            theirs, since = _of_user(lines, leaver, time)
            found = Rows(found.gone + len(theirs), found.since + since)
            if out is not None:
                left_out = set(theirs)
                kept = (line for number, line in enumerate(lines) if number not in left_out)
                out.write(b"".join(kept) if theirs else block)
    return found


def _may_hold(block: bytes, leaver: Leaver) -> bool:
    """Whether an id may be in a block: as it is, or escaped."""
    return b"\\" in block or any(_raw(one) in block for one in leaver.ids)


def _of_user(lines: list[bytes], leaver: Leaver, time: str | None) -> tuple[list[int], int]:
    """Which lines are a user's from before they left, and how many of later. Only lines that may be theirs are read."""
    names = [_raw(one) for one in leaver.ids]
    gone, since = [], 0
    for number in _with_any(lines, [*names, b"\\"]):  # as it is, or escaped
        line = lines[number]
        try:
            found = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if any(b'"' + name in line for name in names):
                gone.append(number)
            continue
        if _text(found.user_id) in leaver.ids:
            when = _seconds(getattr(found, time)) if time else None
            if when is not None and when > leaver.left_at:
                since += 1
            else:
                gone.append(number)
    return gone, since


def _with_any(lines: list[bytes], parts: list[bytes]) -> list[int]:
    """Which lines hold one of some bytes: looked for in all at once, which is the fastest search there is."""
    block, starts, found = b"".join(lines), list(accumulate(map(len, lines), initial=0)), set()
    for part in parts:
        at = block.find(part)
        while at >= 0:
            number = bisect_right(starts, at) - 1
            found.add(number)
            at = block.find(part, starts[number + 1])
    return sorted(found)


def _raw(user_id: str) -> bytes:
    return user_id.encode("utf-8", "surrogatepass")


def _text(user_id: Any) -> str:
    """An id as a dataset's reader takes it."""
    return str(int(user_id)) if isinstance(user_id, float) and user_id.is_integer() else str(user_id)


def _seconds(value: Any) -> int | None:
    seconds: int | None = None if value is None else convert(pl.Series([value]), FeatureKind.TIMESTAMP).values.item()
    return seconds


def _marked(frame: pl.DataFrame, leaver: Leaver, time: str | None) -> tuple[pl.Series, Rows]:
    """[rows] whether a row is to be left out, and how many are, and how many are of later."""
    theirs = convert(frame["user_id"], Role.ID).values.is_in(list(leaver.ids)).fill_null(value=False)
    later = theirs & False
    if time is not None:
        later = theirs & (convert(frame[time], FeatureKind.TIMESTAMP).values > leaver.left_at).fill_null(value=False)
    gone = theirs & ~later
    return gone, Rows(int(gone.sum()), int(later.sum()))


def _plus(one: Rows, other: Rows) -> Rows:
    return Rows(one.gone + other.gone, one.since + other.since)
