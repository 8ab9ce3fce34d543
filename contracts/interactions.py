"""Events as arrays: who touched what, in the user's order.

The numeric form of an events table, sorted by user and within the user by time, with CSR offsets. Training fits on
it, evaluation cuts it; reading it from files is `data_sources`' work. Where the arrays are mapped (`large_arrays`),
what is made of them is, and memory is that of one block of users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts import large_arrays
from contracts.large_arrays import blocks, kept, room, true_before


@dataclass(frozen=True)
class Interactions:
    """Events in CSR form.

    `items` [n_events] item row, `times` [n_events] Unix seconds (or position, or 0: see the schema's `time`),
    `weights` [n_events] of the event types, `offsets` [n_users + 1]: the events of user u are offsets[u]:offsets[u+1],
    oldest first (ties in file order).
    """

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]
    n_items: int

    def __len__(self) -> int:
        return len(self.items)

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events per user [n_users]."""
        return np.diff(self.offsets)

    @property
    def users(self) -> NDArray[np.int32]:
        """User code of each event [n_events]."""
        return self.of_users(np.arange(self.n_users, dtype=np.int32))

    def of_users(self, values: NDArray[Any]) -> NDArray[Any]:
        """What is said of each user [n_users], said of each event [n_events]."""
        said = room(len(self), values.dtype, self.items)
        for users in self.spans():
            said[self.within(users)] = np.repeat(values[users], np.diff(self.offsets[users.start : users.stop + 1]))
        return said

    def of(self, user: int) -> slice:
        """Where the events of a user lie."""
        return slice(int(self.offsets[user]), int(self.offsets[user + 1]))

    def within(self, users: slice) -> slice:
        """Where the events of neighbouring users lie."""
        return slice(int(self.offsets[users.start]), int(self.offsets[users.stop]))

    def spans(self, events: int = 0) -> Iterator[slice]:
        """All users, some neighbours at a time that have up to so many events (0: a block), or one who has more."""
        first, limit = 0, events or large_arrays.BLOCK
        while first < self.n_users:
            end = int(np.searchsorted(self.offsets, self.offsets[first] + limit, side="right")) - 1
            yield slice(first, end := max(end, first + 1))
            first = end

    def part(self, users: slice) -> Interactions:
        """The events of neighbouring users, numbered from 0, as views that are not mapped themselves."""
        where, offsets = self.within(users), self.offsets[users.start : users.stop + 1]
        items, times, weights = self.items[where], self.times[where], self.weights[where]
        return Interactions(
            np.asarray(items), np.asarray(times), np.asarray(weights), offsets - offsets[0], self.n_items
        )

    def flags(self, say: Callable[[Interactions], NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """What `say` says of events [n_events], asked for a part at a time."""
        said = room(len(self), np.bool_, self.items)
        for users in self.spans():
            said[self.within(users)] = say(self.part(users))
        return said

    def select(self, keep: NDArray[np.bool_]) -> Interactions:
        """The events where `keep` [n_events] is true; users and items keep their numbers."""
        offsets = true_before(keep, self.offsets)
        items, times, weights = (
            kept(array, keep, int(offsets[-1])) for array in (self.items, self.times, self.weights)
        )
        return Interactions(items, times, weights, offsets, self.n_items)

    def take(self, users: NDArray[np.integer]) -> Interactions:
        """The events of some users [B], numbered anew in that order."""
        lengths = self.offsets[users + 1] - self.offsets[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Interactions(self.items[places], self.times[places], self.weights[places], offsets, self.n_items)

    def item_counts(self) -> NDArray[np.int64]:
        """Events per item [n_items]."""
        counts = np.zeros(self.n_items, np.int64)
        for block in blocks(len(self)):
            counts += np.bincount(self.items[block], minlength=self.n_items)
        return counts

    @staticmethod
    def from_events(
        users: NDArray[np.integer],
        items: NDArray[np.integer],
        times: NDArray[np.integer],
        weights: NDArray[np.floating],
        n_users: int,
        n_items: int,
    ) -> Interactions:
        """Sort events (any order, all [n_events]) by user and time, keeping file order among ties."""
        order = np.lexsort((times, users))  # lexsort is stable
        counts = np.bincount(users, minlength=n_users)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Interactions(
            items[order].astype(np.int32),
            times[order].astype(np.int64),
            weights[order].astype(np.float32),
            offsets,
            n_items,
        )
