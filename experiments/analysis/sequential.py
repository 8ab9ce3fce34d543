"""An interval that may be looked at every day: it covers the truth at all looks together, not at one planned moment.

tea-tasting has none, so this is the one formula here that no library brings. `effects.py` calls it.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Final

PLANNED_USERS: Final = 5_000
"""Number of users of both arms at which the interval is narrowest (GrowthBook's default). It may be any number, but one
that was chosen before anybody looked: chosen after the data, the interval promises nothing."""


def sequential_half_width(
    standard_error: float, users: int, planned_users: int = PLANNED_USERS, level: float = 0.95
) -> float:
    """Half the width of an asymptotic confidence sequence around a difference of two arms, at any number of looks.

    `standard_error` is that of the difference, `users` the number in both arms. Waudby-Smith, Arbour, Sinha, Kennedy
    and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences" (Annals of Statistics 2024,
    arXiv 2103.06476v7), eq. 9, with the ρ of eq. 161. It gives what SequentialTwoSidedTTest of gbstats 0.8.0 gives.
    """
    miss = 1 - level
    rho_squared = _rho_squared(planned_users)
    grown = users * rho_squared + 1
    variance_of_one = standard_error**2 * users
    return sqrt(variance_of_one * 2 * grown * log(sqrt(grown) / miss) / (users**2 * rho_squared))


def sequential_p_value(estimate: float, standard_error: float, users: int, planned_users: int = PLANNED_USERS) -> float:
    """p-value that holds at every look (eq. 155): below 5 % exactly where the 95 % interval leaves out zero."""
    rho_squared = _rho_squared(planned_users)
    grown = users * rho_squared + 1
    evidence = rho_squared * users * (estimate / standard_error) ** 2 / (2 * grown)
    return min(1.0, sqrt(grown) * exp(-evidence))


def _rho_squared(planned_users: int) -> float:
    """Of the mixing normal: the interval of 95 % is narrowest at `planned_users`, of other levels nearly."""
    miss = 0.05
    return (-2 * log(miss) + log(-2 * log(miss) + 1)) / planned_users
