"""Which of two models users prefer, from slates into which both drafted their items in turns (team draft).

A click is credited to the team whose item it was. Everybody sees both models in the same slate at the same time, so
that what makes users differ cancels within each, and a difference shows with a fraction of the users of an A/B test
(Radlinski, Kurup and Joachims, CIKM 2008; Chapelle et al., "Large-scale validation and analysis of interleaved search
evaluation", TOIS 2012). What is counted is users, never impressions. It says which is preferred, not how much either
earns alone. `reranking/interleave.py` drafts; `slates.places_of` makes the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from contracts.errors import ExposuresInvalid, SupportTooThin

Floats = NDArray[np.float64]

LEAST_USERS: Final = 30
"""Users with a credited click; below, means of so few small counts are not near normal."""

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Preference:
    """How users took to the second team (1) beside the first (0); intervals are of 95 %."""

    users: int
    """Who clicked an item of either team at least once; nobody else has a preference."""
    preferring_first: int
    preferring_second: int
    ties: int
    share: float
    """Of those users who prefer the second, a tie counting half; 0.5: neither is preferred."""
    share_low: float
    share_high: float
    sign_p: float
    """Exact sign test of users that prefer either: what a verdict goes by."""
    difference: float
    """Mean over those users of (clicks of the second - clicks of the first)."""
    low: float
    high: float
    difference_p: float
    """t test of that mean against 0; few users with many clicks move it more than the sign test."""


def preference(users: NDArray[Any], teams: NDArray[Any], clicks: Floats) -> Preference:
    """From places of interleaved slates: `users` [n], `teams` [n] (0, 1, or -1: neither's), `clicks` [n] 0 or 1.

    Raises SupportTooThin where fewer than LEAST_USERS clicked a drafted item, ExposuresInvalid for other teams.
    """
    if not np.isin(teams, (-1, 0, 1)).all():
        raise ExposuresInvalid("A team is 0, 1 or -1.", fix="Keep the places of slates that were interleaved.")
    first, second = _clicks_by_user(users, teams, clicks)
    if len(first) < LEAST_USERS:
        raise SupportTooThin(
            f"{len(first)} users clicked an item of either team (at least {LEAST_USERS} are needed).",
            fix="Interleave for longer, or for more users.",
        )
    return _preference(second - first)


def _clicks_by_user(users: NDArray[Any], teams: NDArray[Any], clicks: Floats) -> tuple[Floats, Floats]:
    """Credited clicks of the first and of the second team, of users [u] who have any."""
    known, index = np.unique(users, return_inverse=True)
    first, second = (_summed(index, np.where(teams == team, clicks, 0.0), len(known)) for team in (0, 1))
    has_any = first + second > 0
    return first[has_any], second[has_any]


def _summed(index: NDArray[np.intp], values: Floats, users: int) -> Floats:
    return np.bincount(index, weights=values, minlength=users).astype(np.float64, copy=False)


def _preference(gaps: Floats) -> Preference:
    """Of users' differences [u], second minus first."""
    n, second, first = len(gaps), int((gaps > 0).sum()), int((gaps < 0).sum())
    share, share_low, share_high, _ = _mean((np.sign(gaps) + 1) / 2, 0.5)
    difference, low, high, difference_p = _mean(gaps, 0.0)
    return Preference(
        users=n,
        preferring_first=first,
        preferring_second=second,
        ties=n - first - second,
        share=share,
        share_low=max(0.0, share_low),
        share_high=min(1.0, share_high),
        sign_p=float(stats.binomtest(second, first + second, 0.5).pvalue) if first + second else 1.0,
        difference=difference,
        low=low,
        high=high,
        difference_p=difference_p,
    )


def _mean(values: Floats, expected: float) -> tuple[float, float, float, float]:
    """Mean, its interval by t, and the p-value of it being as expected; values that are all alike have no width."""
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    freedom = len(values) - 1
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    if error == 0:
        return mean, mean, mean, 1.0 if mean == expected else 0.0
    p_value = 2 * float(stats.t.sf(abs(mean - expected) / error, freedom))
    return mean, mean - reach, mean + reach, p_value
