"""Whom a batch is for: the ids of a file or of all profiles, as lists of so many users on disk, each user once.

A file is CSV, Parquet or JSON Lines with a column `user_id`, or, under any other name, UTF-8 text with one id a line.
Users stream: memory is that of a list, or of a 64th of the file, whichever is more. Anonymous sessions are nobody whom
recommendations could be sent to. It knows no profile beyond its id; `recommend.py` calls it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from hashlib import file_digest
from itertools import islice
from pathlib import Path
from shutil import rmtree
from typing import Final, NamedTuple

import polars as pl

from batch_job.user_buckets import PLACE, UserBuckets
from contracts.errors import DatasetError, naming_full_disk
from contracts.live import ANONYMOUS_PREFIX
from contracts.schema import MAX_ID_BYTES, DatasetSchema
from data_sources.slices import SLICE_ROWS, table_slices
from data_sources.tables import FORMATS, READ_FAILURES
from stores.profiles import Profiles
from stores.release_files import write_atomically

ALL_USERS: Final = "all"
"""In the place of a digest."""

_USER: Final = "user_id"
_BYTE_ORDER_MARK: Final = "\ufeff"


class Listed(NamedTuple):
    """What was listed."""

    users: int
    anonymous: int
    """Named, and left out."""
    parts: int


def users_digest(users: Path | None) -> str:
    """What tells the users of one batch from those of another. Raises DatasetError where there is no such file."""
    if users is None:
        return ALL_USERS
    try:
        with users.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(
            f"{users}: the file of users cannot be read: {error.strerror}.", fix="Name a file of ids, or `all`."
        ) from error


def list_users(users: Path | None, profiles: Profiles, folder: Path, part_users: int) -> Listed:
    """Write the users as lists below a folder (created), for `read_list`.

    Raises DatasetError (file, column, rows) for a file that cannot be read or names nobody, ProfilesUnavailable,
    StorageFull.
    """
    sorting = folder / "sorting"
    with naming_full_disk(folder):
        sorting.mkdir(parents=True)
    named = listed = parts = 0

    def people(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        nonlocal named
        for frame in frames:
            named += len(frame)
            yield frame.filter(~pl.col(_USER).str.starts_with(ANONYMOUS_PREFIX))

    for some in _in_parts(people(_stored(profiles) if users is None else _named(users, sorting)), part_users):
        packed = io.BytesIO()
        some.sort(PLACE).select(_USER).write_ipc(packed)
        with naming_full_disk(folder):
            write_atomically(_list(folder, parts), packed.getvalue())
        listed, parts = listed + len(some), parts + 1
    if users is not None and not named:
        raise DatasetError(f"{users}: it names no user.", fix="Write one id a line, or a column user_id.")
    rmtree(sorting)
    return Listed(listed, named - listed, parts)


def read_list(folder: Path, number: int) -> list[str]:
    """The users of one list."""
    return pl.read_ipc(_list(folder, number))[_USER].to_list()


def _list(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.arrow"


def _in_parts(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of `rows`, the last one shorter."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(map(len, waiting)) >= rows:
            together = pl.concat(waiting)
            whole = len(together) // rows * rows
            yield from together.head(whole).iter_slices(rows)
            waiting = [together.slice(whole)]
    if rest := [frame for frame in waiting if len(frame)]:
        yield pl.concat(rest)


def _stored(profiles: Profiles) -> Iterator[pl.DataFrame]:
    """Everybody with a profile."""
    user_ids, place = iter(profiles.user_ids()), 0
    while some := list(islice(user_ids, SLICE_ROWS)):
        frame = pl.DataFrame({_USER: some}, schema={_USER: pl.String})
        yield frame.with_row_index(PLACE, place).with_columns(pl.col(PLACE).cast(pl.Int64))
        place += len(some)


def _named(path: Path, scratch: Path) -> Iterator[pl.DataFrame]:
    """Whom a file names, each once, by bucket: what is said twice need not be near."""
    buckets = UserBuckets(scratch)
    for frame in _slices(path):
        buckets.add(frame)
    for frame in buckets.frames():
        yield frame.sort(PLACE).unique(_USER, keep="first", maintain_order=True)


def _slices(path: Path) -> Iterator[pl.DataFrame]:
    is_table, first = path.suffix[1:] in FORMATS, 0
    for frame in table_slices(path, path.name, DatasetSchema(), "users", SLICE_ROWS) if is_table else _lines(path):
        too_long = (frame[_USER].str.len_bytes() > MAX_ID_BYTES).arg_true()
        if len(too_long):
            raise DatasetError(
                f"{path}, row {first + too_long[0] + 1}: an id is longer than {MAX_ID_BYTES} bytes; no store has it.",
                fix="Remove such rows.",
            )
        first += len(frame)
        yield frame


def _lines(path: Path) -> Iterator[pl.DataFrame]:
    """The ids of a text file, one a line; empty lines are none."""
    try:
        for frame in pl.scan_lines(path).collect_batches(chunk_size=SLICE_ROWS):
            ids = frame["line"].str.strip_prefix(_BYTE_ORDER_MARK)
            yield ids.filter(ids != "").alias(_USER).to_frame()
    except READ_FAILURES as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DatasetError(
            f"{path}: it cannot be read: {reason}.", fix="Write one id a line in UTF-8, or name it .csv or .parquet."
        ) from error
