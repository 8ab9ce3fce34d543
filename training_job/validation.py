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
from contracts.schema import DatasetSchema
from evaluation.metrics.hits import find_hits
from evaluation.metrics.ndcg import ndcg
from evaluation.splits import Split, new_items
from training_job.batches import ragged

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
    random = np.random.default_rng(seed)
    cut = None
    if schema.timed and len(interactions) and interactions.times.min() < interactions.times.max():
        held, cut = _newest(interactions)
    elif schema.ordered:
        held = _last_events(interactions, _some_users(interactions, random))
    else:
        held = _random_events(interactions, _some_users(interactions, random), random)
    train = interactions.select(~held)
    test = new_items(interactions.select(held), train)
    if len(train) == 0 or len(test) == 0:
        raise NotEnoughData(
            f"holding out a validation slice leaves {len(train)} training events and {len(test)} items to find.",
            fix="Give users more events: at least two users with two different items each.",
        )
    tunes = (user_ids.hash(seed=0).to_numpy() & np.uint64(1)).astype(bool)[test.users]
    if tunes.all() or not tunes.any():  # one user: both halves are the same, which beats none
        return Validation(*(Split(train, test, "validation", cut) for _ in range(2)))
    return Validation(
        Split(train, test.select(tunes), "validation", cut), Split(train, test.select(~tunes), "validation", cut)
    )


def _newest(interactions: Interactions) -> tuple[NDArray[np.bool_], int]:
    """The newest events, and the newest time before them."""
    times = interactions.times
    share = float(np.clip(SLICE_EVENTS / len(times), *NEWEST_SHARE))
    cut = np.partition(times, place := max(0, int(len(times) * (1 - share)) - 1))[place]
    if cut == times.max():
        cut = times[times < cut].max()
    return times > cut, int(cut)


def _some_users(interactions: Interactions, random: np.random.Generator) -> NDArray[np.integer]:
    """A sample of the users with at least two events."""
    able = np.flatnonzero(interactions.lengths >= 2)
    number = min(SLICE_USERS, max(1, int(len(able) * SLICE_USERS_SHARE)), len(able))
    return np.sort(random.choice(able, number, replace=False))


def _last_events(interactions: Interactions, users: NDArray[np.integer]) -> NDArray[np.bool_]:
    held = np.zeros(len(interactions), np.bool_)
    held[interactions.offsets[users + 1] - 1] = True
    return held


def _random_events(
    interactions: Interactions, users: NDArray[np.integer], random: np.random.Generator
) -> NDArray[np.bool_]:
    """A random part of the events of some users, at least one of each and never all."""
    chosen = np.zeros(interactions.n_users, np.bool_)
    chosen[users] = True
    events = np.flatnonzero(chosen[interactions.users])
    owners = interactions.users[events]
    order = np.lexsort((random.random(len(events)), owners))
    lengths = interactions.lengths[users]
    place = np.arange(len(events)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    held = np.zeros(len(interactions), np.bool_)
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
    return ndcg(find_hits(top, split.test, users), PLACES)
