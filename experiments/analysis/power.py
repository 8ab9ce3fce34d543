"""How small an effect a test would have found, and how many users it takes to find a smaller one.

tea-tasting solves both from the control's moments. The report calls it; whoever plans a test reads its figures of the
last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Final

import polars as pl
from tea_tasting.aggr import Aggregates

from experiments.analysis.effects import LEVEL, Metric, comparable, moments, welch_test, with_usable_covariate

POWER: Final = 0.8
"""Chance that the effect in question would be found: the convention of the field (Kohavi, Tang and Xu, 2020)."""
ASKED_LIFTS: Final = (0.01, 0.02, 0.05, 0.1)
"""Lifts for which the needed users are told."""


@dataclass(frozen=True)
class Power:
    """Of one metric and one arm against the control, two-sided. NaN where nothing can be computed."""

    metric: str
    arm: str
    users: int
    """Of both arms."""
    detectable: float
    """Smallest absolute effect that would be found with a chance of POWER."""
    detectable_lift: float
    """The same as a share of the control's value."""
    users_needed: dict[str, int]
    """Lift, as "2%" → users of both arms together to find it with that chance."""
    days_needed: dict[str, float]
    """The same in days, at the rate at which users of these arms came; more than the test ran: it was too short."""


def power(
    users: pl.DataFrame, metric: Metric, arms: tuple[str, str], *, comparisons: int = 1, days: float = nan
) -> Power:
    """What a test of `arms` (arm, control) can find at 5 % over all `comparisons` with the control together.

    `users` as for `effects`, with their `variation_id`. `days`: how long users have been coming. Shared out evenly, the
    5 % are the strictest step of Holm's, so that no more is promised than is held.
    """
    usable = with_usable_covariate(metric, users)
    of_arms = moments(users, usable, "variation_id")
    treated, control = (of_arms.get(name, Aggregates(count_=0)) for name in arms)
    total = int(treated.count() + control.count())
    if not comparable(usable, control, treated) or not control.ratio_var(metric.of, metric.per) > 0:
        return Power(metric.name, arms[0], total, nan, nan, {}, {})
    settings = {
        "power": POWER,
        "alpha": (1 - LEVEL) / comparisons,
        "ratio": treated.count() / control.count(),
        "use_t": False,
    }
    found = welch_test(usable, **settings, n_obs=total).solve_power_from_aggregates(control, "effect_size")[0]
    users_needed = {}
    if found.rel_effect_size > 0:  # of a value that is not above zero no lift can be told
        planned = welch_test(usable, **settings, rel_effect_size=ASKED_LIFTS)
        solved = planned.solve_power_from_aggregates(control, "n_obs")
        users_needed = {f"{one.rel_effect_size:.0%}": int(one.n_obs) for one in solved}
    return Power(
        metric=metric.name,
        arm=arms[0],
        users=total,
        detectable=float(found.effect_size),
        detectable_lift=float(found.rel_effect_size) if users_needed else nan,
        users_needed=users_needed,
        days_needed={lift: round(needed / total * days, 1) for lift, needed in users_needed.items()},
    )
