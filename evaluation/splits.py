"""Splits: which events a model may learn from, and which it is judged on.

A split keeps the numbering of users and items, so that arrays of a fitted model fit both halves. What a user is judged
on (`test`) never holds an item that the user already has in `train`: a repeat is no discovery, and every ranker leaves
known items out. Training cuts its validation slice with these functions, `evaluation.judge` and the backtest judge on
them. It knows nothing of models or metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NotEnoughData, SplitImpossible
from contracts.interactions import Interactions
from contracts.large_arrays import room
from contracts.schema import DatasetSchema
from evaluation.pairs import pair_keys

NEWEST_SHARE: Final = 0.2
"""Share of events after the default cut: on the smaller MovieLens sets a tenth leaves too few returning users."""

HELD_OUT_SHARE: Final = 0.2
"""Share of a user's events in the random hold-out: what the published splits without time hold out (LightGCN's)."""

SUPPORTS: Final = (0, 1, 3, 5, 10)
"""How many items of a held-out user are shown: nothing, the first event, around and above the cold threshold of 5."""


@dataclass(frozen=True)
class Split:
    """Training events and held-out positives in one numbering.

    `train` is all that may be learned from. `test` holds the positives to find: each (user, item) pair once, none of
    them in `train` and none of them disliked; users without any are not judged. `cut` is the newest training time of a
    time cut, else None.
    """

    train: Interactions
    test: Interactions
    protocol: str
    cut: int | None = None
    support: Interactions | None = None
    """What a ranker may know of the judged users, where that is not `train` (cold users)."""
    masked: Interactions | None = None
    """Items that are never ranked for a user, where that is more than the support (cold users)."""

    @property
    def histories(self) -> Interactions:
        """Events of each user that a ranker may read."""
        return self.train if self.support is None else self.support

    @property
    def known(self) -> Interactions:
        """Items of each user that a ranker leaves out of its answer."""
        return self.histories if self.masked is None else self.masked

    @property
    def judged(self) -> NDArray[np.int32]:
        """Codes of the users that have something to find, ascending [n_judged]."""
        return np.flatnonzero(self.test.lengths).astype(np.int32)


def global_time_cut(interactions: Interactions, schema: DatasetSchema, share: float = NEWEST_SHARE) -> Split:
    """Cut everybody at one moment: train up to and including it, judge on what came after.

    The moment is chosen so that about `share` of all events are newer; events of one second are never divided. This
    is the only protocol in which no user's future is in the training of another.

    Raises SplitImpossible without timestamps, NotEnoughData where all events have one time or nothing new remains.
    """
    if not schema.timed:
        raise SplitImpossible(
            f"a global time cut needs time = timestamp, this dataset has time = {schema.time}.",
            fix="Use leave-last (time = order), given (a split column) or cold-users.",
        )
    cut = _moment(interactions.times, share)
    return _split(interactions, interactions.times > cut, "global-time", cut)


def leave_last_out(interactions: Interactions, schema: DatasetSchema) -> Split:
    """Hold out each user's last event (users with at least two).

    The published sequence tables use it. It lets other users' later events into training, so it flatters every model;
    a user whose last event repeats an earlier item is not judged.

    Raises SplitImpossible where events have no order, NotEnoughData where nobody has two different items.
    """
    if not schema.ordered:
        raise SplitImpossible(
            "leave-last-out needs an order of events, this dataset has time = none.",
            fix="Use given (a split column), random or cold-users.",
        )
    last = np.zeros(len(interactions), bool)
    last[interactions.offsets[1:][interactions.lengths >= 2] - 1] = True
    return _split(interactions, last, "leave-last", None)


def given_split(interactions: Interactions, is_test: NDArray[np.bool_] | None) -> Split:
    """The split that came with the data: `is_test` [n_events], aligned with the interactions.

    Raises SplitImpossible where the dataset has none, NotEnoughData where a half is empty.
    """
    if is_test is None:
        raise SplitImpossible(
            "this dataset has no given split.",
            fix="Add a column `split` (train, test) and given_split = true, or use another protocol.",
        )
    return _split(interactions, np.asarray(is_test, bool), "given", None)


def random_hold_out(interactions: Interactions, share: float = HELD_OUT_SHARE, seed: int = 0) -> Split:
    """Hold out a random share of each user's different items, at least one of those who have two.

    For data without order or time: where there is time this leaks the future, so nothing chooses it there.
    All events of a held-out item go with it.
    """
    place, distinct = _shuffled_places(interactions, seed)
    held = np.where(distinct >= 2, np.maximum(1, (distinct * share).astype(np.int64)), 0)
    return _split(interactions, place < np.repeat(held, interactions.lengths), "random", None)


def cold_users(
    interactions: Interactions, share: float = 0.1, supports: Sequence[int] = SUPPORTS, seed: int = 0
) -> dict[int, Split]:
    """Hold a share of the users out whole and show k random items of each: one split for every k in `supports`.

    All splits share one `train`, without any event of the chosen users. Support and targets are drawn at random, not
    first come: first items follow the order of a page, not of taste. All items that could be shown for the largest k
    are masked for every k, and the targets are the same, so that the columns compare.

    Raises NotEnoughData where nobody has more different items than the largest support.
    """
    place, eligible = _cold_candidates(interactions, supports, seed)
    number = min(max(1, round(share * interactions.n_users)), len(eligible))
    chosen = np.random.default_rng(seed).choice(eligible, number, replace=False)
    return _cold_splits(interactions, chosen, place, supports)


def cold_user_fold(
    interactions: Interactions, fold: int, folds: int = 10, supports: Sequence[int] = SUPPORTS, seed: int = 0
) -> dict[int, Split]:
    """`cold_users` for one of `folds` parts of the users (0 first): every eligible user is held out in one of them.

    What is shown of a user is the same in whichever fold. Raises NotEnoughData where a fold has nobody, too.
    """
    place, eligible = _cold_candidates(interactions, supports, seed)
    chosen = np.random.default_rng(seed).permutation(eligible)[fold::folds]
    if len(chosen) == 0:
        raise NotEnoughData(
            f"{len(eligible)} users have enough items to be held out, too few for {folds} folds.", fix="Ask for fewer."
        )
    return _cold_splits(interactions, chosen, place, supports)


def _cold_candidates(
    interactions: Interactions, supports: Sequence[int], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each event's place in a random order of its user's items [n_events], and the users that can be held out."""
    place, distinct = _shuffled_places(interactions, seed)
    largest = max(supports)
    eligible = np.flatnonzero(distinct > largest)
    if len(eligible) == 0 or len(eligible) == interactions.n_users == 1:
        raise NotEnoughData(
            f"no user has more than {largest} different items beside others to train on.",
            fix="Give users more events, or use another protocol.",
        )
    return place, eligible


