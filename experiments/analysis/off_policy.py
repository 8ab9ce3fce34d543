"""What an arm that was not served would have earned, from the places of slates that chance filled.

A randomised place says what happened to an item that had a known probability of being there; weighting it by how much
likelier another policy would have put it there gives that policy's value (Horvitz and Thompson, 1952). Three
estimators: inverse propensities (IPS), self-normalised (SNIPS; Swaminathan and Joachims, NIPS 2015), and doubly robust
(DR; Dudík, Langford and Li, ICML 2011), which adds what a model of outcomes expects and is right where either
propensities or model are. Users, not places, are independent: every interval is of sums over users. Where the log says
too little about the target, nothing is estimated: SupportTooThin says why.

It takes arrays and knows neither files (`slates.py`) nor how policies choose. `outcome_model.py` makes the predictions
that DR asks for. The simulator and whoever has a log of slates call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from contracts.errors import ExposuresInvalid, SupportTooThin

Floats = NDArray[np.float64]

LEAST_EFFECTIVE_USERS: Final = 100
"""Of Kish's effective size over users: with fewer, sums of such skewed weights are not yet near normal."""

LEAST_EFFECTIVE_REWARDED: Final = 30
"""Users that the weighted rewards effectively come from: a rate that rests on fewer has no symmetric interval (of 600
synthetic logs each, it covered the truth in 92 to 94 of 100 at 25 such users, in 94 to 95 from 35 on)."""

MOST_OUTSIDE: Final = 0.05
"""Share of the target's choices that the log never makes: a rate can be wrong by that much, whatever the interval."""

LARGEST_SHARE: Final = 0.05
"""Of all weight in one user: above it one person is the estimate."""

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class LoggedPlaces:
    """Places that chance filled. n places."""

    rewards: Floats
    """[n] what came of the item, e.g. 1 for a click."""
    propensities: Floats
    """[n] probability with which it was put there, in (0, 1)."""
    targets: Floats
    """[n] probability with which the policy in question would have put the same item there, in [0, 1]."""
    users: NDArray[Any]
    """[n]"""
    outside: Floats | None = None
    """[n] the target's probability of items that could not have been logged there; None: unknown, and what the mean
    weight leaves of 1 stands for it."""


@dataclass(frozen=True)
class Predicted:
    """What a model of outcomes expects, made without the user's own outcomes. n places."""

    logged: Floats
    """[n] of the item that was put there."""
    target: Floats
    """[n] of the item that the target would put there: the mean over its probabilities."""


@dataclass(frozen=True)
class Support:
    """How much a log says about a target."""

    users: int
    effective_users: float
    """(Σ W)² / Σ W² of the users' sums of weights (Kish, 1965)."""
    effective_rewarded: float
    """The same of weighted rewards."""
    largest_share: float
    """Of all weight in one user."""
    outside: float
    """Share of the target's choices that the log does not make."""


@dataclass(frozen=True)
class PolicyValue:
    """Mean reward a randomised place under the target, with a 95 % interval over users."""

    estimator: str
    estimate: float
    low: float
    high: float
    places: int
    support: Support


@dataclass(frozen=True)
class _Sums:
    """Places summed by user; `of` sums another column [n] → [users]."""

    weights: Floats
    """[n]"""
    users: int
    index: NDArray[np.intp]
    """[n] number of each place's user."""

    def of(self, column: Floats) -> Floats:
        return np.bincount(self.index, weights=column, minlength=self.users).astype(np.float64, copy=False)


def ips(places: LoggedPlaces) -> PolicyValue:
    """Mean of weighted rewards: unbiased, and as noisy as the weights are."""
    sums = _sums(places)
    return _value("ips", places, sums, places.rewards * sums.weights, np.ones(len(sums.weights)))


def snips(places: LoggedPlaces) -> PolicyValue:
    """Weighted mean of rewards: a bias that vanishes with n, and unmoved by a constant in the rewards."""
    sums = _sums(places)
    return _value("snips", places, sums, places.rewards * sums.weights, sums.weights)


def doubly_robust(places: LoggedPlaces, predicted: Predicted) -> PolicyValue:
    """The model's expectation of the target, corrected by the weighted errors that it made on what was logged."""
    sums = _sums(places)
    _finite(logged=predicted.logged, target=predicted.target, length=len(places.rewards))
    corrected = predicted.target + sums.weights * (places.rewards - predicted.logged)
    return _value("dr", places, sums, corrected, np.ones(len(sums.weights)))


def support_of(places: LoggedPlaces) -> Support:
    """How much the log says about the target, whether or not that is enough. Raises SupportTooThin for no places."""
    return _support(places, _sums(places))


