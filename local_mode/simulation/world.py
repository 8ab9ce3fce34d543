"""One line of the world: what its users remember of what they were shown, and what they do because of it.

A visit: a user looks from the first place down to some place, clicks on what is wanted, tires of what was seen, and is
content or not with the clicks per look against what they are used to. Content users come back more, by the dose alpha;
users whose temper is spent pause or leave. With alpha 0 nothing that is shown moves coming back.

Sources of the ideas, none of their code: satisfaction that moves returning and a temper that is used up are those of
KuaiSim (Zhao et al. 2023, "KuaiSim: A Comprehensive Simulator for Recommender Systems", its leave and return models);
looking from the top down to a place is the examination hypothesis (Craswell et al. 2008, "An experimental comparison of
click position-bias models"). Memory is bounded: the last visits of a user and one number for each category.
"""

from __future__ import annotations

import copy
from typing import Final

import numpy as np
from numpy.typing import NDArray

from local_mode.simulation.chance import Purpose, uniform
from local_mode.simulation.nature import Floats, Items, Nature, Users, sigmoid

_REMEMBERED: Final = 5
"""Visits whose items are remembered one by one."""
_ITEM_RECOVERS: Final = 0.8
_CATEGORY_RECOVERS: Final = 0.75
"""What is left of tiredness after a day."""
_CLICKED: Final = 2.0
"""A clicked item tires as much as two more looks: what one has, one does not need again."""
_MOVES: Final = 0.2
"""Weight of a visit in satisfaction: the last five visits are most of it."""
_SLACK: Final = 0.05
"""Added to an expectation that is divided by, so that somebody who expects nothing isn't infinitely content."""
_MOST_CONTENT: Final = 3.0
"""Of one visit; the least is -1, no click at all."""
_TEMPER: Final = 3.0
"""What discontent uses up: at alpha 1 and a satisfaction of -0.8 in six visits, at -0.4 in thirty; content mends it."""
_TOLERATED: Final = 0.3
"""Discontent that uses up nothing: luck alone moves satisfaction about so far."""
_PAUSES: Final = 0.7
"""Share of those whose temper is spent that come back after a pause; the others have left."""
_PAUSE_DAYS: Final = (3, 18)
_AWAY_WEEK: Final = 0.05
"""Share of weeks in which a user is elsewhere, whatever was shown."""
_FOR_GOOD: Final = np.iinfo(np.int32).max


