"""What is odd about one column of a file: noticed slice by slice, added up, and told as findings.

Knows the kind of a column, not the table that it is of. `reading` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from contracts.schema import FeatureKind
from data_sources.columns import ColumnKind, Converted, Role, is_missing, time_zones
from data_sources.findings import NO_ROWS, Finding, FindingKind, Place, Rows

SPLITS: Final = ("train", "test")

_EXPECTED: Final[dict[ColumnKind, str]] = {
    Role.ID: "an id (text or a whole number)",
    Role.WORD: "text",
    FeatureKind.CATEGORICAL: "a category",
    FeatureKind.TEXT: "text",
    FeatureKind.NUMERIC: "a finite number",
    FeatureKind.TIMESTAMP: "Unix seconds or an ISO 8601 time",
    FeatureKind.MULTI_CATEGORICAL: "a list of categories, or one text joined by |",
}
_FIX_TYPE: Final = "Correct these values, leave them empty, or give the feature another kind in schema.toml."
_FIX_SPLIT: Final = "Write train or test in every row, or take given_split out of schema.toml."
_FIX_MISSING: Final = "Fill the column in these rows or remove the rows."


@dataclass(frozen=True)
class Noticed:
    """A column of some rows of a file that follow each other."""

    column: str
    kind: ColumnKind
    absent: bool = False
    """The file has no such column, and should."""
    rows: int = 0
    bad: Rows = NO_ROWS
    """What is not of its kind."""
    zones: Counter[str] = field(default_factory=Counter)
    no_split: Rows = NO_ROWS
    """In the column split: what is neither train nor test."""
    missing: Rows = NO_ROWS
    """In a column that must be filled: what is not there."""

    @staticmethod
    def of(raw: pl.Series, kind: ColumnKind, converted: Converted, before: int, *, filled: bool) -> Noticed:
        """What is odd about some rows [n] of a column, with `before` rows of the file before them."""
        is_split = raw.name == "split" and kind is Role.WORD
        return Noticed(
            raw.name,
            kind,
            rows=len(raw),
            bad=Rows.where(converted.bad, raw, before),
            zones=Counter(time_zones(raw) if kind is FeatureKind.TIMESTAMP else {}),
            no_split=Rows.where(~converted.values.is_in(SPLITS).fill_null(True), raw, before) if is_split else NO_ROWS,
            missing=Rows.where(is_missing(raw, kind), raw, before) if filled else NO_ROWS,
        )

    def __add__(self, later: Noticed) -> Noticed:
        return Noticed(
            self.column,
            self.kind,
            self.absent,
            self.rows + later.rows,
            self.bad + later.bad,
            self.zones + later.zones,
            self.no_split + later.no_split,
            self.missing + later.missing,
        )

    def findings(self, file: str, present: Sequence[str]) -> Iterator[Finding]:
        """What is to be told; `present`: all columns of the file, for a message."""
        if self.absent:
            yield _missing_column(file, self.column, present)
        if count := self.bad.count:
            message = f"{count} value{'s are' if count > 1 else ' is'} not {_EXPECTED[self.kind]}"
            yield Finding(FindingKind.MISTYPED, message, self.bad.place(file, self.column), _FIX_TYPE)
        if len(self.zones) > 1:
            told = ", ".join(f"{zone}: {n}" for zone, n in sorted(self.zones.items(), key=lambda of: (-of[1], of[0])))
            place = Place(file, self.column, self.zones.total())
            yield Finding(FindingKind.TIME_ZONES, f"times name several zones ({told})", place, fatal=False)
        if self.no_split.count:
            message = f"split must be {' or '.join(SPLITS)}"
            yield Finding(FindingKind.SPLIT_VALUE, message, self.no_split.place(file, self.column), _FIX_SPLIT)
        if count := self.missing.count:
            message = f"{count} of {self.rows} rows have no {self.column}"
            yield Finding(FindingKind.MISSING_VALUE, message, self.missing.place(file, self.column), _FIX_MISSING)


def _missing_column(file: str, column: str, present: Sequence[str]) -> Finding:
    message = f"the column is missing; the file has {', '.join(map(repr, present[:20]))}"
    fix = f"Add the column {column}, or correct its name or the schema."
    if len(present) == 1 and any(mark in present[0] for mark in ";\t|"):
        fix = "Separate the fields with commas: this file uses another separator."
    return Finding(FindingKind.MISSING_COLUMN, message, Place(file, column), fix)
