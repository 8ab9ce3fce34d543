"""What no policy changes: the items, the users, and how much a user who is not tired wants an item.

The truth is no inner product: an item has two topics, interest in a topic saturates, an item whose topics a user cares
for both is worth more than their sum, the price has to suit, and every user and item have a liking of their own that
nothing tells. `world` adds what a line of the world remembers; `logging_policy` and `fixed_policies` act on it; no
model can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.schema import DatasetSchema, EventWeights, FeatureKind
from local_mode.simulation import catalogue as catalogues
from local_mode.simulation import people as peoples
from local_mode.simulation.catalogue import Catalogue
from local_mode.simulation.chance import Purpose, uniform
from local_mode.simulation.families import FAMILIES, Family
from local_mode.simulation.people import People
from local_mode.simulation.settings import SimulationSettings

CLICK: Final = "click"
"""The one type of event."""

SCHEMA: Final = DatasetSchema(
    users={
        "gender": FeatureKind.CATEGORICAL,
        "age_group": FeatureKind.CATEGORICAL,
        "country": FeatureKind.CATEGORICAL,
        "signup_at": FeatureKind.TIMESTAMP,
    },
    items={
        "category": FeatureKind.CATEGORICAL,
        "tags": FeatureKind.MULTI_CATEGORICAL,
        "price": FeatureKind.NUMERIC,
        "published_at": FeatureKind.TIMESTAMP,
        "title": FeatureKind.TEXT,
    },
    segment=("gender", "age_group"),
    category="category",
    title="title",
    published="published_at",
    event_weights=EventWeights(types={CLICK: 1.0}),
)

_LOOKS_FURTHER: Final = 0.88
"""Chance to look at the next place: of ten places six are looked at, the last one in a third of the visits."""
_SATURATION: Final = 4.0
"""A third of one's interest is as good as most of it."""
_FRESH_DAYS: Final = 7.0
"""Half-life of what is new."""
_UNIT_SPREAD: Final = 12**0.5
"""Standard deviations in the width of a uniform draw."""
_SAMPLED: Final = 48
"""Items by which a user's expectation is known: enough for a tenth of it."""
_DAY: Final = 86_400

Users = NDArray[np.int64]
Items = NDArray[np.integer]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Nature:
    """A world before anybody is shown anything. Users and items are numbers: positions of `user_ids`, `item_ids`."""

    settings: SimulationSettings
    family: Family
    catalogue: Catalogue
    people: People
    first_user: int
    """By which chance and ids number the users of this nature; several natures can share one population."""
    schema: DatasetSchema = SCHEMA

    @cached_property
    def user_ids(self) -> list[str]:
        return [f"u{self.first_user + number:07}" for number in range(len(self.people))]

    @cached_property
    def item_ids(self) -> list[str]:
        """Shuffled, so that an id says nothing of the age."""
        names = np.random.default_rng([self.settings.seed, 5]).permutation(len(self.catalogue))
        return [f"i{name:06}" for name in names]

    @property
    def born_day(self) -> NDArray[np.int64]:
        """[items] ascending; negative for what is older than the world."""
        return self.catalogue.born_day

    @property
    def joined_day(self) -> NDArray[np.int64]:
        """[users] negative for those who were there before."""
        return self.people.joined_day

    @cached_property
    def examination(self) -> Floats:
        """[places] chance that a visitor looks at a place (a visitor looks from the first down to some place)."""
        falls: Floats = np.power(_LOOKS_FURTHER, np.arange(self.settings.places), dtype=np.float64)
        return falls

    @cached_property
    def expectation(self) -> Floats:
        """[users] clicks per look that a user is used to: of the items of day 0 as the crowd likes them."""
        known = self.n_born(0)
        users = np.arange(len(self.people))
        drawn = uniform(self.settings.seed, Purpose.CANDIDATES, -1, np.arange(_SAMPLED)) * known
        items = np.broadcast_to(drawn.astype(np.int64), (len(users), _SAMPLED))
        weight = np.exp(self.family.quality * self.catalogue.quality[items[0]])
        expected: Floats = sigmoid(self.wanting(0, users, items)) @ (weight / weight.sum())
        return expected

    def n_born(self, day: int) -> int:
        """How many items there are on `day`: those with the numbers below."""
        return int(np.searchsorted(self.born_day, day, side="right"))

    def items_table(self, day: int) -> pl.DataFrame:
        """The attributes of the items that are born by `day`."""
        return self._all_items.head(self.n_born(day))

    @cached_property
    def _all_items(self) -> pl.DataFrame:
        return catalogues.items_table(self.settings, self.catalogue, self.item_ids)

    def users_table(self) -> pl.DataFrame:
        """The features of all users, also of those who have not joined yet."""
        return peoples.users_table(self.settings, self.people, self.user_ids)

    def numbers(self, users: Users) -> Users:
        """[a] the users as chance knows them."""
        return users + self.first_user

    def visit_second(self, day: int, users: Users) -> NDArray[np.int64]:
        """[a] Unix second at which the visit of each user begins on `day`; it ends on that day."""
        clock = uniform(self.settings.seed, Purpose.SECOND_OF_DAY, self.numbers(users), day)
        within = (np.sqrt(clock) * (_DAY - 3_600)).astype(
            np.int64
        )  # more in the evening; an hour is left for the visit
        return self.settings.start + day * _DAY + within

    def wanting(self, day: int, users: Users, items: Items) -> Floats:
        """[a, k] log-odds that a look of each of `users` [a] at `items` [a, k] becomes a click, of somebody rested."""
        family, goods = self.family, self.catalogue
        z = np.broadcast_to(family.base + self.people.eager[users, None], items.shape).copy()
        if family.quality:
            z += family.quality * goods.quality[items]
        if family.taste:
            interest = self._interest(day, users)
            first = np.take_along_axis(interest, goods.topic[items], axis=1)
            second = np.take_along_axis(interest, goods.second[items], axis=1)
            z += family.taste * (1 - np.exp(-_SATURATION * first)) + family.together * np.sqrt(first * second)
        if family.price:
            z -= family.price * (goods.log_price[items] - self.people.budget[users, None]) ** 2
        if family.own:
            drawn = uniform(self.settings.seed, Purpose.OWN_TASTE, self.numbers(users)[:, None], items)
            z += family.own * _UNIT_SPREAD * (drawn - 0.5)
        if family.fresh:
            z += family.fresh * 2.0 ** (-np.maximum(day - goods.born_day[items], 0) / _FRESH_DAYS)
        return z

    def _interest(self, day: int, users: Users) -> NDArray[np.float32]:
        """[a, topics] share of interest in each on `day`: it moves from the first mixture to the last."""
        gone = np.float32(min(1.0, day / self.settings.total_days))
        interest: NDArray[np.float32] = (1 - gone) * self.people.taste_first[users]
        interest += gone * self.people.taste_last[users]
        return interest


def make_nature(settings: SimulationSettings, first_user: int = 0) -> Nature:
    """The nature of `settings`, the same for the same seed; `first_user` draws other users of the same world."""
    goods = catalogues.make_catalogue(settings)
    people = peoples.make_people(settings, goods, first_user)
    return Nature(settings, FAMILIES[settings.family], goods, people, first_user)


def sigmoid(z: Floats) -> Floats:
    """The probability of log-odds."""
    return 1.0 / (1.0 + np.exp(-z))
