"""Events from files: what users did, of which a test counts clicks, sessions, values and days.

Only what is counted is kept, items and slates are not. Events with an `event_id` that is there twice are one event; a
log without such ids is taken as it is. The report and the simulation call it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from experiments.analysis.log_files import LogFile, bad_row, frames, log_files
from experiments.analysis.notices import Notice, notice
from experiments.analysis.timestamps import Timestamps

REQUIRED: Final = ("user_id", "timestamp")
OPTIONAL: Final = ("event_type", "session_id", "value", "event_id")
EVENT_COLUMNS: Final = ("user_id", "timestamp", "event_type", "session_id", "value")


def read_events(path: Path, notices: list[Notice] | None = None) -> pl.DataFrame:
    """EVENT_COLUMNS in the order of the files, null where a file has none; timestamp in Unix seconds.

    Raises ExposuresInvalid that names the file, and the column or the row.
    """
    times = Timestamps("events")
    found = []
    for file in log_files(path):
        row = 1
        for frame in frames(file, REQUIRED, OPTIONAL, notices):
            found.append(_checked(frame, file, row, times))
            row += len(frame)
    times.note(notices)
    events = pl.concat(found)
    nobody = (events["user_id"].is_null() | (events["user_id"] == "")).sum()
    if nobody:
        notice(notices, "events-of-nobody", f"{nobody} events have no user_id and were left out.")
        events = events.filter(pl.col("user_id") != "")
    known = events["event_id"].is_not_null()
    if known.any():
        events = events.filter(~known | events["event_id"].is_first_distinct())
    return events.select(EVENT_COLUMNS)


def _checked(frame: pl.DataFrame, file: LogFile, first_row: int, times: Timestamps) -> pl.DataFrame:
    """Numbers for text; an id is kept as its 64-bit hash: of ten million two are alike once in 400,000 logs."""
    value = frame["value"].cast(pl.Float64, strict=False)
    wrong = (frame["value"].is_not_null() & ~value.is_finite().fill_null(value=False)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise bad_row(file, first_row + row, f"value {frame['value'][row]!r} is no number")
    hashed = pl.select(pl.when(frame["event_id"].is_not_null()).then(frame["event_id"].hash())).to_series()
    seconds = times.seconds(frame["timestamp"], file, first_row)
    return frame.with_columns(value.alias("value"), hashed.alias("event_id"), seconds.alias("timestamp"))
