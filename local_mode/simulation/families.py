"""The families of worlds: what moves a click, and how much, in log-odds of a look.

    taste        what a user likes decides
    movielens    the same, with the activity, item popularity and spread of tastes that ML-1M has (`calibration`)
    popularity   everybody has the same taste: one order of the items is best for all, and it never moves
    noise        clicks do not depend on items: every policy is as good

`nature` and `world` read a family; they hold no coefficient that differs between families.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from local_mode.simulation import calibration


@dataclass(frozen=True, kw_only=True)
class Family:
    """Coefficients of the log-odds that a look becomes a click, and the spread of the users."""

    base: float
    eager: float = 0.4
    """Spread over users of how readily they click on anything."""
    quality: float = 0.0
    """Weight of what everybody sees in an item, which has a spread of one."""
    taste: float = 0.0
    """Most that the item's topic can add; it saturates with the user's share of interest in it."""
    together: float = 0.0
    """What two topics of one item add where the user cares for both: neither alone does it."""
    price: float = 0.0
    """Lost by the square of the log distance to the price that suits the user."""
    own: float = 0.0
    """Spread of a liking that belongs to one user and one item and that nothing tells."""
    fresh: float = 0.0
    """Added to an item on the day of its birth; it fades."""
    tire_item: float = 0.0
    """Lost by an item that was looked at on the day before; it recovers."""
    tire_category: float = 0.0
    """Lost for each slate's worth of the category in recent memory."""
    drifts: bool = False
    """Whether tastes move from a first mixture of interests to a last one."""
    mixture: float = 0.5
    """Dirichlet parameter of a user's interests: below one, a few dominate."""
    come_base: float = -1.1
    """Mean log-odds to come on a day: about a quarter."""
    come_spread: float = 0.9
    new_quality: float | None = None
    """Quality of every new item, where it isn't drawn as that of the others."""


_TASTE: Final = Family(
    base=-2.4,
    quality=0.6,
    taste=2.6,
    together=1.2,
    price=0.25,
    own=0.5,
    fresh=0.5,
    tire_item=1.0,
    tire_category=0.12,
    drifts=True,
)

FAMILIES: Final[dict[str, Family]] = {
    "taste": _TASTE,
    "movielens": replace(
        _TASTE,
        base=calibration.BASE,
        eager=calibration.EAGER,
        quality=calibration.QUALITY,
        taste=calibration.TASTE,
        mixture=calibration.MIXTURE,
        come_spread=calibration.COME_SPREAD,
    ),
    "popularity": Family(base=-2.0, quality=1.0, new_quality=-1.0),
    "noise": Family(base=-1.6),
}
