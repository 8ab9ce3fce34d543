"""The length of an item vector: how popular the item is now, as far as the tuning slice says that it matters.

Towers are trained with lengths from all-time popularity. What people take next week often follows what they took last
week, so after training the lengths are chosen again: decayed popularity ^ power, from a small grid, by NDCG on the
tuning half of the slice; where no choice gains more than its standard error they stay as trained.
A history is pooled over length-free directions (`pool_weight` undoes the length), so no query vector changes. Only
where events have times; `fit.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.fitted import HOT_EVENTS
from contracts.interactions import Interactions
from retrieval.hot_postings import hot_by_popularity
from training_job.popularity import HALF_LIVES_DAYS, Decay
from training_job.step import Stepper

POWERS: Final = (0.15, 0.3, 0.6, 1.0, 1.5)
"""From the power of training up to where a list is nearly the list of what is popular now."""
PRIOR_EVENTS: Final = 0.1
"""Recent events that every item has, in units of the mean: an item that nobody took lately is not lost at once."""
COLD_FLOORS: Final = (0.5, 0.25, 0.1)
"""Quantiles of the hot items' lengths that a cold item may be given, so that its content can win it a place."""
FLOOR_COST: Final = 0.01
"""Part of the NDCG that reaching cold items may cost."""
SHORTEST, LONGEST = 0.02, 50.0
"""Bounds of a length; an index over inner products finds less the more lengths differ."""


@dataclass(frozen=True)
class Lengths:
    """A choice, and what it was worth."""

    half_life_days: float | None
    """None: all-time popularity."""
    power: float
    cold_floor: float
    """Quantile of the hot items' lengths that cold items are given at least; 0: none."""
    score: float
    """Tuning NDCG@20."""
    trained_score: float
    """Of the lengths of training."""


Score = Callable[[torch.Tensor], NDArray[np.float64]]
"""Factors [n] on the trained lengths → tuning NDCG of each user."""


def choose_lengths(events: Interactions, stepper: Stepper, score: Score) -> Lengths | None:
    """Set the item lengths of `stepper` by the grid, and the floor of cold items; None without users to choose by."""
    trained = score(torch.ones_like(stepper.norms))
    if len(trained) < 2:
        return None
    best: tuple[float | None, float] = (None, stepper.recipe.norm_power)
    best_norms, best_values, surest = stepper.norms, trained, 0.0
    for choice, lengths in _grid(events):
        candidate = torch.from_numpy(lengths).to(stepper.norms)
        values = score(candidate / stepper.norms)
        surest = max(surest, _sure_gain(values - trained))
        if values.mean() > best_values.mean():
            best, best_norms, best_values = choice, candidate, values
    if surest <= 0:  # no candidate gains more than noise, so what is recent does not matter here
        best, best_norms, best_values = (None, stepper.recipe.norm_power), stepper.norms, trained
    floor, norms, kept_score = _with_floor(events, stepper, score, best_norms, float(best_values.mean()))
    stepper.norms = norms
    cold = norms[~_hot(events, norms)]  # the floor lifts these alone: some hot item may now be shorter
    stepper.cold_norm = float((cold if len(cold) else norms).min())
    return Lengths(*best, floor, kept_score, float(trained.mean()))


def _sure_gain(gain: NDArray[np.float64]) -> float:
    """Mean gain of users [n] less its standard error: what is left of it after an ordinary share of bad luck.

    Asked of every candidate: that of the largest mean is often the wildest, whose error would hide a calm one's gain.
    """
    return float(gain.mean() - gain.std(ddof=1) / np.sqrt(len(gain)))


def _with_floor(
    events: Interactions, stepper: Stepper, score: Score, norms: torch.Tensor, best: float
) -> tuple[float, torch.Tensor, float]:
    """The highest floor under cold items that costs next to nothing: quantile, lengths, tuning NDCG."""
    hot = _hot(events, norms)
    for quantile in COLD_FLOORS if bool(hot.any()) else ():
        floor = torch.quantile(norms[hot], quantile)
        raised = torch.where(hot, norms, norms.clamp_min(float(floor)))
        value = float(score(raised / stepper.norms).mean())
        if value >= best * (1 - FLOOR_COST):
            return quantile, raised, value
    return 0.0, norms, best


def _hot(events: Interactions, norms: torch.Tensor) -> torch.Tensor:
    """Which items [n] have events enough not to need a floor."""
    hot = np.zeros(events.n_items, np.bool_)
    hot[hot_by_popularity(events.item_counts(), HOT_EVENTS)] = True
    return torch.from_numpy(hot).to(norms.device)


def _grid(events: Interactions) -> Iterator[tuple[tuple[float | None, float], NDArray[np.float32]]]:
    for half_life in (None, *HALF_LIVES_DAYS):
        recent = Decay.of(events, half_life).totals(events)
        for power in POWERS:
            yield (half_life, power), recent_lengths(recent, power)


def recent_lengths(recent: NDArray[np.float64], power: float) -> NDArray[np.float32]:
    """(decayed events [n] + prior, over their mean) ^ power, clipped [n]."""
    mean = max(recent.mean(), 1e-12)
    relative = (recent / mean + PRIOR_EVENTS) / (1 + PRIOR_EVENTS)
    lengths: NDArray[np.float32] = np.clip(relative**power, SHORTEST, LONGEST).astype(np.float32)
    return lengths
