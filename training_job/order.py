"""Does the order of events say anything? How alike neighbours are, and how much of that is left later.

Events of one user are alike, and where one thing leads to another, neighbours are more so. What is left of their
likeness (over that of two events of anybody) between an event and any one after the next of its user says which
question is worth asking: where little is left, the next item; where nearly all is, the order is an accident, and a
history is a set. Measured: .3 to .4 on MovieLens, .8 to .9 on generated worlds (docs/experiment_log.md). `fit.py` asks
it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from training_job.first_touches import Moments
from training_job.user_sample import sample_users

LEFT_OF_SETS: Final = 0.6
"""From here on a history is a set: half way between what was measured on either side."""
PAIRS: Final = 200_000
"""Drawn pairs of each kind; the share is then known to about .01."""
FEWEST_PAIRS: Final = 1_000
"""With fewer nothing is claimed."""


def likeness_left(events: Interactions, directions: NDArray[np.float32], seed: int) -> float | None:
    """Part of the likeness of neighbours (mean cosine over that of anybody) that is left between an event and any
    one after the next of its user, by unit `directions` [n_items, d]; None where there are too few to say, or
    neighbours are no more alike than anybody.
    """
    events, random = sample_users(events, seed), np.random.default_rng(seed)
    moments = Moments.of(events)
    lengths = np.diff(moments.offsets)
    able = np.maximum(lengths - 2, 0)  # events of a user that another follows after the next
    if able.sum() < FEWEST_PAIRS:
        return None
    users = random.choice(len(able), PAIRS, p=able / able.sum())
    ends = moments.offsets[users + 1]
    first = random.integers(moments.offsets[users], ends - 2)

    def of(places: NDArray[np.int64]) -> NDArray[np.float32]:
        return directions[events.items[moments.events[places]]]

    own = of(first)

    def likeness(places: NDArray[np.int64]) -> float:
        return float(np.vecdot(own, of(places)).mean())

    anybody = likeness(random.permutation(first))
    neighbours = likeness(first + 1) - anybody
    if neighbours <= 0:
        return None
    return (likeness(random.integers(first + 2, ends)) - anybody) / neighbours


def order_matters(left: float | None) -> bool:
    """Whether order is worth training on, by what is left of likeness; where nobody can say, it is."""
    return left is None or left < LEFT_OF_SETS
