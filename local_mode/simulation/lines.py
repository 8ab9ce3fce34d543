"""A line of the world: users who come and click, the profiles that serving has of them, and slates by somebody's arm.

    arrivals ─▶ slates of each arm's users ─▶ clicks ─▶ profiles            a day

The warm-up is served by the logging policy, the experiment by releases. Lines of the same nature and dose are the same
until they are served otherwise, so a twin begins anew instead of being carried over. It writes nothing: `runs.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from local_mode.simulation import fixed_policies, logging_policy
from local_mode.simulation.arms import ARMS, NOBODY, ORACLE
from local_mode.simulation.exposing import DAY_SECONDS, Day, session_id, visit_events
from local_mode.simulation.nature import Nature
from local_mode.simulation.profiles import KeptProfiles
from local_mode.simulation.shop import NO_ITEM, Shop
from local_mode.simulation.world import World

_NOON: Final = DAY_SECONDS // 2
"""The moment of a day's slates: a batch has one, and at noon nobody is still in yesterday's visit."""


class Line:
    """One line, from day 0 on."""

    def __init__(self, nature: Nature) -> None:
        self.nature = nature
        self.world = World(nature)
        self._profiles = KeptProfiles(nature.user_ids, nature.users_table())
        self._clicks = np.zeros(len(nature.item_ids), np.int64)

    def warm_up(self) -> Iterator[Day]:
        """The days before the experiment."""
        for day in range(self.nature.settings.warm_days):
            users = self.world.arrivals(day)
            slates, _ = logging_policy.slates(self.nature, day, users, self._clicks)
            yield self._lived(day, users, slates)

    def serve(self, day: int, release: str, shop: Shop, arm_of: NDArray[np.int8], arms: Sequence[str]) -> Day:
        """A day of the experiment; `arm_of` [users] are places in `arms`."""
        users = self.world.arrivals(day)
        now_seconds = self.nature.settings.start + day * DAY_SECONDS + _NOON
        counter = shop.open(release, day, self._clicks, now_seconds)
        slates = np.full((len(users), self.nature.settings.places), NO_ITEM, np.int32)
        routes, models = np.full((2, len(users)), "", object)
        for place, arm in enumerate(arms):
            here = np.flatnonzero(arm_of[users] == place)
            if arm == ORACLE:
                slates[here] = fixed_policies.personal(self.nature, day, users[here])
                routes[here], models[here] = ORACLE, ORACLE
                continue
            ids = [self.nature.user_ids[user] for user in users[here].tolist()]
            served = counter.slates(ids, [self._profiles.of(user) for user in users[here].tolist()], ARMS[arm])
            slates[here], routes[here], models[here] = served.items, served.routes, served.models
        return self._lived(day, users, slates, arm_of[users], (routes.tolist(), models.tolist()), release)

    def _lived(
        self,
        day: int,
        users: NDArray[np.int64],
        slates: NDArray[np.int32],
        arms: NDArray[np.int8] | None = None,
        why: tuple[Sequence[str], Sequence[str]] = ((), ()),
        release: str = "",
    ) -> Day:
        """What came of a day's slates, after everybody remembers it."""
        clicks = self.world.respond(day, users, slates)
        mine = np.full(len(users), NOBODY, np.int8) if arms is None else arms
        lived = Day(day, users, slates, clicks, mine, *why, release)
        for user, events in zip(users.tolist(), visit_events(self.nature, lived), strict=True):
            if events:
                self._profiles.add(user, events, session_id(self.nature, user, day), events[-1].timestamp or 0)
        self._clicks += np.bincount(slates[clicks], minlength=len(self._clicks))
        return lived
