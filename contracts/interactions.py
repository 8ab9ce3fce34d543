"""Events as arrays: who touched what, in the user's order.

The numeric form of an events table, sorted by user and within the user by time, with CSR offsets. Training fits on
it, evaluation cuts it; reading it from files is `data_sources`' work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.lengths)

    def of(self, user: int) -> slice:
        """Where the events of a user lie."""
        return slice(int(self.offsets[user]), int(self.offsets[user + 1]))

    def select(self, keep: NDArray[np.bool_]) -> Interactions:
        """The events where `keep` [n_events] is true; users and items keep their numbers."""
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        return Interactions(
            self.items[keep], self.times[keep], self.weights[keep], kept_before[self.offsets], self.n_items
        )

    def take(self, users: NDArray[np.integer]) -> Interactions:
        """The events of some users [B], numbered anew in that order."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Interactions(self.items[places], self.times[places], self.weights[places], offsets, self.n_items)

    def item_counts(self) -> NDArray[np.int64]:
        """Events per item [n_items]."""
        return np.bincount(self.items, minlength=self.n_items)

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
