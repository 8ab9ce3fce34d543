"""Events → training examples, drawn anew every epoch by array operations alone.

Where events have an order, an example is a moment in a user's past: the history before it and the next few items
that were new to the user (a repeat teaches nothing, serving never repeats what was seen). Where they have none, an
example is a user: a random part of their items as history, and all of them as targets. It knows rows and weights,
not vectors; `loop.py` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """A batch of b users with h history events and t targets, as item rows of the catalogue."""

    users: Ints
    """[b] user codes."""
    history: Ints
    """[h] item rows."""
    history_weights: NDArray[np.float32]
    """[h] event weights."""
    history_positions: Ints
    """[h] 0 for the newest."""
    history_lengths: Ints
    """[b]"""
    targets: Ints
    """[t] item rows, distinct within a user."""
    target_owners: Ints
    """[t] which user of the batch."""
    target_weights: NDArray[np.float32]
    """[t]"""


class Sampler(Protocol):
    """Draws the examples of one epoch."""

    users: Ints
    """Codes of those that have something to show, each once an epoch."""

    def epoch(self, random: np.random.Generator, steps: int = 0) -> Iterator[Examples]:
        """Batches of one pass, of so many users each or in equal `steps`; the same generator state gives the same."""


def batch_spans(n_users: int, batch: int, steps: int = 0) -> Iterator[slice]:
    """Where the batches of an epoch begin and end: `batch` users each and a rest, or `steps` equal ones.

    Ranks must take equally many steps, with users or without.
    """
    edges = np.arange(steps + 1) * n_users // steps if steps else np.append(np.arange(0, n_users, batch), n_users)
    return (slice(int(start), int(end)) for start, end in pairwise(edges))


def ragged(starts: Ints, lengths: Ints) -> Ints:
    """Concatenated ranges starts[i] : starts[i] + lengths[i]."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def first_touches(events: Interactions) -> NDArray[np.bool_]:
    """Which events [n_events] are the first of their user with their item, and speak for it (weight above 0)."""
    positive = events.weights > 0
    keys = events.users.astype(np.int64) * events.n_items + events.items
    keys[~positive] = -1
    _, first = np.unique(keys, return_index=True)  # the index of the first occurrence, and events are oldest first
    touched = np.zeros(len(events), np.bool_)
    touched[first] = True
    return touched & positive


@dataclass(frozen=True)
class Horizon:
    """Which future a moment asks for."""

    window: int
    """Next new items."""
    fading: float
    """Weight of an item relative to the one before it."""
    gap_power: float
    """A moment is drawn in proportion to (seconds since the user's event before it) ^ this; 0 draws all alike."""


class NextItems:
    """Moments in users' pasts, one a user and epoch: history → the next new items within the horizon."""

    def __init__(self, events: Interactions, history_limit: int, horizon: Horizon, batch: int) -> None:
        self.events, self.limit, self.horizon, self.batch = events, history_limit, horizon, batch
        kept_before = np.concatenate([[0], np.cumsum(touched := first_touches(events))])
        self.moments = np.flatnonzero(touched)
        self.moment_offsets = kept_before[events.offsets]
        self.users = np.flatnonzero(np.diff(self.moment_offsets) > 0)
        self.chances_before = np.concatenate([[0.0], np.cumsum(self._chances())])

    def _chances(self) -> NDArray[np.float64]:
        """Relative chance of each moment [n_moments]; a user's first event has no gap and counts as a second."""
        waited = np.diff(self.events.times, prepend=0)
        waited[self.events.offsets[:-1][self.events.lengths > 0]] = 1
        return np.maximum(waited[self.moments], 1).astype(np.float64) ** self.horizon.gap_power

    def epoch(self, random: np.random.Generator, steps: int = 0) -> Iterator[Examples]:
        users = random.permutation(self.users)
        first, end = self.moment_offsets[users], self.moment_offsets[users + 1]
        low, high = self.chances_before[first], self.chances_before[end]
        drawn = np.searchsorted(self.chances_before, low + random.random(len(users)) * (high - low), side="right") - 1
        moments = np.clip(drawn, first, end - 1)  # sums of ten million chances round at the edges
        for span in batch_spans(len(users), self.batch, steps):
            yield self._examples(users[span], moments[span])

    def _examples(self, users: Ints, moments: Ints) -> Examples:
        events = self.events
        ends = self.moments[moments]
        lengths = np.minimum(ends - events.offsets[users], self.limit)
        past = ragged(ends - lengths, lengths)
        n_targets = np.minimum(self.moment_offsets[users + 1] - moments, self.horizon.window)
        steps = ragged(np.zeros_like(n_targets), n_targets)
        future = self.moments[np.repeat(moments, n_targets) + steps]
        return Examples(
            users,
            events.items[past].astype(np.int64),
            events.weights[past],
            np.repeat(ends, lengths) - 1 - past,
            lengths,
            events.items[future].astype(np.int64),
            np.repeat(np.arange(len(users)), n_targets),
            (events.weights[future] * np.power(self.horizon.fading, steps)).astype(np.float32),
        )


class MaskedSets:
    """Users without order: a random part of their items → all of their items."""

    def __init__(self, events: Interactions, history_limit: int, kept: float, batch: int) -> None:
        self.pairs = events.select(first_touches(events))
        self.limit, self.kept, self.batch = history_limit, kept, batch
        self.users = np.flatnonzero(self.pairs.lengths > 0)

    def epoch(self, random: np.random.Generator, steps: int = 0) -> Iterator[Examples]:
        users = random.permutation(self.users)
        for span in batch_spans(len(users), self.batch, steps):
            yield self._examples(users[span], random)

    def _examples(self, users: Ints, random: np.random.Generator) -> Examples:
        pairs = self.pairs
        lengths = pairs.lengths[users]
        events = ragged(pairs.offsets[users], lengths)
        owners = np.repeat(np.arange(len(users)), lengths)
        share = np.minimum(self.kept, self.limit / lengths)
        seen = random.random(len(events), dtype=np.float32) < share[owners]
        items, weights = pairs.items[events].astype(np.int64), pairs.weights[events]
        return Examples(
            users,
            items[seen],
            weights[seen],
            np.zeros(int(seen.sum()), np.int64),
            np.bincount(owners[seen], minlength=len(users)),
            items,
            owners,
            weights * (lengths**-0.5)[owners].astype(np.float32),
        )
