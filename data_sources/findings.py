"""What reading noticed: one finding per column and kind, with the file, the first rows and their values.

Opening a dataset raises the first fatal finding; the doctor reports them all. Knows nothing of how tables are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import polars as pl

from contracts.errors import DatasetError

SHOWN: Final = 5
"""Rows and values that a finding lists: enough to see a pattern, few enough to read."""

_LONGEST_EXAMPLE: Final = 60


class FindingKind(StrEnum):
    """What is odd about a table."""

    UNREADABLE = "unreadable"
    MISSING_FILE = "missing file"
    MISSING_COLUMN = "missing column"
    EXTRA_COLUMN = "extra column"
    MISTYPED = "mistyped"
    MISSING_VALUE = "missing value"
    REPEATED_ID = "repeated id"
    TIME_ZONES = "time zones"
    SPLIT_VALUE = "split value"


@dataclass(frozen=True)
class Place:
    """Where something is: a file of the dataset, a column, the first rows (counted from 1) and their values."""

    file: str
    column: str | None = None
    count: int = 0
    rows: tuple[int, ...] = ()
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = self.file + (f", column {self.column}" if self.column else "")
        if self.rows:
            more = ", …" if self.count > len(self.rows) else ""
            text += f", row{'s' if len(self.rows) > 1 else ''} {', '.join(map(str, self.rows))}{more}"
        if self.examples:
            text += f" ({', '.join(self.examples)})"
        return text


@dataclass(frozen=True)
class Finding:
    """One oddity of a table; `fatal` means that the dataset cannot be opened with it."""

    kind: FindingKind
    message: str
    place: Place
    fix: str = ""
    fatal: bool = True

    def error(self) -> DatasetError:
        return DatasetError(f"{self.place}: {self.message}.", fix=self.fix)


def raise_fatal(findings: Iterable[Finding]) -> None:
    """Raise DatasetError for the first fatal finding."""
    for finding in findings:
        if finding.fatal:
            raise finding.error()


def shown(value: object) -> str:
    """A value as an example: quoted where it is text, and cut where it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_EXAMPLE else text[: _LONGEST_EXAMPLE - 1] + "…"


@dataclass(frozen=True)
class Rows:
    """Some rows of a file or a table, counted from 1: how many, the first of them and their values.

    Those of a slice and of the next one add up.
    """

    count: int = 0
    first: tuple[int, ...] = ()
    """SHOWN at most."""
    values: tuple[str, ...] = ()
    """One for each of the first, as shown."""

    @staticmethod
    def where(mask: pl.Series, values: pl.Series, before: int = 0) -> Rows:
        """The rows where `mask` [n] holds, with their `values` [n]; `before`: rows before these n."""
        if not mask.any():
            return NO_ROWS
        rows = mask.arg_true()
        first = rows.head(SHOWN)
        numbers = tuple(row + before + 1 for row in first.to_list())
        return Rows(len(rows), numbers, tuple(map(shown, values.gather(first).to_list())))

    def __add__(self, later: Rows) -> Rows:
        first, values = self.first + later.first, self.values + later.values
        return Rows(self.count + later.count, first[:SHOWN], values[:SHOWN])

    def place(self, file: str, column: str) -> Place:
        """Their place in a file; examples are distinct values."""
        return Place(file, column, self.count, self.first, tuple(dict.fromkeys(self.values)))


NO_ROWS: Final = Rows()


def place_of(file: str, column: str, values: pl.Series, mask: pl.Series) -> Place:
    """The place of the rows of one file where `mask` [n] holds; examples are their distinct `values` [n]."""
    return Rows.where(mask, values).place(file, column)


def place_in(parts: Sequence[tuple[str, int]], column: str, rows: Rows) -> Place:
    """The place of rows of a table whose `parts` are (file, rows): those of the first file that has any."""
    start = 0
    for file, length in parts:
        inside = sum(row <= start + length for row in rows.first)
        if inside:
            numbers = tuple(row - start for row in rows.first[:inside])
            return Rows(rows.count, numbers, rows.values[:inside]).place(file, column)
        start += length
    raise ValueError(f"there is no row of {column} to place")
