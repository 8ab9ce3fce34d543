"""What may be served at all: decided here, once, last, on every path (decision 8).

An item is barred where the user has seen it, the client excluded it, it does not pass the filters, it is unavailable,
expired or hidden. Retrieval fetches more than it needs and drops here, so availability is no condition of the index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import NEVER_EXPIRES, ItemArrays, Rows


@dataclass(frozen=True)
class Eligibility:
    """What one request may be served."""

    allowed: NDArray[np.bool_]
    """[n] everything but expiry."""
    expires: NDArray[np.int64] | None
    """[n] Unix seconds; None where nothing of the release ever expires."""
    now_seconds: int

    def of(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of `rows` [c] may be served."""
        allowed = self.allowed[rows]
        return allowed if self.expires is None else allowed & (self.expires[rows] > self.now_seconds)

    def all_rows(self) -> Rows:
        """Every eligible row, ascending: a pass over the catalogue, for the day when nothing else is left."""
        rows = np.flatnonzero(self.allowed).astype(np.int32)
        return rows if self.expires is None else rows[self.expires[rows] > self.now_seconds]


@dataclass(frozen=True)
class Servable:
    """What a release may serve to anybody; a request takes its own bars away from it."""

    rows: NDArray[np.bool_]
    """[n]"""
    expires: NDArray[np.int64] | None

    def for_request(self, barred: Rows, mask: NDArray[np.bool_] | None, now_seconds: int) -> Eligibility:
        """`barred` rows (-1 is ignored) are seen or excluded; `mask` [n] is what the filters let through."""
        allowed = self.rows.copy() if mask is None else self.rows & mask
        allowed[barred[barred >= 0]] = False
        return Eligibility(allowed, self.expires, now_seconds)


def servable(items: ItemArrays, available: NDArray[np.bool_] | None = None, hidden: Rows | None = None) -> Servable:
    """What may be served at all: `available` [n] is live stock (None: as at training), `hidden` rows are withdrawn."""
    rows = np.array(items.available if available is None else available, np.bool_)
    if hidden is not None:
        rows[hidden] = False
    expires = np.asarray(items.expires)
    return Servable(rows, expires if np.any(expires != NEVER_EXPIRES) else None)
