"""A log of users as they are in shops, and its random splits as moments: what the statistics of tests are tried on.

Few users come often and most come rarely (lognormal), tastes differ (Beta), and a session has a mood of its own (beta-
binomial clicks): so sessions and impressions of one user resemble each other. Expectations are known exactly.
`experiment_statistics.py` draws and splits; nothing here knows a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tea_tasting.aggr import Aggregates

ACTIVITY_SIGMA: Final = 1.0
"""Of the logarithm: the busiest hundredth has a sixth of all sessions."""
SESSIONS: Final = 3.0
"""More than the first, of a user of median activity."""
IMPRESSIONS: Final = 20
"""Of a session."""
TASTE: Final = (1.0, 9.0)
"""Beta of a user's click rate: a tenth on average."""
MOOD: Final = 5.0
"""Of a session's own click rate around the user's; the smaller, the more clicks come in bursts."""
KNOWN_SHARE: Final = 0.85
"""Of users whose retention is known already."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UserSums:
    """One row a user, [users] each; of a session-level test the sum of squares over sessions, too."""

    clicks: Floats
    sessions: Floats
    clicks_before: Floats
    sessions_before: Floats
    retained: Floats
    known: NDArray[np.bool_]
    squares: Floats

    def column(self, name: str) -> Floats:
        """[users]"""
        found: Floats = getattr(self, name)
        return found


def draw_users(users: int, rng: np.random.Generator, lift: NDArray[np.float64] | float = 0.0) -> UserSums:
    """A log. `lift`: of the click rate, of everybody or [users]."""
    activity = rng.lognormal(0.0, ACTIVITY_SIGMA, users)
    taste = rng.beta(*TASTE, users)
    sessions = 1 + rng.poisson(SESSIONS * activity)
    before = 1 + rng.poisson(SESSIONS * activity)
    clicks, squares = _clicks(sessions, np.minimum(taste * (1 + lift), 1 - 1e-9), rng)
    clicks_before, _ = _clicks(before, taste, rng)
    retained = rng.random(users) < activity / (activity + 2)
    known = rng.random(users) < KNOWN_SHARE
    columns = (clicks, sessions, clicks_before, before, retained)
    return UserSums(*(column.astype(np.float64) for column in columns), known=known, squares=squares)


def expected_clicks() -> float:
    """Of a user without a lift, over all logs."""
    sessions = 1 + SESSIONS * np.exp(ACTIVITY_SIGMA**2 / 2)
    return float(sessions * IMPRESSIONS * TASTE[0] / sum(TASTE))


def _clicks(sessions: NDArray[np.int64], taste: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """[users] clicks, and their squares summed over sessions."""
    rates = np.repeat(taste, sessions)
    of_session = rng.binomial(IMPRESSIONS, rng.beta(MOOD * rates, MOOD * (1 - rates))).astype(np.float64)
    starts = np.concatenate([[0], np.cumsum(sessions)[:-1]])
    return np.add.reduceat(of_session, starts), np.add.reduceat(of_session**2, starts)


def splits(number: int, users: int, rng: np.random.Generator, block: int = 500) -> Iterator[Floats]:
    """Blocks of splits into halves, [block, users] of 0 and 1: each user alone, as a hash decides."""
    for start in range(0, number, block):
        yield rng.integers(0, 2, (min(block, number - start), users)).astype(np.float64)


def moments_of_splits(log: UserSums, names: Sequence[str], split: Floats) -> list[tuple[Aggregates, Aggregates]]:
    """[splits] moments of the control (0) and the arm (1), by one matrix product for all of them.

    Users whose retention is not known are left out where `retained` is among the names.
    """
    used = log.known[: split.shape[1]] if "retained" in names else np.ones(split.shape[1], np.bool_)
    split = split[:, used]
    values = np.column_stack([log.column(name)[: len(used)][used] for name in names])
    centre = values.mean(axis=0)
    values = values - centre  # squares of numbers near zero lose nothing
    pairs = [(first, second) for first in range(len(names)) for second in range(first, len(names))]
    products = np.column_stack([values[:, first] * values[:, second] for first, second in pairs])
    terms = np.column_stack([np.ones(len(values)), values, products])
    arm = split @ terms
    control = terms.sum(axis=0) - arm
    return [
        (_aggregates(names, pairs, centre, one), _aggregates(names, pairs, centre, other))
        for one, other in zip(control, arm, strict=True)
    ]


def _aggregates(names: Sequence[str], pairs: list[tuple[int, int]], centre: Floats, sums: Floats) -> Aggregates:
    count = round(float(sums[0]))
    means = sums[1 : len(names) + 1] / count
    products = sums[len(names) + 1 :]
    second = {
        (names[a], names[b]): float((product - count * means[a] * means[b]) / (count - 1))
        for (a, b), product in zip(pairs, products, strict=True)
    }
    return Aggregates(
        count_=count,
        mean_={name: float(mean + middle) for name, mean, middle in zip(names, means, centre, strict=True)},
        var_={first: value for (first, other), value in second.items() if first == other},
        cov_={both: value for both, value in second.items() if both[0] != both[1]},
    )
