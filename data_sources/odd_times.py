"""Times of which something is wrong: in another unit than seconds, ahead of now, long ago, before their item appeared.

Expressions over rows, for figures that are added up slice by slice and for the places of what they count. `checks`
counts them, `checks_time` judges.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

import polars as pl

from contracts.schema import DatasetSchema

DAY: Final = 86_400

LARGEST_SECONDS: Final = 100_000_000_000
"""Year 5138. In milliseconds it is March 1973, before any event log: a larger number is no count of seconds."""
_MILLISECONDS, _MICROSECONDS = 10**14, 10**17

PAST: Final = 631_152_000
"""1 January 1990: an event that is older was stamped by a clock that was not set."""

CLOCK_SKEW: Final = DAY
"""A day ahead of now is a time zone, not an error."""


def other_units(column: str) -> dict[str, pl.Expr]:
    """Unit → where a time looks like one; in ascending order of the times."""
    size = pl.col(column).abs()
    return {
        "milliseconds": (size > LARGEST_SECONDS) & (size <= _MILLISECONDS),
        "microseconds": (size > _MILLISECONDS) & (size <= _MICROSECONDS),
        "nanoseconds": size > _MICROSECONDS,
    }


def not_seconds(column: str) -> pl.Expr:
    """Where a time is of any of these units."""
    return pl.col(column).abs() > LARGEST_SECONDS


def typical_unit(counts: dict[str, int]) -> str:
    """The unit of the median of times that are no seconds, by their number in each unit."""
    middle = sum(counts.values()) // 2
    return next(unit for unit, up_to in zip(counts, accumulate(counts.values()), strict=True) if up_to > middle)


def odd_times(schema: DatasetSchema, items: pl.DataFrame, now: int) -> dict[str, pl.Expr]:
    """What of it → where it holds of an event: `future`, `past`, `early` (its item appeared later)."""
    time = pl.col("timestamp")
    odd = {"future": (time > now + CLOCK_SKEW) & (time <= LARGEST_SECONDS), "past": time < PAST}
    if schema.published in items.columns:
        born = items.select("item_id", born=schema.published).drop_nulls().unique("item_id", keep="first")
        births = pl.col("item_id").replace_strict(born["item_id"], born["born"], default=None, return_dtype=pl.Int64)
        odd["early"] = time < births - CLOCK_SKEW
    return odd
