"""Questions of the week after a cut: one for each event of a user with an item that is new to them.

A question is a line of its own in a `Split`, so that the rankers that judge whole users answer it: its history is what
may be read, known is what the user had by then, wanted is the one item. It knows no model; `quality_days` asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from evaluation.facts import COLD_BELOW
from evaluation.pairs import pair_keys
from evaluation.splits import Split
from training_job.batches import ragged

DAYS: Final = 7
DAY_SECONDS: Final = 86_400
READINGS: Final = ("frozen", "each day", "live")
"""What of a history is read: up to the cut, to the start of the event's day, to the second before the event."""
EARLIEST_SHARE: Final = 0.5
"""Of the events, at least, that lie before the cut: a model of less is no model of the data set."""
MOST_A_DAY: Final = 2_000
"""Questions of a group: intervals are of users, who have dozens each, so more would cost time and say no more."""


@dataclass(frozen=True)
class Questions:
    """q questions, by day."""

    cut: int
    """The first second that no training has seen, a midnight (UTC)."""
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    returning: NDArray[np.bool_]
    """Whether the user had COLD_BELOW events at the cut, else they came to as many before the question."""

    def __len__(self) -> int:
        return len(self.users)

    @property
    def days(self) -> NDArray[np.int64]:
        """1 to DAYS [q]."""
        return (self.times - self.cut) // DAY_SECONDS + 1

    def take(self, chosen: NDArray[np.integer] | NDArray[np.bool_]) -> Questions:
        """Some of them."""
        return Questions(self.cut, self.users[chosen], self.items[chosen], self.times[chosen], self.returning[chosen])

    def of_days(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each day with the places of its questions."""
        for day in range(1, DAYS + 1):
            yield day, np.flatnonzero(self.days == day)


def busiest_cut(events: Interactions) -> int:
    """The midnight (UTC) with the most returning users to judge in the week after it, by day; a whole week must follow.

    Counted are pairs of a user and a day, and only midnights with EARLIEST_SHARE of the events before them: chosen by
    who is there, not by what any model makes of it.
    """
    able = events.lengths >= COLD_BELOW
    warm_from = np.full(events.n_users, np.iinfo(np.int64).max)
    warm_from[able] = events.times[events.offsets[:-1][able] + COLD_BELOW - 1]
    days = events.times // DAY_SECONDS
    pairs = np.unique(np.stack([events.users, days]), axis=1)
    first = int(np.quantile(events.times, EARLIEST_SHARE)) // DAY_SECONDS + 1
    candidates = np.arange(first, max(first, int(days.max()) - DAYS + 1) + 1)
    counts = [
        np.count_nonzero((pairs[1] >= day) & (pairs[1] < day + DAYS) & (warm_from[pairs[0]] < day * DAY_SECONDS))
        for day in candidates
    ]
    return int(candidates[int(np.argmax(counts))]) * DAY_SECONDS


def find_questions(events: Interactions) -> Questions:
    """Those of the week after the busiest cut, at most MOST_A_DAY of a group and day, drawn by chance."""
    cut = busiest_cut(events)
    users = events.users
    first_of_pair = np.zeros(len(events), np.bool_)
    first_of_pair[np.unique(pair_keys(events), return_index=True)[1]] = True
    inside = (events.times >= cut) & (events.times < cut + DAYS * DAY_SECONDS)
    asked = np.flatnonzero(first_of_pair & inside & (events.weights > 0))
    before_cut = ends_before(events, users[asked], np.full(len(asked), cut)) - events.offsets[users[asked]]
    before = ends_before(events, users[asked], events.times[asked]) - events.offsets[users[asked]]
    warm = before >= COLD_BELOW
    found = Questions(
        cut, users[asked][warm], events.items[asked][warm], events.times[asked][warm], before_cut[warm] >= COLD_BELOW
    )
    return found.take(_sample(found))


def _sample(questions: Questions) -> NDArray[np.int64]:
    """Places of at most MOST_A_DAY of each group and day, by day."""
    random = np.random.default_rng(0)
    groups = [
        np.flatnonzero((questions.days == day) & (questions.returning == returning))
        for day in range(1, DAYS + 1)
        for returning in (True, False)
    ]
    drawn = [np.sort(random.choice(places, min(len(places), MOST_A_DAY), replace=False)) for places in groups]
    return np.concatenate(drawn)


def ends_before(events: Interactions, users: NDArray[np.integer], times: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where the events of `users` [q] that are older than `times` [q] end among all events."""
    base = int(events.times.min())
    span = int(events.times.max()) - base + 2
    keys = events.users.astype(np.int64) * span + (events.times - base)
    wanted = users.astype(np.int64) * span + np.clip(times - base, 0, span - 1)
    return np.searchsorted(keys, wanted).astype(np.int64)


def as_split(events: Interactions, questions: Questions, reading: str) -> Split:
    """A line for each question: its history by a reading, what is known by then, and what is wanted."""
    untils = {
        "frozen": np.full(len(questions), questions.cut),
        "each day": questions.cut + (questions.days - 1) * DAY_SECONDS,
        "live": questions.times,
    }
    read, known = (_past(events, questions.users, until) for until in (untils[reading], questions.times))
    ones = np.ones(len(questions), np.float32)
    offsets = np.arange(len(questions) + 1, dtype=np.int64)
    wanted = Interactions(questions.items, questions.times, ones, offsets, events.n_items)
    return Split(read, wanted, "questions", None, support=read, masked=known)


def _past(events: Interactions, users: NDArray[np.integer], until: NDArray[np.integer]) -> Interactions:
    """Events of `users` [q] before `until` [q], a line each."""
    starts = events.offsets[users]
    lengths = ends_before(events, users, until) - starts
    places = ragged(starts, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Interactions(events.items[places], events.times[places], events.weights[places], offsets, events.n_items)
