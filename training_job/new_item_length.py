"""The length that an item gets of which training has never heard: how soon it is found before anybody has taken it.

Its direction comes from its content, and points where the item belongs; its popularity is what it will earn. Left at
the length of the least popular item it is never among the first twenty, and so earns nothing. So some items that are
known are looked at as if they were new, beside the others as they are, and the length is the one at which they take
their places among the first twenty: as many for each as for any other item, and somewhat more, for what is learned of
a new item is worth more than what is learned again of an old one. None is longer than the most popular item: where
content says so little that even this does not suffice, it should not. `fit.py` calls it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.fitted import HOT_EVENTS
from contracts.interactions import Interactions
from training_job.lengths import LONGEST, SHORTEST
from training_job.step import Stepper
from training_job.validation import PLACES

SHARE: Final = 0.1
"""Of the items that are looked at as if they were new."""
MOST_ITEMS: Final = 5_000
"""Of those: their places are known well enough."""
FEWEST_ITEMS: Final = 10
FAVOUR: Final = 1.5
"""Places of a new item over those of an average one. At 1 it finds three quarters of what TF-IDF neighbours find of new
films among all; at 1.5 somewhat more than they, and where a tenth of the catalogue is new that costs old ones 9 %."""
HALVINGS: Final = 30


def new_item_length(stepper: Stepper, events: Interactions, users: NDArray[np.integer], seed: int) -> float | None:
    """The length, or None where items have no content, or too few of them any events, to tell by.

    `users` are those whose first twenty are looked at, known by their `events`.
    """
    hot = np.flatnonzero((stepper.data.counts.item_events >= HOT_EVENTS) & stepper.has_content)
    number = min(int(len(hot) * SHARE), MOST_ITEMS)
    if number < FEWEST_ITEMS or len(users) == 0 or not len(stepper.towers.item_slots):
        return None
    rows = np.random.default_rng(seed).choice(hot, number, replace=False)
    vectors = stepper.catalogue()
    queries = stepper.queries(events, users, vectors)
    as_new = stepper.unheard_of(rows, vectors)
    vectors[torch.from_numpy(rows).to(vectors.device)] = 0
    competing = int(np.count_nonzero(stepper.has_events))
    old, new = _best(queries, vectors, events, users, None), _best(queries, as_new, events, users, rows)
    return min(_length_at(old, new, FAVOUR * number / competing), float(stepper.norms[torch.from_numpy(hot)].max()))


def _best(
    queries: Tensor, vectors: Tensor, events: Interactions, users: NDArray[np.integer], rows: NDArray[np.integer] | None
) -> Tensor:
    """The highest scores [users, PLACES] of vectors [c, d], which are of some `rows`, that a user does not have yet."""
    place = np.arange(events.n_items)
    if rows is not None:
        place = np.full(events.n_items, -1)
        place[rows] = np.arange(len(rows))
    block, best = max(1, 16_000_000 // len(vectors)), []
    for start in range(0, len(users), block):
        scores = queries[start : start + block] @ vectors.T
        past = events.take(users[start : start + block])
        known = place[past.items]
        scores[past.users[known >= 0], known[known >= 0]] = -torch.inf
        best.append(scores.topk(min(PLACES, scores.shape[1])).values)
    return torch.cat(best)


def _length_at(old: Tensor, new: Tensor, share: float) -> float:
    """The length at which the new take a share of all places, by halving what is between the bounds.

    The k-th best of the new is placed if it beats the old one that it would push out, the k-th last.
    """
    width = min(old.shape[1], new.shape[1])
    pushed, scores = old.flip(1)[:, :width], new[:, :width].clamp_min(0)
    low, high = SHORTEST, LONGEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        if float((scores * middle > pushed).sum()) / old.numel() < share:
            low = middle
        else:
            high = middle
    return float((low * high) ** 0.5)
