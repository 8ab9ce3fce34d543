"""Which places of a ranked list hold an item that the user really took.

Every accuracy metric is a function of this one array, so that all of them agree on what counts as found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from evaluation.pairs import PairSet


@dataclass(frozen=True)
class Hits:
    """Found positives of B lists of k places."""

    found: NDArray[np.bool_]
    """[B, k] whether the place holds a positive; an item that stands twice in a list counts at its first place."""
    n_relevant: NDArray[np.int64]
    """[B] positives that there were to find."""

    def take(self, users: NDArray[np.integer] | NDArray[np.bool_]) -> Hits:
        """The lists of some of the users."""
        return Hits(self.found[users], self.n_relevant[users])


def find_hits(rows: NDArray[np.integer], relevant: Interactions, users: NDArray[np.integer]) -> Hits:
    """Mark the places of `rows` [B, k] (-1 = no item) that hold a relevant item of the user of that line.

    `users` [B] are codes into `relevant`, whose (user, item) pairs are each given once.
    """
    return Hits(PairSet(relevant).holds(users, rows) & ~_repeated(rows), relevant.lengths[users])


def _repeated(rows: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether the same item stands at an earlier place of the line [B, k]."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return again
