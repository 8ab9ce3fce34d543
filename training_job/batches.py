"""Events → training examples, drawn anew every epoch by array operations alone.

Where events have an order, an example is a moment in a user's past: the history before it and the next few items
that were new to the user (a repeat teaches nothing, serving never repeats what was seen). Beside moments, some users
of a batch are shown as newcomers: of a few of their items at random, others of theirs have to be found, for nobody's
history is long at first. Where events have no order, an example is a user: a random part of their items as history, and
all of them as targets. It knows rows and weights, not vectors; `loop.py` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
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

    @property
    def weight(self) -> float:
        """Of all items of a moment, events weighing 1."""
        return sum(self.fading**step for step in range(self.window))


@dataclass(frozen=True)
class Newcomers:
    """Users of whom hardly anything is known."""

    share: float
    """Of the users of a batch; they are shown twice."""
    known: int
    """Items that are known at most; none is as likely as any number."""
    targets: int
    """Other items that are to be found."""
    weight: float
    """Of an example, over that of a moment."""


class NextItems:
    """Moments in users' pasts, one a user and epoch: history → the next new items within the horizon; and newcomers."""

    def __init__(
        self,
        events: Interactions,
        history_limit: int,
        horizon: Horizon,
        batch: int,
        newcomers: Newcomers | None = None,
    ) -> None:
        self.events, self.limit, self.horizon, self.batch = events, history_limit, horizon, batch
        self.newcomers = newcomers
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
            examples = self._examples(users[span], moments[span])
            if self.newcomers:
                again = users[span][: round(self.newcomers.share * len(examples.users))]
                examples = _beside(examples, self._as_newcomers(again, self.newcomers, random))
            yield examples

    def _as_newcomers(self, users: Ints, newcomers: Newcomers, random: np.random.Generator) -> Examples:
        """Some users by a few of their items in random order, and others of theirs as targets."""
        counts = self.moment_offsets[users + 1] - self.moment_offsets[users]
        owners = np.repeat(np.arange(len(users)), counts)
        shuffled = np.lexsort((random.random(len(owners)), owners))
        moments = self.moments[ragged(self.moment_offsets[users], counts)[shuffled]]
        place = ragged(np.zeros_like(counts), counts)
        known = np.minimum(random.integers(0, newcomers.known + 1, len(users)), counts - 1)
        shown = place < known[owners]
        asked = ~shown & (place < (known + newcomers.targets)[owners])
        n_targets = np.minimum(counts - known, newcomers.targets)
        items, weights = self.events.items[moments].astype(np.int64), self.events.weights[moments]
        share = newcomers.weight * self.horizon.weight / n_targets
        return Examples(
            users,
            items[shown],
            weights[shown],
            (known[owners] - 1 - place)[shown],
            known,
            items[asked],
            owners[asked],
            (weights * share[owners])[asked].astype(np.float32),
        )

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


def _beside(some: Examples, more: Examples) -> Examples:
    """Both in one batch."""
    joined = {
        field.name: np.concatenate([getattr(some, field.name), getattr(more, field.name)]) for field in fields(some)
    }
    joined["target_owners"] = np.concatenate([some.target_owners, more.target_owners + len(some.users)])
    return Examples(**joined)


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
