"""What a check of the data doctor is, and what it looks at: users and items as read, and the figures of events.

A check has a name, a reason why it matters, a fix, and a function from what was examined to an outcome. The families
are in `checks_files`, `checks_ids`, `checks_events`, `checks_time` and `checks_features`; `doctor` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from contracts.schema import DatasetSchema, FeatureKind
from data_sources.event_figures import EventFigures, figures_of
from data_sources.event_log import EventLog, Sought
from data_sources.findings import SHOWN, Finding, FindingKind, Place, shown
from data_sources.odd_times import odd_times, other_units
from data_sources.reading import ID_OF, Table


class Status(StrEnum):
    """What a check says."""

    PASS = "PASS"
    WARN = "WARN"
    """Trains and serves, but poorer than it could."""
    FAIL = "FAIL"
    """Cannot be opened, or what it would teach is wrong."""


class Needs(StrEnum):
    """What must be there for a check to make sense."""

    SCHEMA = "schema"
    """The schema could be read; without it a default one is assumed."""
    READ = "read"
    """At least one file could be read."""
    EVENTS = "events"
    """There are events, and not all without ids."""
    USERS = "users"
    ITEMS = "items"
    """The users (items) table could be read, or the schema promises one."""
    SECONDS = "seconds"
    """time = timestamp."""
    ORDER = "order"
    """time = timestamp or order."""
    SPLIT = "split"


@dataclass(frozen=True)
class Outcome:
    """What a check found."""

    status: Status
    found: str
    places: tuple[Place | Sought, ...] = ()
    """Among events a check only says what to look for."""


def passed(found: str) -> Outcome:
    return Outcome(Status.PASS, found)


def warned(found: str, places: Iterable[Place | Sought] = ()) -> Outcome:
    return Outcome(Status.WARN, found, tuple(places))


def failed(found: str, places: Iterable[Place | Sought] = ()) -> Outcome:
    return Outcome(Status.FAIL, found, tuple(places))


@dataclass(frozen=True)
class Examined:
    """A dataset as the doctor sees it: every table, bad values as null, and what reading noticed."""

    folder: Path
    schema: DatasetSchema
    schema_error: str | None
    events: EventLog
    users: Table
    items: Table
    now: int
    """Unix seconds."""

    @property
    def tables(self) -> tuple[EventLog | Table, ...]:
        return (self.events, self.users, self.items)

    def table(self, side: str) -> Table:
        return self.users if side == "users" else self.items

    def findings(self, *kinds: FindingKind) -> list[Finding]:
        return [finding for table in self.tables for finding in table.findings if finding.kind in kinds]

    def has(self, need: Needs) -> bool:
        """Whether what a check needs is there."""
        has = {
            Needs.SCHEMA: self.schema_error is None,
            Needs.READ: any(table.columns for table in self.tables),
            Needs.EVENTS: not any(self.per(side).is_empty() for side in ID_OF),
            Needs.USERS: len(self.users.frame) > 0 or bool(self.schema.users),
            Needs.ITEMS: len(self.items.frame) > 0 or bool(self.schema.items),
            Needs.SECONDS: self.schema.timed,
            Needs.ORDER: self.schema.ordered,
            Needs.SPLIT: self.schema.given_split,
        }
        return has[need]

    @cached_property
    def odd(self) -> dict[str, pl.Expr]:
        """What of it → where it holds of an event: times that something is wrong with."""
        return other_units("timestamp") | odd_times(self.schema, self.items.frame, self.now)

    @cached_property
    def figures(self) -> EventFigures:
        return figures_of(self.events, self.schema, self.odd)

    def per(self, side: str) -> pl.DataFrame:
        """`id` and `n`: events of each user (item), in no order."""
        return self.figures.per[side]

    @cached_property
    def all_ids(self) -> dict[str, pl.Series]:
        """Side → every distinct id of its events and its table."""
        return {
            side: pl.concat([self.per(side)["id"], self.table(side).frame[column].drop_nulls().alias("id")]).unique()
            for side, column in ID_OF.items()
        }

    def places(self, side: str, ids: pl.Series) -> list[Place | Sought]:
        """Where some ids of a side stand, in its own table and in the events."""
        column, table = ID_OF[side], self.table(side)
        mask = table.frame[column].is_in(ids.implode())
        own: list[Place | Sought] = [table.place(column, mask)] if mask.any() else []
        return own + self.events_of(side, ids)

    def events_of(self, side: str, ids: pl.Series, shows: str = "") -> list[Place | Sought]:
        """The events of some ids of a side, if there are any; `shows`: the column to show, by default the ids."""
        count = int(self.per(side).filter(pl.col("id").is_in(ids.implode()))["n"].sum())
        where = pl.col(ID_OF[side]).is_in(ids.implode())
        return [Sought(shows or ID_OF[side], where, count)] if count else []

    def features(self, side: str, *kinds: FeatureKind) -> list[str]:
        """Features of a side of these kinds that its table has."""
        features: dict[str, FeatureKind] = getattr(self.schema, side)
        frame = self.table(side).frame
        return [name for name, kind in features.items() if (not kinds or kind in kinds) and name in frame.columns]


@dataclass(frozen=True)
class Check:
    """One named check."""

    name: str
    why: str
    fix: str
    run: Callable[[Examined], Outcome]
    needs: tuple[Needs, ...] = field(default=())


MANY: Final = 0.5
"""Over this share of rows an oddity is no stray but the rule."""

FEW: Final = 0.01
"""Up to this share an oddity is noise that training does not feel."""


def share(part: float, whole: float) -> str:
    """A share for people, `3 of 200 (1.5 %)`."""
    return f"{part:,} of {whole:,} ({part / max(whole, 1):.2%})"


def listed(values: Sequence[object]) -> str:
    """The first few values of many."""
    return ", ".join(shown(value) for value in values[:SHOWN]) + (", …" if len(values) > SHOWN else "")


def collisions(ids: pl.Series, form: pl.Expr) -> pl.Series:
    """The ids [n] (column `id`) that become equal to another one under `form`."""
    forms = ids.alias("id").to_frame().select("id", form.alias("form"))
    return forms.filter(pl.col("form").is_duplicated() & pl.col("form").is_not_null())["id"]


def is_empty(column: pl.Series) -> pl.Series:
    """Where [n] a feature says nothing: null, an empty list, blank text."""
    if isinstance(column.dtype, pl.List):
        return column.is_null() | (column.list.len() == 0).fill_null(True)
    if column.dtype == pl.String:
        return column.is_null() | (column.str.strip_chars() == "").fill_null(True)
    return column.is_null()
