"""Events → training examples, drawn anew every epoch by array operations alone.

Where events have an order, an example is a window of a user's past, and some moments in it are asked: from what came
before each of them, which few items that were new to the user came next (a repeat teaches nothing, serving never
repeats what was seen). Beside them, users of a batch are shown as newcomers: of a few of their items at random, others
of theirs have to be found, for nobody's history is long at first. Where events have no order, an example is a user: a
random part of their items as history, and all of them as targets. It knows rows and weights, not vectors; `loop.py`
calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from training_job.first_touches import Moments, first_touches

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """A batch of b histories with h events, in which q moments are asked for t targets; items as catalogue rows."""

    users: Ints
    """[b] user codes."""
    history: Ints
    """[h] item rows, oldest first."""
    history_weights: NDArray[np.float32]
    """[h] event weights."""
    history_lengths: Ints
    """[b]"""
    owners: Ints
    """[q] which history a moment is in, ascending."""
    ends: Ints
    """[q] how many of its events came before the moment."""
    targets: Ints
    """[t] item rows, distinct within a moment."""
    target_moments: Ints
    """[t] which moment."""
    target_weights: NDArray[np.float32]
    """[t]"""

    @staticmethod
    def now(
        users: NDArray[np.integer], items: NDArray[np.integer], weights: NDArray[np.float32], lengths: Ints
    ) -> Examples:
        """Whole histories, asked for what comes now, which nobody knows."""
        nothing, here = np.empty(0, np.int64), np.arange(len(users))
        codes, history = users.astype(np.int64), items.astype(np.int64)
        return Examples(codes, history, weights, lengths, here, lengths, nothing, nothing, np.empty(0, np.float32))

    @property
    def history_starts(self) -> Ints:
        """Where each history begins in `history` [b]."""
        return np.cumsum(self.history_lengths) - self.history_lengths

    def only(self, windows: Ints) -> Examples:
        """Some of the histories, ascending, with their moments and without what these ask for."""
        lengths = self.history_lengths[windows]
        places = ragged(self.history_starts[windows], lengths)
        number = np.full(len(self.users), -1)
        number[windows] = np.arange(len(windows))
        asked = number[self.owners] >= 0
        nothing = np.empty(0, np.int64)
        return Examples(
            self.users[windows],
            self.history[places],
            self.history_weights[places],
            lengths,
            number[self.owners[asked]],
            self.ends[asked],
            nothing,
            nothing,
            np.empty(0, np.float32),
        )

    def known(self) -> tuple[Ints, Ints]:
        """What came before each moment, moment by moment [k]: which moment, and which event of `history`."""
        starts = self.history_starts[self.owners]
        return np.repeat(np.arange(len(self.ends)), self.ends), ragged(starts, self.ends)


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


ALIKE_BATCHES: Final = 16
"""Batches among which users are sorted by the length of their histories."""
CUT_SHORT: Final = 5
"""A window that does not begin where its user did is asked only beyond this part of the longest history."""


def ragged(starts: Ints, lengths: Ints) -> Ints:
    """Concatenated ranges starts[i] : starts[i] + lengths[i]."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


@dataclass(frozen=True)
class Horizon:
    """Which moments of a window are asked, and for which future."""

    window: int
    """Next new items."""
    fading: float
    """Weight of an item relative to the one before it."""
    gap_power: float
    """A moment is drawn in proportion to (seconds since the user's event before it) ^ this; 0 draws all alike."""
    asked: int
    """Moments of a window at most."""

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
    """Items that are known at most; none and few are likelier than many."""
    targets: int
    """Other items that are to be found."""
    weight: float
    """Of all newcomers of a batch together, over that of all its moments."""


