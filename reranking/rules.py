"""Rules of one slate, the promise of promoted places, and what of the explored may take the last ones.

Caps live in the diversity methods, because a cap is a fact of choosing one after the other; here is what the caller
may ask of a slate, how at least a share of it comes to match a promotion, and how exploring gives way to both. Rerank
applies them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Ranked
from contracts.chance import NO_SEED, Seed
from contracts.deadline import Deadline
from contracts.fitted import Rows
from reranking.diversity import Diversity, Floats, Positions, repeats

NOTHING: Final[Positions] = np.empty(0, np.intp)


@dataclass(frozen=True)
class SlateRules:
    """What one slate must be."""

    places: int
    """Items wanted."""
    promoted: NDArray[np.bool_] | None = None
    """[n] rows that a promotion is about."""
    promoted_share: float = 0.0
    """Least share of the slate that must be promoted rows, as far as there are any."""
    barred: NDArray[np.bool_] | None = None
    """[n] rows that must not be served whatever retrieval found, such as what was hidden since."""
    explain: bool = False
    """Fill the parts of `Ranked`."""
    deadline: Deadline | None = None
    random_places: int = 0
    """Places before those that are explored that are drawn from the next candidates."""
    drafted: Ranked | None = None
    """Slate of another model under the same rules, to be drafted into this one place by place."""
    seed: Seed = NO_SEED
    """What chance decides is decided by it."""

    @property
    def promoted_places(self) -> int:
        """Places that must be promoted: 25 % of 10 are 3, since fewer would be less than a quarter."""
        return 0 if self.promoted is None else math.ceil(self.promoted_share * self.places - 1e-9)


def choose_with_promotion(
    diversity: Diversity,
    scores: Floats,
    places: int,
    promoted: NDArray[np.bool_],
    quota: int,
    there: Positions = NOTHING,
) -> tuple[Positions, Floats]:
    """Choose `places` of the candidates so that at least `quota` are `promoted` [c], as far as there are as many.

    `there`: positions behind the candidates that have places of their own, for the cap.

    Where the free choice already has enough, it stands. Else the promoted places are chosen first among the promoted
    and the rest of the slate among all others, with those counted as being there; what scored best then comes first.
    """
    everything = np.arange(len(scores))
    free, values = diversity.choose(scores, everything, places, there)
    if np.count_nonzero(promoted[free]) >= quota:
        return free, values
    first, first_values = diversity.choose(scores, np.flatnonzero(promoted), min(quota, places), there)
    others = np.setdiff1d(everything, first, assume_unique=True)
    rest, rest_values = diversity.choose(scores, others, places - len(first), np.concatenate([first, there]))
    chosen, values = np.concatenate([first, rest]), np.concatenate([first_values, rest_values])
    order = np.argsort(-values, kind="stable")
    return chosen[order], values[order]


def explored_kept(explored: Rows, categories: Rows, rules: SlateRules, cap: int) -> Positions:
    """Which of the rows to explore [x] get a place: what is not barred and leaves the cap and the promoted their due.

    `categories` [n] of all rows. Positions among the x, in their order.
    """
    kept = np.arange(len(explored))
    if rules.barred is not None:
        kept = kept[~rules.barred[explored]]
    if cap:
        kept = kept[repeats(categories[explored[kept]]) < cap]
    if rules.promoted is not None and rules.promoted_places:
        promised = rules.promoted[explored[kept]]
        kept = kept[promised | (np.cumsum(~promised) <= rules.places - rules.promoted_places)]
    return kept[: rules.places]
