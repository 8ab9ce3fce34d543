"""What a check of the data doctor is, and what it looks at: the tables as read, and figures that several checks need.

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
from data_sources.findings import SHOWN, Finding, FindingKind, Place, shown
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
    places: tuple[Place, ...] = ()


def passed(found: str) -> Outcome:
    return Outcome(Status.PASS, found)


def warned(found: str, places: Iterable[Place] = ()) -> Outcome:
    return Outcome(Status.WARN, found, tuple(places))


def failed(found: str, places: Iterable[Place] = ()) -> Outcome:
    return Outcome(Status.FAIL, found, tuple(places))


@dataclass(frozen=True)
class Examined:
    """A dataset as the doctor sees it: every table as read, bad values as null, and what reading noticed."""

    folder: Path
    schema: DatasetSchema
    schema_error: str | None
    events: Table
    users: Table
    items: Table
    now: int
    """Unix seconds."""

    @property
    def tables(self) -> tuple[Table, ...]:
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
            Needs.EVENTS: len(self.per_user) > 0 and len(self.per_item) > 0,
            Needs.USERS: len(self.users.frame) > 0 or bool(self.schema.users),
            Needs.ITEMS: len(self.items.frame) > 0 or bool(self.schema.items),
            Needs.SECONDS: self.schema.timed,
            Needs.ORDER: self.schema.ordered,
            Needs.SPLIT: self.schema.given_split and "split" in self.events.frame.columns,
        }
        return has[need]

    @cached_property
    def per_user(self) -> pl.DataFrame:
        """`id` and `n`: events of each user."""
        return self._counts("user_id")

    @cached_property
    def per_item(self) -> pl.DataFrame:
        """`id` and `n`: events of each item."""
        return self._counts("item_id")

    def _counts(self, column: str) -> pl.DataFrame:
        ids = self.events.frame[column].drop_nulls().alias("id")
        return ids.value_counts(name="n", sort=True)

    def per(self, side: str) -> pl.DataFrame:
        return self.per_user if side == "users" else self.per_item

    @cached_property
    def all_ids(self) -> dict[str, pl.Series]:
        """Side → every distinct id of its events and its table."""
        return {
            side: pl.concat([self.per(side)["id"], self.table(side).frame[column].drop_nulls().alias("id")]).unique()
            for side, column in ID_OF.items()
        }

    def places(self, side: str, ids: pl.Series) -> list[Place]:
        """Where some ids of a side stand, in its own table and in the events."""
        column = ID_OF[side]
        places = []
        for table in (self.table(side), self.events):
            mask = table.frame[column].is_in(ids.implode()).fill_null(False)
            if mask.any():
                places.append(table.place(column, mask))
        return places

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
