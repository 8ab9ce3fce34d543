"""The settings of a simulated world. `nature` makes a world of them; `simulate` and the benchmarks choose them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from contracts.errors import NotEnoughData
from local_mode.simulation.families import FAMILIES

START: Final = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
"""Day 0 is a Monday, fixed, so that a seed gives the same world on every day."""


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What a world is made of. Days 0 to `warm_days` - 1 are the warm-up, then come `days` of experiment."""

    family: str = "taste"
    users: int = 1_000
    items: int = 500
    """Those there are on day 0; `new_items_per_day` come on top."""
    warm_days: int = 21
    days: int = 36
    """Days 28 to 34 after a first exposure on the first two days of the experiment lie within it."""
    alpha: float = 1.0
    """How much satisfaction moves coming back: an assumption, 0 is the control."""
    seed: int = 7
    epsilon: float = 0.3
    """Share of the warm-up's places that are chosen evenly among all items, the others by popularity: what a log can
    teach depends on it. A propensity is never below it over the number of items."""
    places: int = 10
    retrain_days: int = 7
    new_items_per_day: float = 5.0
    """One per cent of the catalogue."""
    start: int = START
    """Unix seconds of day 0, a midnight (UTC)."""

    def __post_init__(self) -> None:
        """Raise NotEnoughData for settings that make no world."""
        if self.family not in FAMILIES:
            raise NotEnoughData(f"{self.family!r} is no family of worlds.", fix=f"Use one of {', '.join(FAMILIES)}.")
        if min(self.users, self.places, self.days, self.retrain_days) < 1 or self.items < self.places:
            raise NotEnoughData(
                f"{self.users} users, {self.items} items, {self.places} places and {self.days} days make no world.",
                fix="Give each at least 1, and at least as many items as places.",
            )
        if not 0 <= self.epsilon <= 1:
            raise NotEnoughData(f"epsilon is {self.epsilon}, and no share.", fix="Give 0 to 1.")
        if self.warm_days < 0 or not 0 <= self.new_items_per_day < float("inf") or not self.alpha >= 0:
            raise NotEnoughData(
                "warm_days, new_items_per_day and alpha cannot be negative.", fix="Give each at least 0."
            )

    @property
    def total_days(self) -> int:
        """Days of the warm-up and of the experiment."""
        return self.warm_days + self.days
