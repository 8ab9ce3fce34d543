"""The users of the simulated world: tastes as mixtures of topics that drift, activity, budget, when they come and go.

Segments prefer categories, so demographics say something of a user without history. It knows topics, no items;
`nature` calls it. What a policy can move (satisfaction, fatigue, leaving) is in `world`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_sources.world_users import AGE_GROUPS, GENDERS
from local_mode.simulation.catalogue import Catalogue
from local_mode.simulation.families import FAMILIES, Family
from local_mode.simulation.settings import SimulationSettings

COUNTRIES: Final = ("DE", "FR", "GB", "NL", "PL", "SE", "US")

_INTERESTS: Final = 5
"""Topics a user cares about; two or three at a time."""
_SEGMENT_TASTE: Final = 0.8
"""Spread of the log preference of a segment for a category: the favourite is about five times the least."""
_NEAR: Final = 0.25
"""How much an interest in a topic is one in another topic of its category."""
_JOINS_LATER: Final = 0.2
"""Share of users who join during the world; the others were there before."""
_JOINS_UNTIL: Final = 0.8
"""Nobody joins in the last fifth."""
_MEMBERSHIP_DAYS: Final = 700
_WEEKEND: Final = 0.4
"""Spread over users of the log-odds that a weekend adds, and that the days before it lose by 2 : 5."""
_LEAVES_DAILY: Final = 0.002
"""Chance to leave for good on a day, whatever was shown: half have left after a year."""
_BUDGET_SPREAD: Final = 0.5
_DAY: Final = 86_400

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """n users; t topics."""

    gender: Ints
    age: Ints
    country: Ints
    """[n] numbers of GENDERS, AGE_GROUPS, COUNTRIES."""
    joined_day: Ints
    """[n] negative for those who joined before the world began."""
    gone_day: Ints
    """[n] the first day on which they have left for good, whatever they are shown."""
    taste_first: NDArray[np.float32]
    taste_last: NDArray[np.float32]
    """[n, t] how much of their interest is in each topic, on day 0 and on the last day."""
    eager: Floats
    """[n] log-odds that they click on anything."""
    budget: Floats
    """[n] log of the price that suits them."""
    come: Floats
    """[n] log-odds that they come on a day."""
    weekend: Floats
    """[n] added to them on Saturday and Sunday."""

    def __len__(self) -> int:
        return len(self.gender)

    def rhythm(self, day: int) -> Floats:
        """[n] what the day of the week adds to the log-odds of coming; the mean over a week is zero."""
        return self.weekend * (1.0 if day % 7 >= 5 else -0.4)


def make_people(settings: SimulationSettings, catalogue: Catalogue, first_user: int) -> People:
    """Draw the users with the numbers `first_user` and after; segments mean the same for every `first_user`."""
    family = FAMILIES[settings.family]
    world, rng = np.random.default_rng([settings.seed, 3]), np.random.default_rng([settings.seed, 4, first_user])
    n = settings.users
    gender = rng.choice(len(GENDERS), n, p=(0.49, 0.48, 0.03))
    age, country = rng.integers(0, len(AGE_GROUPS), n), rng.integers(0, len(COUNTRIES), n)
    joined = _joined(rng, settings)
    first, last = _tastes(world, rng, catalogue, gender * len(AGE_GROUPS) + age, family)
    return People(
        gender,
        age,
        country,
        joined,
        np.maximum(joined, 0) + rng.geometric(_LEAVES_DAILY, n),
        first,
        last,
        rng.normal(0, family.eager, n),
        rng.normal(3.2, _BUDGET_SPREAD, n) + 0.1 * (age - 2),
        rng.normal(family.come_base, family.come_spread, n),
        rng.normal(0, _WEEKEND, n),
    )


def _joined(rng: np.random.Generator, settings: SimulationSettings) -> Ints:
    n = settings.users
    before = -rng.integers(1, _MEMBERSHIP_DAYS, n)
    during = rng.integers(0, max(1, int(_JOINS_UNTIL * settings.total_days)), n)
    return np.where(rng.random(n) < _JOINS_LATER, during, before)


def _tastes(
    world: np.random.Generator, rng: np.random.Generator, catalogue: Catalogue, segment: Ints, family: Family
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[n, t] twice: a few interests, mixed in one way on day 0 and in another on the last."""
    interests = _interests(world, rng, catalogue, segment)
    kin = np.where(catalogue.category[:, None] == catalogue.category, _NEAR, 0.0)
    np.fill_diagonal(kin, 1.0)
    mixes = rng.gamma(family.mixture, size=(2, *interests.shape)) + 1e-6
    mixes /= mixes.sum(axis=2, keepdims=True)
    first, last = (_spread(mix.astype(np.float32), kin.astype(np.float32), interests) for mix in mixes)
    return first, last if family.drifts else first


def _spread(mix: NDArray[np.float32], kin: NDArray[np.float32], interests: Ints) -> NDArray[np.float32]:
    taste = np.zeros((len(mix), len(kin)), np.float32)
    for slot in range(_INTERESTS):
        taste += mix[:, slot, None] * kin[interests[:, slot]]
    return taste


def _interests(world: np.random.Generator, rng: np.random.Generator, catalogue: Catalogue, segment: Ints) -> Ints:
    """[n, _INTERESTS] topics by the taste of the segment."""
    n_segments = len(GENDERS) * len(AGE_GROUPS)
    liking = np.exp(world.normal(0, _SEGMENT_TASTE, (n_segments, catalogue.n_categories)))
    known = (
        world.permutation(catalogue.n_topics) + 3.0
    ) ** -0.7  # some topics are everybody's, most are a few people's
    sums = np.cumsum(liking[:, catalogue.category] * known, axis=1)
    sums /= sums[:, -1:]
    drawn = rng.random((len(segment), _INTERESTS))
    interests = np.empty(drawn.shape, np.int64)
    for number in range(n_segments):
        mine = segment == number
        interests[mine] = np.searchsorted(sums[number], drawn[mine], side="right")
    return np.minimum(interests, catalogue.n_topics - 1)


def users_table(settings: SimulationSettings, people: People, user_ids: list[str]) -> pl.DataFrame:
    """user_id, gender, age_group, country, signup_at (Unix seconds)."""
    return pl.DataFrame(
        {
            "user_id": user_ids,
            "gender": np.array(GENDERS)[people.gender],
            "age_group": np.array(AGE_GROUPS)[people.age],
            "country": np.array(COUNTRIES)[people.country],
            "signup_at": settings.start + people.joined_day * _DAY,
        }
    )
