"""The validation slice: what training holds out, and who may look at it.

It lies after everything that was trained on (time), at the end of histories (order), or beside them (neither). Its
users fall in two halves by a hash of their id: one half tunes (early stopping, half-life, confidence), the other is
never looked at here and is left for the gate. What the gate judges is what ships, so the slice is never trained on,
and is no larger than a judgement needs. `fit.py` cuts it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from contracts.errors import NotEnoughData
from contracts.ids import IdTable
from contracts.interactions import Interactions
from contracts.large_arrays import room
from contracts.schema import DatasetSchema
from evaluation.metrics.hits import find_hits
from evaluation.metrics.ndcg import ndcg
from evaluation.pairs import pair_keys
from evaluation.splits import Split, new_items
from training_job.batches import ragged
from training_job.first_touches import first_touches

SLICE_EVENTS: Final = 20_000
"""Newest events to hold out by time: some thousand users, at which a paired interval is about 2 % wide."""
NEWEST_SHARE: Final = (0.02, 0.10)
"""Bounds of their share: a tenth of a small data set is all it can spare, and a week of a large one is worth having."""
SLICE_USERS: Final = 4_000
"""Users that lose an item where there is no time."""
SLICE_USERS_SHARE: Final = 0.5
"""And no more than half of them."""
SET_SHARE: Final = 0.2
"""Part of a set that is held out, as the published splits do."""
PLACES: Final = 20
"""NDCG@20 tunes: deep enough to tell two rankings apart, and what a slate shows."""
SCORE_BUDGET: Final = 200_000_000
"""Scores of one evaluation: about a second; large catalogues are tuned on fewer users."""
FEWEST_USERS: Final = 200


@dataclass(frozen=True)
class Validation:
    """Training events, and the two halves of what was held out (same `train`, disjoint users)."""

    tuning: Split
    judging: Split

    @property
    def train(self) -> Interactions:
        return self.tuning.train

    def digest(self, item_ids: pl.Series) -> str:
        """sha256 of what was trained on, of both halves, and of the ids of the items: equal cut, equal digest.

        `item_ids` [n_items] in the order of their rows.
        """
        seen = sha256()
        for events in (self.train, self.tuning.test, self.judging.test):
            for array in (events.offsets, events.items, events.times, events.weights):
                seen.update(np.ascontiguousarray(array).data)
        ids = IdTable.from_strings(item_ids.to_list())
        seen.update(ids.offsets.data)
        seen.update(ids.blob.data)
        return seen.hexdigest()


def hold_out(interactions: Interactions, schema: DatasetSchema, user_ids: pl.Series, seed: int) -> Validation:
    """Cut the slice. Raises NotEnoughData where nothing new can be held out."""
    train, test, cut = _divided(interactions, *_held(interactions, schema, np.random.default_rng(seed)))
    if len(test) == 0:
        train, test, cut = _divided(interactions, *_held_news(interactions, schema, np.random.default_rng(seed)))
    if len(train) == 0 or len(test) == 0:
        raise NotEnoughData(
            f"{len(interactions)} events of {np.count_nonzero(interactions.lengths)} users: nobody has two different "
            "items of positive weight, so nothing can be held out to judge by.",
            fix="Give at least one user events with two different items; [event_weights] of schema.toml says which "
            "count.",
        )
    tunes = (user_ids.hash(seed=0).to_numpy() & np.uint64(1)).astype(bool)[test.users]
    if tunes.all() or not tunes.any():  # one user: both halves are the same, which beats none
        return Validation(*(Split(train, test, "validation", cut) for _ in range(2)))
    return Validation(
        Split(train, test.select(tunes), "validation", cut), Split(train, test.select(~tunes), "validation", cut)
    )


def _divided(
    interactions: Interactions, held: NDArray[np.bool_], cut: int | None
) -> tuple[Interactions, Interactions, int | None]:
    """Training events, what is to be found, and the cut. `held` is overwritten."""
    later = interactions.select(held)
    train = interactions.select(np.logical_not(held, out=held))
    return train, new_items(later, train), cut


def _held(
    interactions: Interactions, schema: DatasetSchema, random: np.random.Generator
) -> tuple[NDArray[np.bool_], int | None]:
    """Which events [n_events] the slice takes, and the newest time before it where it is cut by time."""
    if schema.timed and len(interactions) and interactions.times.min() < interactions.times.max():
        return _newest(interactions)
    users = _some_users(interactions, random)
    if schema.ordered:
        return _last_events(interactions, users), None
    return _random_events(interactions, users, random), None


def _held_news(
    interactions: Interactions, schema: DatasetSchema, random: np.random.Generator
) -> tuple[NDArray[np.bool_], int | None]:
    """The same where all that `_held` finds are repeats or dislikes (a log sent twice, one robot's last hour).

    Cut is what was new to its user; what came after it, or is of the same pair where there is no order, goes with it.
    """
    touched = first_touches(interactions)
    news = interactions.select(touched)
    held, cut = _held(news, schema, random)
    if cut is not None:
        return interactions.times > cut, cut
    if not schema.ordered:
        return np.isin(pair_keys(interactions), pair_keys(news.select(held))), None
    starts, ends = np.flatnonzero(touched)[held], interactions.offsets[news.users[held] + 1]
    since = np.zeros(len(interactions), np.bool_)
    since[ragged(starts, ends - starts)] = True
    return since, None


def _newest(interactions: Interactions) -> tuple[NDArray[np.bool_], int]:
    """The newest events, and the newest time before them."""
    times = interactions.times
    share = float(np.clip(SLICE_EVENTS / len(times), *NEWEST_SHARE))
    place = max(0, int(len(times) * (1 - share)) - 1)
    ordered = room(len(times), np.int64, times)
    ordered[:] = times
    ordered.partition(place)
    cut = int(ordered[place])
    if cut == times.max():
        earlier = np.less(times, cut, out=room(len(times), np.bool_, times))
        cut = int(np.max(times, where=earlier, initial=times.min()))
    return np.greater(times, cut, out=room(len(times), np.bool_, times)), cut


def _some_users(interactions: Interactions, random: np.random.Generator) -> NDArray[np.integer]:
    """A sample of the users with at least two events."""
    able = np.flatnonzero(interactions.lengths >= 2)
    number = min(SLICE_USERS, max(1, int(len(able) * SLICE_USERS_SHARE)), len(able))
    return np.sort(random.choice(able, number, replace=False))


def _last_events(interactions: Interactions, users: NDArray[np.integer]) -> NDArray[np.bool_]:
    held = room(len(interactions), np.bool_, interactions.items)
    held[interactions.offsets[users + 1] - 1] = True
    return held


def _random_events(
    interactions: Interactions, users: NDArray[np.integer], random: np.random.Generator
) -> NDArray[np.bool_]:
    """A random part of the events of some users, at least one of each and never all."""
    lengths = interactions.lengths[users]
    events, owners = ragged(interactions.offsets[users], lengths), np.repeat(users, lengths)
    order = np.lexsort((random.random(len(events)), owners))
    place = np.arange(len(events)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    held = room(len(interactions), np.bool_, interactions.items)
    held[events[order[place < np.repeat(np.maximum(1, (lengths * SET_SHARE).astype(np.int64)), lengths)]]] = True
    return held


def tuning_users(split: Split, random: np.random.Generator) -> NDArray[np.int32]:
    """Users of the tuning half to evaluate on: with events to be known by, as many as the budget allows."""
    able = split.judged[split.train.lengths[split.judged] > 0]
    number = max(FEWEST_USERS, SCORE_BUDGET // max(split.train.n_items, 1))
    if len(able) <= number:
        return able
    return np.sort(random.choice(able, number, replace=False))


Scorer = Callable[[NDArray[np.int32]], torch.Tensor]
"""User codes [b] → a score for every item [b, n], a fresh tensor."""


def user_ndcg(scorer: Scorer, split: Split, users: NDArray[np.int32]) -> NDArray[np.float64]:
    """NDCG@20 [users] of full rankings without the items that a user already has."""
    block = max(1, 16_000_000 // max(split.train.n_items, 1))  # 64 MB of scores at a time
    values = []
    for start in range(0, len(users), block):
        some = users[start : start + block]
        scores = scorer(some)
        values.append(_block_ndcg(scores, split, some))
    return np.concatenate(values) if values else np.empty(0)


def mean_ndcg(scorer: Scorer, split: Split, users: NDArray[np.int32]) -> float:
    """Mean of `user_ndcg`; 0 where there are no users."""
    return float(user_ndcg(scorer, split, users).mean()) if len(users) else 0.0


def _block_ndcg(scores: torch.Tensor, split: Split, users: NDArray[np.int32]) -> NDArray[np.float64]:
    lengths = split.train.lengths[users]
    known = ragged(split.train.offsets[users], lengths)
    owners = torch.from_numpy(np.repeat(np.arange(len(users)), lengths))
    scores[owners, torch.from_numpy(split.train.items[known].astype(np.int64))] = -torch.inf
    top = scores.topk(min(PLACES, scores.shape[1])).indices.cpu().numpy()
    return ndcg(find_hits(top, split.test.take(users), np.arange(len(users))), PLACES)
