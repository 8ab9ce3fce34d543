"""Whether as many users came to each arm as the split says: if not, something lost or added users of one arm.

A mismatch makes every effect of the test worthless, however small its interval, because whoever is missing is not
missing at random. The report asks here before it says anything, the simulation shows it beside its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scipy.stats import chisquare

from contracts.errors import ExposuresInvalid

ALARM: Final = 0.001
"""Below this p-value the split is called broken: a test in a thousand is called so by chance (GrowthBook's default)."""


def sample_ratio(counts: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """p-value of Pearson's chi-square test of users by arm against the weights of the split (Fabijan et al., KDD 2019).

    Weights need not sum to one; an arm of a positive weight that is not in `counts` has no users. Raises
    ExposuresInvalid where an arm with users has no weight, or fewer than two arms have one.
    """
    expected = {arm: weight for arm, weight in weights.items() if weight > 0}
    strange = sorted(arm for arm, users in counts.items() if users and arm not in expected)
    if strange or len(expected) < 2:
        found = f"of arms without a weight: {', '.join(map(repr, strange))}" if strange else "of a split into one arm"
        raise ExposuresInvalid(f"there are users {found}.", fix="Give the weight of every arm, as a=.5,b=.5.")
    users = [counts.get(arm, 0) for arm in expected]
    if not sum(users):
        return 1.0
    share = sum(users) / sum(expected.values())
    return float(chisquare(users, [weight * share for weight in expected.values()]).pvalue)


def equal_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """The split that is meant where nobody says another."""
    return dict.fromkeys(counts, 1 / max(len(counts), 1))