def _value(name: str, places: LoggedPlaces, sums: _Sums, numerator: Floats, denominator: Floats) -> PolicyValue:
    """Σ numerator / Σ denominator over users, by the delta method on the users' sums."""
    support = _support(places, sums)
    _refuse_thin(support)
    estimate, error = _ratio(sums.of(numerator), sums.of(denominator))
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, sums.users - 1))
    return PolicyValue(name, estimate, estimate - reach, estimate + reach, len(places.rewards), support)


def _ratio(above: Floats, below: Floats) -> tuple[float, float]:
    """Ratio of two sums over users [u] with its standard error: the influence of a user is (above - ratio · below)."""
    ratio = float(above.sum() / below.sum())
    influence = (above - ratio * below) / below.mean()
    return ratio, float(influence.std(ddof=1) / np.sqrt(len(above)))


def _support(places: LoggedPlaces, sums: _Sums) -> Support:
    weights = sums.of(sums.weights)
    return Support(
        users=sums.users,
        effective_users=_effective(weights),
        effective_rewarded=_effective(sums.of(np.abs(places.rewards) * sums.weights)),
        largest_share=float(weights.max() / weights.sum()) if weights.any() else 1.0,
        outside=_outside(places, sums, weights),
    )


def _effective(weights: Floats) -> float:
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _outside(places: LoggedPlaces, sums: _Sums, weights: Floats) -> float:
    """As told, or what the mean weight leaves of 1 even at the upper end of its interval: its expectation is the
    target's probability of what could be logged."""
    if places.outside is not None:
        return float(places.outside.mean())
    if sums.users < 2:
        return 0.0
    mean, error = _ratio(weights, sums.of(np.ones(len(sums.weights))))
    return max(0.0, 1.0 - mean - error * float(stats.t.ppf((1 + CONFIDENCE) / 2, sums.users - 1)))


def _refuse_thin(support: Support) -> None:
    """Raise SupportTooThin for the first reason there is."""
    for failed, found in _REASONS:
        if failed(support):
            raise SupportTooThin(
                f"The log says too little about this policy: {found(support)}.",
                fix="Log with more random places or for longer, or ask about a policy nearer to the one that served.",
            )


_REASONS: Final[tuple[tuple[Callable[[Support], bool], Callable[[Support], str]], ...]] = (
    (
        lambda of: of.outside > MOST_OUTSIDE,
        lambda of: f"{of.outside:.1%} of its choices were never made (at most {MOST_OUTSIDE:.0%} may be)",
    ),
    (
        lambda of: of.effective_users < LEAST_EFFECTIVE_USERS,
        lambda of: (
            f"{of.users} users count like {of.effective_users:.0f} (at least {LEAST_EFFECTIVE_USERS} are needed)"
        ),
    ),
    (
        lambda of: of.largest_share > LARGEST_SHARE,
        lambda of: f"one user has {of.largest_share:.1%} of all weight (at most {LARGEST_SHARE:.0%} may be)",
    ),
    (
        lambda of: of.effective_rewarded < LEAST_EFFECTIVE_REWARDED,
        lambda of: (
            f"its rewards come from {of.effective_rewarded:.0f} users, counted by weight "
            f"(at least {LEAST_EFFECTIVE_REWARDED} are needed)"
        ),
    ),
)


def _sums(places: LoggedPlaces) -> _Sums:
    """Weights and users of checked places."""
    n = len(places.rewards)
    if n == 0:
        raise SupportTooThin(
            "No place of these slates was filled by chance.", fix="Serve a variant with `random_places` and log slates."
        )
    _finite(rewards=places.rewards, propensities=places.propensities, targets=places.targets, length=n)
    if len(places.users) != n:
        raise ExposuresInvalid(f"{n} places have {len(places.users)} users.", fix="Give each place its user.")
    _within("propensities", places.propensities, (places.propensities > 0) & (places.propensities < 1))
    _within("target probabilities", places.targets, (places.targets >= 0) & (places.targets <= 1))
    known, index = np.unique(places.users, return_inverse=True)
    return _Sums(places.targets / places.propensities, len(known), index)


def _finite(*, length: int, **columns: Floats) -> None:
    for name, column in columns.items():
        if len(column) != length or not np.isfinite(column).all():
            raise ExposuresInvalid(
                f"{name}: {length} finite numbers are needed, one a place.", fix="Leave out places without one."
            )


def _within(name: str, column: Floats, fine: NDArray[np.bool_]) -> None:
    if not fine.all():
        raise ExposuresInvalid(
            f"{name}: {column[~fine][0]} is no probability of a place that chance filled.",
            fix="Keep the places whose propensity is above 0 and below 1.",
        )
