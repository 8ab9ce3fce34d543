"""Random places: the last places of a slate, drawn from the candidates that come next, with known probabilities.

    kept   the places before them, as they were chosen
    pool   the next RANDOM_POOL candidates in the order in which they would be chosen, as far as the cap lets them
    drawn  without replacement, each of what is left as likely: 1 / pool, 1 / (pool - 1), …

What such places show could have been shown by any arm that ranks the pool otherwise; the estimates of
`experiments/analysis/off_policy.py` rest on it. A promoted item that a promise needs keeps its place. `rerank.py` calls
it after the slate was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.chance import RANDOM_KEY, Seed, several
from contracts.treatment import RANDOM_POOL
from reranking.diversity import Diversity, Floats, Positions, repeats

_FEWEST: Final = 2
"""Candidates of a pool: one alone is no chance."""


@dataclass(frozen=True)
class Chosen:
    """Candidates with their places. k places."""

    positions: Positions
    """[k]"""
    values: Floats
    """[k] what each scored when it was chosen."""
    propensities: Floats | None = None
    """[k] of each at its place; None: nothing was drawn."""
    drawn: NDArray[np.bool_] | None = None
    """[k] which were; None: nothing was."""


@dataclass(frozen=True)
class Line:
    """Candidates in line for a slate. c candidates, and t rows behind them that have places of their own."""

    scores: Floats
    """[c] falling."""
    there: Positions
    """[t] positions of the rows behind the candidates that count for the cap."""


def with_random_places(chosen: Chosen, diversity: Diversity, line: Line, free: NDArray[np.bool_], seed: Seed) -> Chosen:
    """The chosen with other candidates in the places that are `free` [k].

    As it was where fewer than two candidates are in the pool, or fewer than there are free places.
    """
    kept, n = chosen.positions[~free], int(np.count_nonzero(free))
    others = np.setdiff1d(np.arange(len(line.scores)), kept, assume_unique=True)
    before = np.concatenate([kept, line.there])
    pool, values = diversity.choose(line.scores, others, RANDOM_POOL, before)
    if diversity.cap:
        again = repeats(diversity.categories[np.concatenate([before, pool])])[len(before) :]
        pool, values = pool[again < diversity.cap], values[again < diversity.cap]
    if not n or len(pool) < max(_FEWEST, n):
        return chosen
    picked = _picked(len(pool), several(seed, RANDOM_KEY, n))
    places = np.flatnonzero(free)
    positions, all_values = chosen.positions.copy(), chosen.values.copy()
    positions[places], all_values[places] = pool[picked], values[picked]
    propensities = np.ones(len(free), np.float32)
    propensities[places] = 1 / (len(pool) - np.arange(n))
    return Chosen(positions, all_values, propensities, free)


def free_places(promoted: NDArray[np.bool_] | None, places: int, quota: int, n: int) -> NDArray[np.bool_]:
    """Which of the last n of so many places may be drawn anew [places]: where `promoted` [places] items are that the
    quota needs, they stay."""
    last = np.arange(places) >= places - n
    if promoted is None:
        return last
    spare = max(0, int(np.count_nonzero(promoted)) - quota)
    from_the_end = np.cumsum((promoted & last)[::-1])[::-1]
    return last & (~promoted | (from_the_end <= spare))


def _picked(n: int, chances: NDArray[np.float64]) -> Positions:
    """Numbers below n, each once, by one number in (0, 1] each."""
    left = list(range(n))
    return np.array([left.pop(min(int(chance * len(left)), len(left) - 1)) for chance in chances.tolist()], np.intp)
