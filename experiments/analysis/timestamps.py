"""Moments of a log as Unix seconds, whatever they were written as: numbers, ISO 8601 with a zone, or datetimes.

Zones are watched over all files of a log. Moments without a zone beside others that have one could be of any hour, so
that is an ExposuresInvalid; several zones are converted, and noted. `exposures.py` and `event_files.py` call it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from contracts.errors import ExposuresInvalid
from experiments.analysis.log_files import LogFile, bad_row
from experiments.analysis.notices import Notice, notice

LATEST_SECONDS: Final = 4_102_444_800
"""The year 2100, as in `contracts/event.py`: what is above is of milliseconds."""
_UNIX: Final = "Unix seconds"
_NONE: Final = "no zone"

_LOCAL: Final = r"^(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?)"
_ZONE: Final = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)? ?(Z|UTC|[+-]\d{2}(?::?\d{2})?)?$"
"""ISO 8601, and as databases print it: a space for the T, UTC for the Z."""


class Timestamps:
    """The moments of one log."""

    def __init__(self, log: str) -> None:
        """`log` is its name for the reader: "exposures" or "events"."""
        self._log = log
        self._seen: dict[str, LogFile] = {}

    def seconds(self, column: pl.Series, file: LogFile, first_row: int) -> pl.Series:
        """[rows] Int64. Raises ExposuresInvalid for a row that is no moment, and for zones that do not fit together."""
        found = self._of_text(column, file) if column.dtype == pl.String else self._of_type(column, file)
        wrong = (found.is_null() | (found < 0) | (found > LATEST_SECONDS)).arg_true()
        if len(wrong):
            row = int(wrong[0])
            hint = " (milliseconds?)" if found[row] is not None and found[row] > LATEST_SECONDS else ""
            raise bad_row(
                file, first_row + row, f"timestamp {column[row]!r} is no Unix seconds{hint}, ISO 8601 or datetime"
            )
        return found

    def note(self, notices: list[Notice] | None) -> None:
        """What was assumed or converted in all files so far."""
        zones = sorted(zone for zone in self._seen if zone not in (_UNIX, _NONE))
        if len(zones) > 1:
            said = f"timestamps of {self._log} are of several zones ({', '.join(zones)}) and were converted to UTC."
            notice(notices, "mixed-zones", said)
        if _NONE in self._seen:
            notice(notices, "zone-assumed", f"timestamps of {self._log} have no zone and were read as UTC.")

    def _of_type(self, column: pl.Series, file: LogFile) -> pl.Series:
        kind = column.dtype
        if isinstance(kind, pl.Datetime):
            self._see(kind.time_zone or _NONE, file)
            return column.dt.epoch("s")
        if not kind.is_numeric():
            raise ExposuresInvalid(
                f"{file.path}: column timestamp is of type {kind}.",
                fix="Write Unix seconds, ISO 8601 with a zone, or datetimes.",
            )
        self._see(_UNIX, file)
        return column.cast(pl.Float64).fill_nan(None).floor().cast(pl.Int64, strict=False)

    def _of_text(self, column: pl.Series, file: LogFile) -> pl.Series:
        numbers = column.cast(pl.Float64, strict=False).fill_nan(None).floor().cast(pl.Int64, strict=False)
        if numbers.null_count() < len(numbers):
            self._see(_UNIX, file)
        if not numbers.null_count():
            return numbers
        text = column.str.strip_chars()
        local = text.str.extract(_LOCAL).str.replace(" ", "T").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False)
        zone = pl.select(pl.when(local.is_not_null()).then(text.str.extract(_ZONE).fill_null(_NONE))).to_series()
        whole = text.str.contains(_ZONE)
        for name in zone.filter(whole).unique().drop_nulls():
            self._see("+00:00" if name in ("Z", "UTC") else name, file)
        moments = local.dt.epoch("s") - _offset_seconds(zone)
        return pl.select(pl.coalesce(numbers, pl.when(whole).then(moments))).to_series()

    def _see(self, zone: str, file: LogFile) -> None:
        self._seen.setdefault(zone, file)
        others = [other for other in self._seen if other != _NONE]
        if _NONE in self._seen and others:
            raise ExposuresInvalid(
                f"{self._log}: timestamps without a zone ({self._seen[_NONE].path}) beside others of {others[0]} "
                f"({self._seen[others[0]].path}).",
                fix="Write all of them as Unix seconds, or with their zone.",
            )


def _offset_seconds(zone: pl.Series) -> pl.Series:
    """East of Greenwich is positive; 0 where there is none."""
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    hours = zone.str.extract(r"^[+-](\d{2})").cast(pl.Int64).fill_null(0)
    minutes = zone.str.extract(r"^[+-]\d{2}:?(\d{2})").cast(pl.Int64).fill_null(0)
    return pl.select(sign * (hours * 3_600 + minutes * 60)).to_series()
