"""The users of the synthetic world: demographics, the taste of their segment, interests of their own that drift.

A user holds a few clusters as interests; how they mix at the start of the window and at its end are two draws, and
between them it moves. Segments prefer categories, so demographics say something of a user without history. Nothing
here knows events; `world_events` acts for the users, `generator` writes the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_sources.world_catalogue import Catalogue

GENDERS: Final = ("F", "M", "X")
AGE_GROUPS: Final = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
REGIONS: Final = ("north", "east", "south", "west", "centre", "coast", "islands", "abroad")

INTERESTS: Final = 6
"""Clusters a user cares about over the whole window; two or three at a time."""

_GENDER_SHARES: Final = (0.49, 0.48, 0.03)
_AGE_SHARES: Final = (0.18, 0.26, 0.21, 0.16, 0.11, 0.08)
_SEGMENT_TASTE: Final = 1.0
"""Spread of the log preference of a segment for a category: the favourite is about ten times the least."""
_SAME_CATEGORY: Final = 0.5
"""How often the next interest lies in the category of the one before."""
_MIX: Final = 0.5
"""Dirichlet parameter of a mixture of interests: below one, a few dominate."""
_JOINED_BEFORE: Final = 0.55
"""Share of users who were there before the window opened."""
_MEMBERSHIP_DAYS: Final = 1_000
_ACTIVITY_SPREAD: Final = 0.85
"""Sigma of the log of the events of a warm user: the busiest per cent has about seven times the mean."""
_FEWEST_WARM: Final = 5
_MOST_EVENTS: Final = 500
_MISSING: Final = 0.02
"""Share of users who did not tell their age."""

_DAY: Final = 86_400


@dataclass(frozen=True)
class Population:
    """n users."""

    gender: NDArray[np.int64]
    age: NDArray[np.int64]
    """[n] numbers of GENDERS and AGE_GROUPS."""
    joined: NDArray[np.int64]
    """[n] Unix seconds."""
    interests: NDArray[np.int64]
    """[n, INTERESTS] clusters."""
    mix_first: NDArray[np.float32]
    mix_last: NDArray[np.float32]
    """[n, INTERESTS] shares of the interests at the start and at the end of the window."""
    budget: NDArray[np.float64]
    """[n] log of the price that suits them."""
    events: NDArray[np.int64]
    """[n] how many events they will have; fewer than five for cold users."""


def make_population(
    rng: np.random.Generator,
    catalogue: Catalogue,
    n: int,
    window: tuple[int, int],
    cold_share: float,
    events_per_user: float,
) -> Population:
    """Draw `n` users whose events average `events_per_user`."""
    gender = rng.choice(len(GENDERS), n, p=_GENDER_SHARES)
    age = rng.choice(len(AGE_GROUPS), n, p=_AGE_SHARES)
    start, end = window
    joined = np.where(
        rng.random(n) < _JOINED_BEFORE,
        start - rng.integers(1, _MEMBERSHIP_DAYS * _DAY, n),
        start + rng.integers(0, max(1, int(0.9 * (end - start))), n),
    )
    mixes = rng.gamma(_MIX, size=(2, n, INTERESTS)).astype(np.float32) + np.float32(1e-6)
    mixes /= mixes.sum(axis=2, keepdims=True)
    budget = 3.2 + 0.15 * (age - 2) + rng.normal(0, 0.5, n)
    return Population(
        gender,
        age,
        joined,
        _interests(rng, catalogue, gender * len(AGE_GROUPS) + age),
        mixes[0],
        mixes[1],
        budget,
        _activity(rng, n, cold_share, events_per_user),
    )


def _interests(rng: np.random.Generator, catalogue: Catalogue, segment: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n, INTERESTS] clusters by the taste of the segment, often staying in a category."""
    taste = np.exp(rng.normal(0, _SEGMENT_TASTE, (len(GENDERS) * len(AGE_GROUPS), catalogue.category.max() + 1)))
    shares = taste[:, catalogue.category] * catalogue.cluster_weight  # [segments, clusters]
    cumulative = np.cumsum(shares, axis=1)
    drawn = rng.random((len(segment), INTERESTS))
    interests = np.empty(drawn.shape, np.int64)
    for number, sums in enumerate(cumulative):
        mine = segment == number
        interests[mine] = np.searchsorted(sums, drawn[mine] * sums[-1], side="right")
    interests = np.minimum(interests, catalogue.n_clusters - 1)
    by_category = np.argsort(catalogue.category, kind="stable")
    counts = np.bincount(catalogue.category)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    for slot in range(1, INTERESTS):
        category = catalogue.category[interests[:, slot - 1]]
        beside = by_category[firsts[category] + rng.integers(0, counts[category])]
        interests[:, slot] = np.where(rng.random(len(segment)) < _SAME_CATEGORY, beside, interests[:, slot])
    return interests


def _activity(rng: np.random.Generator, n: int, cold_share: float, events_per_user: float) -> NDArray[np.int64]:
    """[n] events: log-normal for warm users, none to four for the cold."""
    cold = np.zeros(n, bool)
    cold[rng.choice(n, round(cold_share * n), replace=False)] = True
    few = rng.integers(0, _FEWEST_WARM, n)
    warm_mean = max(_FEWEST_WARM, (events_per_user * n - few[cold].sum()) / max(1, (~cold).sum()))
    busy = rng.lognormal(np.log(max(1.0, warm_mean - _FEWEST_WARM)) - _ACTIVITY_SPREAD**2 / 2, _ACTIVITY_SPREAD, n)
    return np.where(cold, few, np.clip(_FEWEST_WARM + busy, _FEWEST_WARM, _MOST_EVENTS).astype(np.int64))


def users_table(rng: np.random.Generator, population: Population) -> pl.DataFrame:
    """The users table: gender, age_group, region, signup_at."""
    n = len(population.gender)
    age = pl.Series(AGE_GROUPS).gather(population.age)
    return pl.DataFrame(
        {
            "user_id": user_ids(np.arange(n)),
            "gender": pl.Series(GENDERS).gather(population.gender),
            "age_group": age.set(pl.Series(rng.random(n) < _MISSING), None),
            "region": pl.Series(REGIONS).gather(rng.integers(0, len(REGIONS), n)),
            "signup_at": population.joined,
        }
    )


def user_ids(numbers: NDArray[np.int64]) -> pl.Series:
    """[n] ids of users by their numbers."""
    return pl.select(pl.format("u_{}", pl.lit(pl.Series(numbers)))).to_series()
