"""The log of slates as a table of places, each with whether it was clicked: what `off_policy` and `interleaving` read.

Slates are JSON lines as the edge writes them, or the Parquet that Firehose makes of them
(`contracts/event_columns.py`); the log is at-least-once, and a repeated slate is known by its recommendation id. A
click is an event that names the slate's recommendation id and the item, within a window after it was served. It knows
no policy. Whoever is not known by a user id or a session is left out: nobody can say which slates are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from contracts.errors import ExposuresInvalid
from contracts.event_columns import SLATE_COLUMNS
from contracts.served import ServedSlate, decode_slate

WINDOW_SECONDS: Final = 24 * 3_600
"""An event that comes later is rarely of this slate; it must be over before the log is read."""

_TYPES: Final[dict[str, Any]] = {
    "string": pl.String,
    "bigint": pl.Int64,
    "array<string>": pl.List(pl.String),
    "array<double>": pl.List(pl.Float64),
    "array<int>": pl.List(pl.Int64),
}
SLATE_SCHEMA: Final = {name: _TYPES[hive] for name, hive in SLATE_COLUMNS}
"""Column → type of the frame of slates."""

_EVENT_COLUMNS: Final = ("recommendation_id", "item_id", "timestamp")


def read_slates(path: Path) -> pl.DataFrame:
    """Slates of a file, or of all files under a folder (.jsonl, .parquet): SLATE_SCHEMA, each slate once.

    A last line without an end was never acknowledged and is left out. Raises ExposuresInvalid for what is no slate.
    """
    files = sorted(one for one in path.rglob("*") if one.suffix in _READERS) if path.is_dir() else [path]
    if not files or not all(one.is_file() for one in files):
        raise ExposuresInvalid(f"{path}: no slates are there.", fix="Name a .jsonl or .parquet file, or their folder.")
    frames = [_reader(one)(one) for one in files]
    return pl.concat(frames).unique("recommendation_id", keep="first", maintain_order=True)


def frame_of(slates: Sequence[ServedSlate]) -> pl.DataFrame:
    """Slates as the frame that `read_slates` gives."""
    return pl.DataFrame([msgspec.structs.asdict(slate) for slate in slates], SLATE_SCHEMA)


def places_of(slates: pl.DataFrame, events: pl.DataFrame, *, window_seconds: int = WINDOW_SECONDS) -> pl.DataFrame:
    """One row a place of users who are known: recommendation_id, user_id, timestamp, place (from 0), item_id, score,
    propensity, team (null without interleaving), clicked (0.0 or 1.0).

    `events` have recommendation_id, item_id and timestamp (Unix seconds). Raises ExposuresInvalid where columns are
    missing or the lists of a slate differ in length.
    """
    _check_columns(events)
    known = slates.filter(pl.col("user_id").fill_null("") != "")
    _check_lengths(known)
    length = pl.col("items").list.len()
    teams = pl.when(pl.col("teams").list.len() == length).then("teams")
    table = (
        known.select(
            "recommendation_id",
            "user_id",
            "timestamp",
            place=pl.int_ranges(length),
            item_id="items",
            score="scores",
            propensity="propensities",
            team=teams.otherwise(pl.lit(None, pl.Int64).repeat_by(length)),
        )
        .filter(pl.col("item_id").list.len() > 0)
        .explode("place", "item_id", "score", "propensity", "team")
    )
    return _with_clicks(table, events, window_seconds)


def randomised(places: pl.DataFrame) -> pl.DataFrame:
    """The places of `places_of` that chance filled: the only ones that say what would have come of another choice."""
    return places.filter(pl.col("propensity") < 1)


def _with_clicks(table: pl.DataFrame, events: pl.DataFrame, window_seconds: int) -> pl.DataFrame:
    happened = events.select("recommendation_id", "item_id", happened=pl.col("timestamp").cast(pl.Int64)).drop_nulls()
    keys = ["recommendation_id", "item_id"]
    after = pl.col("happened") - pl.col("timestamp")
    clicked = (
        table.join(happened, on=keys)
        .filter((after >= 0) & (after <= window_seconds))
        .select(*keys, clicked=pl.lit(1.0))
        .unique(keys)
    )
    return table.join(clicked, on=keys, how="left", maintain_order="left").with_columns(pl.col("clicked").fill_null(0))


def _check_columns(events: pl.DataFrame) -> None:
    missing = [name for name in _EVENT_COLUMNS if name not in events.columns]
    if missing:
        raise ExposuresInvalid(
            f"events: no column {', '.join(missing)}.",
            fix="Send `recommendation_id` of the slate with each event that came of it.",
        )


def _check_lengths(slates: pl.DataFrame) -> None:
    length = pl.col("items").list.len()
    uneven = slates.filter((pl.col("scores").list.len() != length) | (pl.col("propensities").list.len() != length))
    if len(uneven):
        raise ExposuresInvalid(
            f"{len(uneven)} slates have not a score and a propensity for every item, "
            f"e.g. {uneven['recommendation_id'][0]}.",
            fix="Leave out slates of versions that logged no propensities.",
        )


def _read_lines(path: Path) -> pl.DataFrame:
    *lines, _unfinished = path.read_bytes().split(b"\n")
    rows: list[ServedSlate] = []
    for number, line in enumerate(lines, 1):
        try:
            if line:
                rows.append(decode_slate(line))
        except msgspec.MsgspecError as error:
            raise ExposuresInvalid(f"{path}, line {number}: {error}.", fix="Name a log of slates.") from error
    return frame_of(rows)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
        lists = [name for name, type_ in SLATE_SCHEMA.items() if isinstance(type_, pl.List)]
        return frame.select(pl.col(name).cast(type_) for name, type_ in SLATE_SCHEMA.items()).with_columns(
            pl.col(lists).fill_null([])  # Glue's tables have null where a list is empty
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ExposuresInvalid(f"{path}: {error}", fix="Name Parquet of the table of slates.") from error


_READERS: Final = {".jsonl": _read_lines, ".parquet": _read_parquet}


def _reader(path: Path) -> Callable[[Path], pl.DataFrame]:
    if path.suffix not in _READERS:
        raise ExposuresInvalid(f"{path}: slates are .jsonl or .parquet.", fix="Name such a file, or a folder of them.")
    return _READERS[path.suffix]