class World:
    """The state of all users in one line of the world. Users and items are the numbers of `nature`."""

    def __init__(self, nature: Nature, alpha: float | None = None) -> None:
        """Begin before day 0; `alpha` takes the place of the settings' own."""
        self.nature = nature
        self.alpha = nature.settings.alpha if alpha is None else alpha
        n, places = len(nature.people), nature.settings.places
        self.satisfaction = np.zeros(n)
        """[users] moving average of (clicks per look - expectation) / expectation."""
        self._temper = np.full(n, _TEMPER)
        self._back_on = np.zeros(n, np.int32)
        self._visits = np.zeros(n, np.int32)
        self._seen = np.full((n, _REMEMBERED, places), -1, np.int32)
        self._clicked = np.zeros((n, _REMEMBERED, places), np.bool_)
        self._seen_on = np.zeros((n, _REMEMBERED), np.int32)
        self._tired = np.zeros((n, nature.catalogue.n_categories), np.float32)
        self._tired_on = np.zeros(n, np.int32)

    def copy(self) -> World:
        """Another line that begins here: what happens in one does not touch the other."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(twin, name, value.copy())
        return twin

    def arrivals(self, day: int) -> Users:
        """[a] the users who come on `day`, ascending."""
        people, seed = self.nature.people, self.nature.settings.seed
        there = (people.joined_day <= day) & (day < people.gone_day) & (self._back_on <= day)
        users = np.flatnonzero(there)
        numbers = self.nature.numbers(users)
        wish = (people.come + people.rhythm(day))[users] + self.alpha * self.satisfaction[users]
        comes = uniform(seed, Purpose.COME, numbers, day) < sigmoid(wish)
        return users[comes & (uniform(seed, Purpose.AWAY_WEEK, numbers, day // 7) >= _AWAY_WEEK)]

    def click_probability(self, day: int, users: Users, items: Items) -> Floats:
        """[a] that a look of each user at its item on `day` becomes a click, by what the user remembers now."""
        return self._click_probability(day, users, np.asarray(items)[:, None])[:, 0]

    def respond(self, day: int, users: Users, slates: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[a, places] what each of `users` [a], each once, clicks of `slates` [a, places] (-1: no item there).

        The answer depends on the user's own past in this line and on chance that knows neither line nor policy.
        """
        looked = self._looked(day, users) & (slates >= 0)
        items = np.maximum(slates, 0)
        numbers, place = self.nature.numbers(users)[:, None], np.arange(slates.shape[1])
        drawn = uniform(self.nature.settings.seed, Purpose.CLICK, numbers, day, place)
        clicks: NDArray[np.bool_] = looked & (drawn < self._click_probability(day, users, items))
        self._tire(day, users, np.where(looked, slates, -1), clicks)
        self._judge(day, users, looked.sum(axis=1), clicks.sum(axis=1))
        return clicks

    def _looked(self, day: int, users: Users) -> NDArray[np.bool_]:
        """[a, places] one draw of patience decides how far down a visitor looks."""
        patience = uniform(self.nature.settings.seed, Purpose.LOOK, self.nature.numbers(users), day)
        looked: NDArray[np.bool_] = patience[:, None] < self.nature.examination
        return looked

    def _click_probability(self, day: int, users: Users, items: Items) -> Floats:
        family, z = self.nature.family, self.nature.wanting(day, users, items)
        if family.tire_item:
            z -= family.tire_item * self._item_tiredness(day, users, items)
        if family.tire_category:
            left = _CATEGORY_RECOVERS ** (day - self._tired_on[users])
            category = self.nature.catalogue.item_category[items]
            z -= family.tire_category * self._tired[users[:, None], category] * left[:, None]
        return sigmoid(z)

    def _item_tiredness(self, day: int, users: Users, items: Items) -> Floats:
        """[a, k] looks at each item in the remembered visits, clicked ones counting more, older ones less."""
        seen, clicked = self._seen[users], self._clicked[users]
        left = _ITEM_RECOVERS ** (day - self._seen_on[users] - 1.0)
        same = items.astype(np.int32)[:, :, None] == seen.reshape(len(users), 1, -1)
        found = np.flatnonzero(same)  # few of them: what is met again is rare in a catalogue
        item, memory = np.divmod(found, same.shape[2])
        user, (visit, place) = item // items.shape[1], np.divmod(memory, seen.shape[2])
        weight = (1 + _CLICKED * clicked[user, visit, place]) * left[user, visit]
        total: Floats = np.bincount(item, weight, minlength=items.size).astype(
            np.float64
        )  # integers where none is found
        return total.reshape(items.shape)

    def _tire(self, day: int, users: Users, seen: NDArray[np.int32], clicks: NDArray[np.bool_]) -> None:
        visit = self._visits[users] % _REMEMBERED
        self._seen[users, visit], self._clicked[users, visit], self._seen_on[users, visit] = seen, clicks, day
        self._visits[users] += 1
        tired = self._tired[users] * (_CATEGORY_RECOVERS ** (day - self._tired_on[users]))[:, None]
        categories = self.nature.catalogue.item_category[np.maximum(seen, 0)]
        for place in range(seen.shape[1]):
            tired[np.arange(len(users)), categories[:, place]] += (seen[:, place] >= 0) / seen.shape[1]
        self._tired[users], self._tired_on[users] = tired, day

    def _judge(self, day: int, users: Users, looks: NDArray[np.int64], clicks: NDArray[np.int64]) -> None:
        """Satisfaction, temper, and what a spent temper does. Without a look there is nothing to judge."""
        users, looks, clicks = users[looks > 0], looks[looks > 0], clicks[looks > 0]
        expected = self.nature.expectation[users]
        gain = np.clip((clicks / looks - expected) / (expected + _SLACK), -1.0, _MOST_CONTENT)
        self.satisfaction[users] += _MOVES * (gain - self.satisfaction[users])
        content = self.satisfaction[users] + _TOLERATED
        temper = np.minimum(_TEMPER, self._temper[users] + self.alpha * content)
        spent = users[temper <= 0]
        self._temper[users] = np.where(temper <= 0, _TEMPER, temper)
        self._back_on[spent] = self._returns(day, spent)

    def _returns(self, day: int, users: Users) -> NDArray[np.int64]:
        """[s] the day on which those who leave are back."""
        seed, numbers = self.nature.settings.seed, self.nature.numbers(users)
        shortest, longest = _PAUSE_DAYS
        pause = shortest + uniform(seed, Purpose.PAUSE, numbers, day) * (longest - shortest)
        pauses = uniform(seed, Purpose.LEAVE, numbers, day) < _PAUSES
        return np.where(pauses, day + pause.astype(np.int64), _FOR_GOOD)
