"""Rules of one slate, and the promise of promoted places.

Caps live in the diversity methods, because a cap is a fact of choosing one after the other; here is what the caller
may ask of a slate, and how at least a share of it comes to match a promotion. Rerank applies both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.deadline import Deadline
from reranking.diversity import Diversity, Floats, Positions


@dataclass(frozen=True)
class SlateRules:
    """What one slate must be."""

    places: int
    """Items wanted."""
    shown: NDArray[np.int32] | None = None
    """Rows just seen in this session: their categories (for MMR, their vectors) count as already shown, once each."""
    promoted: NDArray[np.bool_] | None = None
    """[n] rows that a promotion is about."""
    promoted_share: float = 0.0
    """Least share of the slate that must be promoted rows, as far as there are any."""
    barred: NDArray[np.bool_] | None = None
    """[n] rows that must not be served whatever retrieval found, such as what was hidden since."""
    explain: bool = False
    """Fill the parts of `Ranked`."""
    deadline: Deadline | None = None

    @property
    def promoted_places(self) -> int:
        """Places that must be promoted: 25 % of 10 are 3, since fewer would be less than a quarter."""
        return 0 if self.promoted is None else math.ceil(self.promoted_share * self.places - 1e-9)


def choose_with_promotion(
    diversity: Diversity, scores: Floats, places: int, promoted: NDArray[np.bool_], quota: int
) -> tuple[Positions, Floats]:
    """Choose `places` of the candidates so that at least `quota` are `promoted` [c], as far as there are as many.

    Where the free choice already has enough, it stands. Else the promoted places are chosen first among the promoted
    and the rest of the slate among all others, with those counted as being there; what scored best then comes first.
    """
    everything, nothing = np.arange(len(scores)), np.empty(0, np.intp)
    free, values = diversity.choose(scores, everything, places, nothing)
    if np.count_nonzero(promoted[free]) >= quota:
        return free, values
    first, first_values = diversity.choose(scores, np.flatnonzero(promoted), min(quota, places), nothing)
    others = np.setdiff1d(everything, first, assume_unique=True)
    rest, rest_values = diversity.choose(scores, others, places - len(first), first)
    chosen, values = np.concatenate([first, rest]), np.concatenate([first_values, rest_values])
    order = np.argsort(-values, kind="stable")
    return chosen[order], values[order]