def _cold_splits(
    interactions: Interactions, chosen: NDArray[np.integer], place: NDArray[np.int64], supports: Sequence[int]
) -> dict[int, Split]:
    """The splits of every support where the `chosen` users are held out; see `cold_users`."""
    is_chosen = np.zeros(interactions.n_users, bool)
    is_chosen[chosen] = True
    held, largest = is_chosen[interactions.users], max(supports)
    train = interactions.select(~held)
    if len(train) == 0:
        raise NotEnoughData("holding these users out leaves nothing to train on.", fix="Lower the share of users.")
    first = _first_of_pair(interactions)
    test = interactions.select(held & first & (place >= largest) & (interactions.weights > 0))
    masked = interactions.select(held & first & (place < largest))
    return {
        k: Split(train, test, "cold-users", None, interactions.select(held & first & (place < k)), masked)
        for k in supports
    }


def _moment(times: NDArray[np.int64], share: float) -> int:
    """The newest training time such that about `share` of the events are newer (at least one)."""
    if len(times) == 0 or times.min() == times.max():
        raise NotEnoughData("all events have one time: nothing lies after any cut.", fix="Use another protocol.")
    newest_kept = max(0, len(times) - max(1, round(share * len(times))) - 1)
    cut = int(np.partition(times, newest_kept)[newest_kept])
    return cut if cut < times.max() else int(times[times < cut].max())


def _split(interactions: Interactions, held: NDArray[np.bool_], protocol: str, cut: int | None) -> Split:
    train = interactions.select(~held)
    test = new_items(interactions.select(held), train)
    if len(train) == 0 or len(test) == 0:
        raise NotEnoughData(
            f"the {protocol} split leaves {len(train)} training events and {len(test)} items to find.",
            fix="Give more events, or use another protocol.",
        )
    return Split(train, test, protocol, cut)


def new_items(held_out: Interactions, train: Interactions) -> Interactions:
    """Held-out events whose item the user has not in `train`, each (user, item) pair once (its first event).

    Nobody wants to find what they disliked: an event speaks for its item where its weight is above 0.
    """
    fresh = room(len(held_out), np.bool_, held_out.items)
    for users in train.spans():
        theirs, known = held_out.part(users), train.part(users)
        fresh[held_out.within(users)] = ~np.isin(pair_keys(theirs), pair_keys(known)) & (theirs.weights > 0)
    wanted = held_out.select(fresh)
    return wanted.select(wanted.flags(_first_of_pair))


def _first_of_pair(interactions: Interactions) -> NDArray[np.bool_]:
    """Whether an event is the first of its (user, item) pair [n_events]."""
    first = np.zeros(len(interactions), bool)
    first[np.unique(pair_keys(interactions), return_index=True)[1]] = True
    return first


def _shuffled_places(interactions: Interactions, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each event's item in a random order of its user's different items, and how many those are.

    Returns places [n_events] (events of one item share theirs, 0 first) and distinct items [n_users].
    """
    pairs, inverse = np.unique(pair_keys(interactions), return_inverse=True)
    owners = pairs // interactions.n_items
    distinct = np.bincount(owners, minlength=interactions.n_users)
    order = np.lexsort((np.random.default_rng(seed).random(len(pairs)), owners))
    starts = np.concatenate([[0], np.cumsum(distinct)])[:-1]
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - starts[owners[order]]
    return place[inverse], distinct
