"""Which events speak for an item for the first time, and the moments that they make.

Everything with a place for every event is made a block of users at a time and mapped where the events are
(`contracts.large_arrays`). `batches.py` and `svd_start.py` call it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from contracts.large_arrays import places, room, true_before

Ints = NDArray[np.int64]


def first_touches(events: Interactions) -> NDArray[np.bool_]:
    """Which events [n_events] are the first of their user with their item, and speak for it (weight above 0)."""
    return events.flags(_first_touches)


def _first_touches(events: Interactions) -> NDArray[np.bool_]:
    positive = events.weights > 0
    keys = events.users.astype(np.int64) * events.n_items + events.items
    keys[~positive] = -1
    _, first = np.unique(keys, return_index=True)  # the index of the first occurrence, and events are oldest first
    touched = np.zeros(len(events), np.bool_)
    touched[first] = True
    return touched & positive


@dataclass(frozen=True)
class Moments:
    """The first touches of all users, oldest first: those of user u are offsets[u]:offsets[u + 1]."""

    events: Ints
    """[n_moments] which events."""
    offsets: Ints
    """[n_users + 1]"""

    @staticmethod
    def of(events: Interactions) -> Moments:
        touched = first_touches(events)
        offsets = true_before(touched, events.offsets)
        return Moments(places(touched, int(offsets[-1])), offsets)

    def chances(self, events: Interactions, power: float) -> NDArray[np.float64]:
        """(Seconds since the user's event before it, at least 1) ^ power [n_moments]; 1 for a user's first event."""
        chances = room(len(self.events), np.float64, self.events)
        for users in events.spans():
            part, own = events.part(users), slice(*self.offsets[[users.start, users.stop]])
            waited = np.diff(part.times, prepend=0)
            waited[part.offsets[:-1][part.lengths > 0]] = 1
            there = self.events[own] - events.offsets[users.start]
            chances[own] = np.maximum(waited[there], 1).astype(np.float64) ** power
        return chances
