"""Figures by id, added up slice by slice: memory grows with the ids, not with what was counted.

`streamed` counts the events of users with it, the doctor those of users, items, types and splits.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


class Tally:
    """Figures of each id. What comes in is merged once it is as much as what is known: n log n in all."""

    def __init__(self, **figures: Callable[[pl.Expr], pl.Expr]) -> None:
        """`figures`: how two of a name become one, e.g. n=pl.Expr.sum."""
        self._figures = figures
        self._schema = {"id": pl.String(), **dict.fromkeys(figures, pl.Int64())}
        self._known = pl.DataFrame(schema=self._schema)
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = 0

    def add(self, figures: pl.DataFrame) -> None:
        """Whole numbers of some ids: the column id, and one for each figure."""
        self._waiting.append(figures.select(pl.col(name).cast(kind) for name, kind in self._schema.items()))
        self._waiting_rows += len(figures)
        if self._waiting_rows >= len(self._known):
            self.merged()

    def merged(self) -> pl.DataFrame:
        """id and figures, each id once (null is one, too), in no order."""
        together = pl.concat([self._known, *self._waiting]).group_by("id")
        self._known = together.agg(join(pl.col(name)) for name, join in self._figures.items())
        self._waiting, self._waiting_rows = [], 0
        return self._known
