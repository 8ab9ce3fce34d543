"""Exposures from files: who was served which variation of which experiment, and when.

The columns are those of a GrowthBook assignment query, so that anybody's log will do. Our own log is at-least-once:
what is there twice is known by user, experiment, variation and day (UTC), see `contracts/served.py`. Every other column
is left where it is: by which route somebody was served, or whether degraded, never decides whether they are counted.
The report and the simulation call it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from experiments.analysis.log_files import LogFile, bad_row, frames, log_files
from experiments.analysis.notices import Notice
from experiments.analysis.timestamps import Timestamps

EXPOSURE_COLUMNS: Final = ("user_id", "timestamp", "experiment_id", "variation_id")
DAY_SECONDS: Final = 86_400
_KEY: Final = ("user_id", "experiment_id", "variation_id", "day")


def read_exposures(path: Path, notices: list[Notice] | None = None) -> pl.DataFrame:
    """EXPOSURE_COLUMNS by time, once a user, experiment, variation and day; timestamp in Unix seconds.

    Raises ExposuresInvalid that names the file, and the column or the row.
    """
    times = Timestamps("exposures")
    found = []
    for file in log_files(path):
        row = 1
        for frame in frames(file, EXPOSURE_COLUMNS, (), notices):
            found.append(_once_a_day(_checked(frame, file, row, times)))
            row += len(frame)
    times.note(notices)
    return _once_a_day(pl.concat(found)).sort("timestamp", *EXPOSURE_COLUMNS).select(EXPOSURE_COLUMNS)


def _checked(frame: pl.DataFrame, file: LogFile, first_row: int, times: Timestamps) -> pl.DataFrame:
    for name in EXPOSURE_COLUMNS:
        empty = (frame[name].is_null() | (frame[name].cast(pl.String) == "")).arg_true()
        if len(empty):
            raise bad_row(file, first_row + int(empty[0]), f"{name} is empty")
    return frame.with_columns(times.seconds(frame["timestamp"], file, first_row).alias("timestamp"))


def _once_a_day(frame: pl.DataFrame) -> pl.DataFrame:
    """The first of each day."""
    days = frame.with_columns((pl.col("timestamp") // DAY_SECONDS).alias("day"))
    return days.group_by(_KEY).agg(pl.col("timestamp").min())
