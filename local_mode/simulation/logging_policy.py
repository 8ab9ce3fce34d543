"""Who decides before there is a release: popularity with chance, by probabilities that are known.

A place is drawn from epsilon of a uniform choice and the rest of a softmax of the log of the clicks so far, among the
items that have no place yet. A draw that hits an item with a place is drawn again, which is the mixture without those
items, renormalised: so the propensity of each place, given the places before, is exact.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from local_mode.simulation.chance import Purpose, uniform
from local_mode.simulation.nature import Floats, Nature, Users

_SHARPNESS: Final = 0.8
"""Of the softmax: a weight is (clicks + 1) to this power, so that what was lucky early does not take all."""


def slates(
    nature: Nature, day: int, users: Users, counts: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """[a, places] items for each of `users` [a] on `day`, and with which probability each got its place.

    `counts` [items] are the clicks of each item so far.
    """
    chance = _mixture(counts[: nature.n_born(day)], nature.settings.epsilon)
    shown = np.full((len(users), nature.settings.places), -1, np.int32)
    propensities = np.empty(shown.shape)
    left = np.ones(len(users))
    for place in range(shown.shape[1]):
        shown[:, place] = _draw(nature, day, users, chance, shown[:, :place])
        propensities[:, place] = chance[shown[:, place]] / left
        left -= chance[shown[:, place]]
    return shown, propensities


def _mixture(counts: NDArray[np.integer], epsilon: float) -> Floats:
    weight = (counts + 1.0) ** _SHARPNESS
    chance: Floats = epsilon / len(counts) + (1 - epsilon) * weight / weight.sum()
    return chance


def _draw(nature: Nature, day: int, users: Users, chance: Floats, taken: NDArray[np.int32]) -> NDArray[np.int64]:
    """[a] an item for the next place that is none of `taken` [a, places before]."""
    sums, place = np.cumsum(chance), taken.shape[1]
    items = np.zeros(len(users), np.int64)
    pending, attempt = np.arange(len(users)), 0
    while len(pending):
        numbers = nature.numbers(users[pending])
        drawn = uniform(nature.settings.seed, Purpose.LOGGING, numbers, day, place, attempt) * sums[-1]
        items[pending] = np.minimum(np.searchsorted(sums, drawn, side="right"), len(chance) - 1)
        pending = pending[(taken[pending] == items[pending, None]).any(axis=1)]
        attempt += 1
    return items
