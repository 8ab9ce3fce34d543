"""What three policies that nobody was served would have got in the random places of a log, beside the truth.

    softly            an item of the pool with a chance of 1 / its rank by ALS
    its first         the item of the pool that ALS ranks first, always
    of everything     the item of the whole catalogue that ALS ranks first, which the log rarely shows: to be refused

Each is estimated by inverse propensities, self-normalised and doubly robust, from the log alone; the truth comes from
the world that made the clicks. `simulate.py` calls it after a run, `benchmarks/off_policy.py` many times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.errors import SupportTooThin
from contracts.treatment import RANDOM_POOL
from experiments.analysis.off_policy import LoggedPlaces, PolicyValue, doubly_robust, ips, snips
from experiments.analysis.outcome_model import cross_fitted
from local_mode.simulation.nature import make_nature
from local_mode.simulation.nights import Kept
from local_mode.simulation.random_log import LoggingLine, RandomLog
from local_mode.simulation.results import OffPolicy
from local_mode.simulation.settings import SimulationSettings
from retrieval.opened import open_model

LOGGED_DAYS: Final = 14
"""A thousand users leave some 17,000 random places in two weeks, with about 700 clicks."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """A policy for the random places of a log. r places, p items a pool."""

    name: str
    choices: Floats
    """[r, p] the probability of each item of the pool."""
    outside: Floats
    """[r] the probability of items that are not in it."""
    truth: float
    """Clicks a place."""


def off_policy_panel(settings: SimulationSettings, kept: Kept) -> list[OffPolicy]:
    """Each policy by each estimator, from a line that the first release of an experiment serves.

    Raises what opening a release raises.
    """
    return estimates_of(random_log(settings, kept))


def random_log(settings: SimulationSettings, kept: Kept, first_user: int = 0) -> RandomLog:
    """The log of LOGGED_DAYS days, or as many as the settings have, after a warm-up.

    `first_user`: of another population of the same world, whom the release has never seen.
    """
    line, release = LoggingLine(make_nature(settings, first_user)), kept.before(settings.warm_days)
    for _ in line.warm_up():
        pass  # profiles and satisfaction remember it
    first = settings.warm_days
    model = open_model(kept.releases.open(release))
    return line.log(range(first, first + min(LOGGED_DAYS, settings.days)), model, release)


def estimates_of(log: RandomLog) -> list[OffPolicy]:
    """What the log says about each target, and why not where it says too little."""
    return [
        _estimated(target, name, estimate)
        for target in targets_of(log)
        for name, estimate in _estimators(log, target).items()
    ]


def targets_of(log: RandomLog) -> list[Target]:
    """The three policies."""
    ranks = _ranks(log)
    softly = np.where(log.free, 1.0 / (1 + ranks), 0.0)
    softly /= softly.sum(axis=1, keepdims=True)
    first = np.where(log.free & (ranks == 0), 1.0, 0.0)
    favourite = (np.arange(RANDOM_POOL) == log.favourite_at[:, None]).astype(np.float64)
    nothing, outside = np.zeros(len(log.users)), (log.favourite_at < 0).astype(np.float64)
    return [
        Target("ALS softly, of the pool", softly, nothing, _truth(softly, log)),
        Target("ALS's first of the pool", first, nothing, _truth(first, log)),
        Target("ALS's first of everything", favourite, outside, float(log.favourite.mean())),
    ]


def _truth(choices: Floats, log: RandomLog) -> float:
    return float((choices * log.chance).sum(axis=1).mean())


def _ranks(log: RandomLog) -> NDArray[np.int64]:
    """[r, p] of each item of the pool by ALS, 0 the best of those that are free; ties in the order of the pool."""
    order = np.argsort(-np.where(log.free, log.scores, -np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None, :].repeat(len(order), axis=0), axis=1)
    return ranks


def _estimators(log: RandomLog, target: Target) -> Mapping[str, Callable[[], PolicyValue]]:
    rows = np.arange(len(log.users))
    places = LoggedPlaces(
        rewards=log.clicked,
        propensities=log.propensities,
        targets=target.choices[rows, log.logged],
        users=log.users,
        outside=target.outside,
    )

    def by_both() -> PolicyValue:
        features = _features(log)
        return doubly_robust(
            places, cross_fitted(features[rows, log.logged], features, target.choices, log.clicked, log.users)
        )

    return {"ips": lambda: ips(places), "snips": lambda: snips(places), "dr": by_both}


def _features(log: RandomLog) -> Floats:
    """[r, p, 4] of each item of a pool at that place: what somebody who runs a shop would know of it."""
    place = np.repeat(log.place[:, None], RANDOM_POOL, axis=1)
    return np.stack([place, log.popularity, log.scores, 1.0 / (1 + _ranks(log))], axis=-1)


def _estimated(target: Target, name: str, estimate: Callable[[], PolicyValue]) -> OffPolicy:
    try:
        value = estimate()
    except SupportTooThin as refused:
        return OffPolicy(
            arm=target.name,
            estimator=name,
            estimate=None,
            low=None,
            high=None,
            truth=target.truth,
            refused=refused.message,
        )
    return OffPolicy(
        arm=target.name, estimator=name, estimate=value.estimate, low=value.low, high=value.high, truth=target.truth
    )
