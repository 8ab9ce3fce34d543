"""What users were shown rather than what they did: how much of the catalogue, and of how many kinds a slate is.

Coverage grows with the users whose slates are counted, so arms are compared by equal numbers of users, and its interval
is that of the delete-half jackknife over users (Shao and Wu 1989, "A general theory for jackknife variance
estimation"): with half of the users left out, the variance of the halves is that of the whole. Diversity is a mean a
user, as any metric. It knows no experiment; `measuring.py` and `truth.py` call it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from local_mode.simulation.exposing import Day
from local_mode.simulation.nature import Nature

DRAWS: Final = 100
"""Random halves: the standard error is known to 7 per cent."""


@dataclass(frozen=True)
class Shown:
    """All slates of a line."""

    users: NDArray[np.int64]
    """[v]"""
    slates: NDArray[np.int32]
    """[v, places] item numbers, -1 where there was none."""
    n_items: int
    """Of the catalogue at the end."""
    category: NDArray[np.int64]
    """[items]"""

    @classmethod
    def of(cls, nature: Nature, days: Iterable[Day]) -> Shown:
        """The slates of some days."""
        kept = list(days)
        users, slates = (np.concatenate([getattr(day, name) for day in kept]) for name in ("users", "slates"))
        return cls(users, slates, nature.n_born(nature.settings.total_days - 1), nature.catalogue.item_category)

    def coverage(self, users: NDArray[np.integer], n_users: int) -> float:
        """Share of the catalogue in the slates of `users`, who are numbers below `n_users`."""
        chosen = np.zeros(n_users, np.bool_)
        chosen[users] = True
        seen = np.zeros(self.n_items + 1, np.bool_)
        seen[self.slates[chosen[self.users]].ravel()] = True  # -1 falls on the place behind the last item
        return float(seen[:-1].mean())

    def diversity(self, n_users: int) -> NDArray[np.float64]:
        """[users] mean number of categories in the slates of each, NaN of whoever has none."""
        there = self.slates >= 0
        kinds = np.sort(np.where(there, self.category[np.maximum(self.slates, 0)], -1), axis=1)
        counts = (np.diff(kinds, axis=1, prepend=-1) != 0).sum(axis=1)  # sorted, each kind begins once
        visits = np.bincount(self.users, minlength=n_users)
        with np.errstate(invalid="ignore"):
            means: NDArray[np.float64] = np.bincount(self.users, counts, minlength=n_users) / visits
        return means


@dataclass(frozen=True)
class Coverage:
    """The coverage of one group by so many of its users."""

    value: float
    halves: NDArray[np.float64]
    """[DRAWS] by half as many, drawn anew."""


def coverage_of(shown: Shown, users: NDArray[np.integer], sample: int, n_users: int, seed: int) -> Coverage:
    """By `sample` of `users`, the mean of DRAWS draws, and by halves of the sample."""
    rng = np.random.default_rng([seed, sample])
    drawn = [rng.permutation(users) for _ in range(DRAWS)]
    value = np.mean([shown.coverage(some[:sample], n_users) for some in drawn])
    return Coverage(float(value), np.array([shown.coverage(some[: sample // 2], n_users) for some in drawn]))
