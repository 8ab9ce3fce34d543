"""What a study found, and whether it is worth having.

The best of twenty trials that are no better than the default looks better by two standard errors, so a gain has to be
larger than such luck is. It knows numbers, no Optuna and no towers; `search.py` fills it, and tuned.json is its JSON.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

FALSE_ALARMS: Final = 0.05
"""Studies of trials that are no better than the default of which one is recommended. By one standard error, most."""


class Gain(msgspec.Struct, frozen=True):
    """NDCG@20 of the tuning users over that of the default, paired by user."""

    mean: float
    standard_error: float

    @staticmethod
    def of(values: NDArray[np.float64], default: NDArray[np.float64]) -> Gain:
        """From scores of the same users [n], at least two."""
        difference = values - default
        return Gain(float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference))))

    def exceeds(self, errors: float) -> bool:
        return self.mean > errors * self.standard_error


class Tried(msgspec.Struct, frozen=True):
    """A trial that was trained to its end."""

    number: int
    """In order of trying; 1 is the default."""
    changes: dict[str, int | float]
    ndcg: float
    gain: Gain
    seconds: float


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """All of a study."""

    changes: dict[str, int | float]
    """Recommended: those of the best trial, or none where it does not beat the default."""
    effort: str
    """That was tuned at; the best rates and passes of another budget may be others."""
    seed: int
    slice: str
    """sha256 of the slice, as a training reports it."""
    users: int
    """Whose NDCG@20 decided."""
    derived: dict[str, int | float]
    """What is in place of a change that is not made."""
    default_ndcg: float
    errors_needed: float
    """Standard errors that a gain had to exceed."""
    pruned: int
    """Trials that were stopped early, or diverged."""
    trials: tuple[Tried, ...]
    """Trained to their end, the best first."""


def errors_needed(tried: int, users: int) -> float:
    """Standard errors over so many users that the best of `tried` trials of nothing reaches with FALSE_ALARMS: the
    quantile of Student's t, divided among the trials (Bonferroni).
    """
    return float(t.ppf(1 - FALSE_ALARMS / max(tried, 1), users - 1))


def recommended(trials: tuple[Tried, ...], errors: float) -> dict[str, int | float]:
    """Changes of the best trial that beats the default by more than `errors`, else none."""
    beating = [trial for trial in trials if trial.gain.exceeds(errors)]
    return max(beating, key=lambda trial: trial.ndcg).changes if beating else {}
