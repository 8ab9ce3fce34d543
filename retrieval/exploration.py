"""A small share of a slate for fresh items that nobody has touched, to find out whom they please.

    places = share of the slate, rounded down, and one more as often as the rest asks for
    each item of rank r by the model's score for this visitor is drawn with the weight 1 / r

Drawn without replacement by the keys of Efraimidis and Spirakis (2006), -ln(u) / weight, the smallest first. The u are
`contracts/chance.py`'s, by who asks, the hour and the item, so a visitor who asks again within the hour sees the same,
and a draw can be repeated. It knows neither the model nor the slate; `recommend.py` calls it, re-ranking puts the drawn
last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.chance import EXPLORED_KEY, Seed, several, uniform
from contracts.fitted import Floats, Rows


class Drawn(NamedTuple):
    """What was drawn, in the order drawn. x rows."""

    rows: Rows
    """[x]"""
    propensities: Floats
    """[x] probability of each, given those drawn before it."""


def explored_places(share: float, places: int, seed: Seed) -> int:
    """How many of the places go to exploring: on the average `share` of them."""
    wanted = share * places
    sure = int(wanted)
    return sure + int(several(seed, EXPLORED_KEY, 1)[0] < wanted - sure)


def draw(rows: Rows, keys: NDArray[np.uint64], scores: Floats | None, n: int, seed: Seed) -> Drawn:
    """At most n of the rows [u], in the order drawn. `keys` [u]: a number of each one's id.

    `scores` [u] rank them, the highest first; None: all weigh the same. Half of the draws fall on the first √u. The
    smallest keys in order are draws one after the other, each by its weight among those that are left (Efraimidis and
    Spirakis 2006, proposition 5), so the probability of each is its weight over the weights not drawn before it.
    """
    arrivals = -np.log(uniform(seed, keys))
    weights = np.ones(len(rows))
    if scores is not None:
        ranks = np.empty(len(rows), np.float64)
        ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(rows) + 1)
        weights /= ranks
        arrivals *= ranks
    total = weights.sum()
    if n < len(rows):
        first = np.argpartition(arrivals, n)[:n]
        rows, arrivals, weights = rows[first], arrivals[first], weights[first]
    order = np.argsort(arrivals, kind="stable")
    drawn = weights[order]
    left = total - np.cumsum(drawn) + drawn
    return Drawn(rows[order], (drawn / np.maximum(left, drawn)).astype(np.float32))