class NextItems:
    """A window of each user's past, one an epoch: histories → the next new items within the horizon; and newcomers."""

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
        moments = Moments.of(events)
        self.moments, self.moment_offsets = moments.events, moments.offsets
        self.users = np.flatnonzero(np.diff(self.moment_offsets) > 0)
        self.chances = moments.chances(events, horizon.gap_power)

    def epoch(self, random: np.random.Generator, steps: int = 0) -> Iterator[Examples]:
        users = self._alike(random.permutation(self.users))
        spans = list(batch_spans(len(users), self.batch, steps))
        for span in (spans[number] for number in random.permutation(len(spans))):
            examples = self._windows(users[span], random)
            if self.newcomers and len(examples.users):
                again = users[span][: round(self.newcomers.share * len(examples.users))]
                weight = self.newcomers.weight * examples.target_weights.sum()
                examples = _beside(examples, self._as_newcomers(again, self.newcomers, random), weight)
            yield examples

    def _alike(self, users: Ints) -> Ints:
        """Users of like history lengths beside each other, some batches at a time, so that rectangles have few gaps."""
        pools = np.arange(len(users)) // (self.batch * ALIKE_BATCHES)
        return users[np.lexsort((np.minimum(self.events.lengths[users], self.limit), pools))]

    def _windows(self, users: Ints, random: np.random.Generator) -> Examples:
        """A window of each user that ends at a random moment, no earlier than one that fills it."""
        events, horizon = self.events, self.horizon
        first, end = self.moment_offsets[users], self.moment_offsets[users + 1]
        begin = events.offsets[users]
        fills = np.clip(np.searchsorted(self.moments, begin + self.limit), first, end - 1)
        last = random.integers(fills, end)
        stop = self.moments[last]
        start = np.maximum(begin, stop - self.limit)
        # who has a long past is never asked as if it were short
        after_start = np.minimum(start + np.where(start > begin, max(self.limit // CUT_SHORT, 1), 0), stop)
        owners, asked = self._asked(np.searchsorted(self.moments, after_start), last + 1, random)
        n_targets = np.minimum(end[owners] - asked, horizon.window)
        steps = ragged(np.zeros_like(n_targets), n_targets)
        future = self.moments[np.repeat(asked, n_targets) + steps]
        past = ragged(start, stop - start)
        return Examples(
            users,
            events.items[past].astype(np.int64),
            events.weights[past],
            stop - start,
            owners,
            self.moments[asked] - start[owners],
            events.items[future].astype(np.int64),
            np.repeat(np.arange(len(asked)), n_targets),
            (events.weights[future] * np.power(horizon.fading, steps)).astype(np.float32),
        )

    def _asked(self, first: Ints, end: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
        """Some of the moments first[i] : end[i] of each window, by their chances: which window, and the moments."""
        counts = end - first
        moments, owners = ragged(first, counts), np.repeat(np.arange(len(counts)), counts)
        if counts.max(initial=0) > self.horizon.asked:
            # the smallest of exponential times at these rates are draws without replacement (Efraimidis, Spirakis 2006)
            waited = random.standard_exponential(len(moments)) / self.chances[moments]
            order = np.lexsort((waited, owners))
            drawn = np.sort(order[ragged(np.zeros_like(counts), counts) < self.horizon.asked])
            moments, owners = moments[drawn], owners[drawn]
        return owners, moments

    def _as_newcomers(self, users: Ints, newcomers: Newcomers, random: np.random.Generator) -> Examples:
        """Some users by a few of their items in random order, and others of theirs as targets."""
        counts = self.moment_offsets[users + 1] - self.moment_offsets[users]
        owners = np.repeat(np.arange(len(users)), counts)
        shuffled = np.lexsort((random.random(len(owners)), owners))
        moments = self.moments[ragged(self.moment_offsets[users], counts)[shuffled]]
        place = ragged(np.zeros_like(counts), counts)
        known = ((newcomers.known + 1) * random.random(len(users)) ** 2).astype(np.int64)  # rather few than many
        known = np.minimum(known, counts - 1)
        shown = place < known[owners]
        asked = ~shown & (place < (known + newcomers.targets)[owners])
        n_targets = np.minimum(counts - known, newcomers.targets)
        items, weights = self.events.items[moments].astype(np.int64), self.events.weights[moments]
        return Examples(
            users,
            items[shown],
            weights[shown],
            known,
            np.arange(len(users)),
            known,
            items[asked],
            owners[asked],
            (weights / n_targets[owners])[asked].astype(np.float32),
        )


def _beside(some: Examples, more: Examples, weight: float) -> Examples:
    """Both in one batch; the targets of `more` weigh `weight` together."""
    joined = {
        field.name: np.concatenate([getattr(some, field.name), getattr(more, field.name)]) for field in fields(some)
    }
    scale = np.float32(weight / more.target_weights.sum()) if len(more.targets) else 1
    joined["owners"] = np.concatenate([some.owners, more.owners + len(some.users)])
    joined["target_moments"] = np.concatenate([some.target_moments, more.target_moments + len(some.ends)])
    joined["target_weights"] = np.concatenate([some.target_weights, more.target_weights * scale])
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
            shown := np.bincount(owners[seen], minlength=len(users)),
            np.arange(len(users)),
            shown,
            items,
            owners,
            weights * (lengths**-0.5)[owners].astype(np.float32),
        )
