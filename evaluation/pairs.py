"""(user, item) pairs as numbers, so that "has this user this item?" is one binary search for whole blocks of lists.

Splits compare pairs, hits look up what was held out, rankers drop what a user already has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from contracts.large_arrays import room


def pair_keys(interactions: Interactions) -> NDArray[np.int64]:
    """One number for each event's (user, item) pair [n_events]; 9.2e18 pairs fit."""
    return interactions.users.astype(np.int64) * interactions.n_items + interactions.items


class PairSet:
    """The pairs of some interactions, ready to be asked. 8 bytes an event."""

    def __init__(self, interactions: Interactions) -> None:
        self._n_items = interactions.n_items
        self._keys = room(len(interactions), np.int64, interactions.items)
        for users in interactions.spans():  # of later users keys are larger, so sorted parts are sorted as a whole
            first = users.start * interactions.n_items
            self._keys[interactions.within(users)] = np.sort(pair_keys(interactions.part(users))) + first

    def holds(self, users: NDArray[np.integer], rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether user `users[b]` has item `rows[b, j]` [B, m]; never for -1."""
        if len(self._keys) == 0:
            return np.zeros(rows.shape, bool)
        wanted = np.asarray(users, np.int64)[:, None] * self._n_items + rows
        place = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found: NDArray[np.bool_] = (self._keys[place] == wanted) & (rows >= 0)
        return found
