"""The figures of events that checks judge by, added up slice by slice: memory grows with users and items only.

One pass over the events, and 8 bytes an event for each of three questions whether something was there before
(`repeats`). Knows no limits: what is too much is for the checks to say. `checks.Examined` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from contracts.schema import DEFAULT_EVENT_TYPE, DatasetSchema
from data_sources.event_log import EventLog
from data_sources.odd_times import DAY, LARGEST_SECONDS, PAST
from data_sources.reading import ID_OF
from data_sources.repeats import Repeated, Repeats
from data_sources.tallies import Tally

_TOLD_APART_BY: Final = ("user_id", "item_id", "event_type", "timestamp", "value", "split")

_TIME: Final = pl.col("timestamp")
_PLAUSIBLE: Final = _TIME.filter((_TIME >= PAST) & (_TIME <= LARGEST_SECONDS))
_TIMES: Final = {
    "first": _TIME.min(),
    "last": _TIME.max(),
    "first_plausible": _PLAUSIBLE.min(),
    "last_plausible": _PLAUSIBLE.max(),
    "first_of_day": (_TIME % DAY).min(),
    "last_of_day": (_TIME % DAY).max(),
}

Joined = tuple[pl.Expr, Callable[[pl.Expr], pl.Expr]]
"""A figure of the events of one id in a slice, and how those of two slices become one."""


@dataclass(frozen=True)
class EventFigures:
    """What there is of events."""

    per: dict[str, pl.DataFrame]
    """Side → `id`, `n` events; of users also `timed` events, their `first` and `last` time, where events are ordered;
    with a given split also `train` and `test` events."""
    types: pl.DataFrame
    """`id`, the type, and `n`, most first."""
    splits: pl.DataFrame
    """`id`, the value of split or null, and `n`, most first."""
    times: dict[str, int | None]
    """`first` and `last` of all times, `…_plausible` of those that may be seconds, `…_of_day` seconds since midnight;
    None where there are none."""
    counts: dict[str, int]
    """How many events each expression holds of."""
    duplicates: Repeated
    """Rows that equal an earlier one in all that tells events apart; without time, in user and item."""
    returns: Repeated
    """Rows with the user and the item of an earlier one."""
    event_ids: Repeated | None
    """Rows with the event_id of an earlier one; None without such a column."""


def figures_of(events: EventLog, schema: DatasetSchema, odd: Mapping[str, pl.Expr]) -> EventFigures:
    """Add up the figures of all events; `odd`: what else to count.

    Raises DatasetError for files that have changed meanwhile, StorageFull.
    """
    adding = _Adding(events, schema, odd)
    for frame in events.slices((*_TOLD_APART_BY, "event_id")):
        adding.add(frame)
    return adding.figures()


class _Adding:
    """The figures so far."""

    def __init__(self, events: EventLog, schema: DatasetSchema, odd: Mapping[str, pl.Expr]) -> None:
        self._of = {side: _figures_per(side, schema) for side in ID_OF}
        self._per = {side: Tally(**{name: join for name, (_, join) in of.items()}) for side, of in self._of.items()}
        self._types, self._splits = Tally(n=pl.Expr.sum), Tally(n=pl.Expr.sum)
        self._counted = {name: where.sum() for name, where in odd.items()}
        self._times: list[pl.DataFrame] = []
        self._counts: list[pl.DataFrame] = []
        self._duplicates, self._returns = Repeats(events.rows, events.room), Repeats(events.rows, events.room)
        self._event_ids = Repeats(events.rows, events.room) if "event_id" in events.columns else None

    def add(self, frame: pl.DataFrame) -> None:
        for side, key in ID_OF.items():
            figures = {name: figure for name, (figure, _) in self._of[side].items()}
            self._per[side].add(frame.filter(pl.col(key).is_not_null()).group_by(id=key).agg(**figures))
        self._types.add(frame.group_by(id=pl.col("event_type").fill_null(DEFAULT_EVENT_TYPE)).agg(n=pl.len()))
        self._splits.add(frame.group_by(id="split").agg(n=pl.len()))
        self._times.append(frame.select(**_TIMES))
        self._counts.append(frame.select(**self._counted))
        self._duplicates.add(frame.select(_TOLD_APART_BY).hash_rows())
        self._returns.add(frame.select("user_id", "item_id").hash_rows())
        if self._event_ids is not None:
            ids = pl.col("event_id")
            self._event_ids.add(frame.select(pl.when(ids.is_not_null()).then(ids.hash())).to_series())

    def figures(self) -> EventFigures:
        extremes = [pl.col(name).min() if name.startswith("first") else pl.col(name).max() for name in _TIMES]
        return EventFigures(
            {side: tally.merged() for side, tally in self._per.items()},
            _most_first(self._types.merged()),
            _most_first(self._splits.merged()),
            pl.concat(self._times).select(extremes).row(0, named=True),
            pl.concat(self._counts).sum().row(0, named=True),
            self._duplicates.found(),
            self._returns.found(),
            self._event_ids.found() if self._event_ids is not None else None,
        )


def _figures_per(side: str, schema: DatasetSchema) -> dict[str, Joined]:
    figures: dict[str, Joined] = {"n": (pl.len(), pl.Expr.sum)}
    if side == "users" and schema.ordered:
        figures |= {
            "timed": (_TIME.count(), pl.Expr.sum),
            "first": (_TIME.min(), pl.Expr.min),
            "last": (_TIME.max(), pl.Expr.max),
        }
    if schema.given_split:
        figures |= {part: ((pl.col("split") == part).sum(), pl.Expr.sum) for part in ("train", "test")}
    return figures


def _most_first(tally: pl.DataFrame) -> pl.DataFrame:
    return tally.sort("n", "id", descending=[True, False])
