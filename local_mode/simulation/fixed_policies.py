"""Policies that learn nothing: pure functions of the nature, the day and the user.

Their effect is a number of the world and not of a training, so that the intervals of a thousand small worlds can be
held against it. All arrivals of a day at a time. `benchmarks/simulated_coverage.py` and tests call them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from local_mode.simulation.chance import Purpose, uniform
from local_mode.simulation.nature import Nature, Users

Slates = NDArray[np.int32]
Policy = Callable[[Nature, int, Users], Slates]
"""(nature, day, users [a]) -> [a, places] item numbers, no item twice."""

_CANDIDATES: Final = 40
"""Items that a personal choice is made of: four for each of ten places."""
_JUDGEMENT: Final = 1.0
"""Spread of the error, in log-odds, with which a personal choice knows what a user wants."""
_UNIT_SPREAD: Final = 12**0.5
"""Standard deviations in the width of a uniform draw."""


def best_of_all(nature: Nature, day: int, users: Users) -> Slates:
    """The same for everybody: the items of the highest quality, best first."""
    known = nature.n_born(day)
    best = np.argsort(-nature.catalogue.quality[:known], kind="stable")[: nature.settings.places]
    return np.tile(best.astype(np.int32), (len(users), 1))


def at_random(nature: Nature, day: int, users: Users) -> Slates:
    """Every item with the same chance."""
    return _candidates(nature, day, users)[:, : nature.settings.places].astype(np.int32)


def personal(nature: Nature, day: int, users: Users) -> Slates:
    """What the user wants most of a few candidates drawn by chance, judged with an error; tiredness is not known."""
    items = _candidates(nature, day, users)
    numbers = nature.numbers(users)[:, None]
    error = uniform(nature.settings.seed, Purpose.JUDGEMENT, numbers, day, items) - 0.5
    wanted = nature.wanting(day, users, items) + _JUDGEMENT * _UNIT_SPREAD * error
    best = np.argsort(-wanted, axis=1, kind="stable")[:, : nature.settings.places]
    return np.take_along_axis(items, best, axis=1).astype(np.int32)


def _candidates(nature: Nature, day: int, users: Users) -> NDArray[np.int64]:
    """[a, c] different items: from a first one in steps that have no factor in common with the number of items."""
    known, seed, numbers = nature.n_born(day), nature.settings.seed, nature.numbers(users)
    steps = np.flatnonzero(np.gcd(np.arange(known), known) == 1)
    first = (uniform(seed, Purpose.CANDIDATES, numbers, day) * known).astype(np.int64)
    step = steps[(uniform(seed, Purpose.STEP, numbers, day) * len(steps)).astype(np.int64)]
    return (first[:, None] + step[:, None] * np.arange(min(known, _CANDIDATES))) % known
