"""One dial, and every number that follows from the data, each with its reason where it stands.

`effort` only buys more passes; everything else is derived from what the data is (ordered or not, how large the
catalogue, how many events) by the rules below, so that no data set has settings of its own. `fit.py` calls it once
and reports every number. What was tried and lost is in `docs/experiment_log.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from contracts.interactions import Interactions
from contracts.profile import HISTORY_LIMIT
from training_job.settings import Effort

DIMENSIONS: Final = 64
"""Of both models, so that they share an index field size; 128 bought 1 to 3 % recall for 1.6 times the time."""
USERS_PER_BATCH: Final = 256
"""Few enough for fresh gradients, enough that a batch's own items are a sample of the head of the catalogue."""
NEGATIVES: Final = 4096
"""Uniform negatives that a batch shares: the tail that in-batch negatives never show. Exact correction for both."""
FULL_SOFTMAX_ITEMS: Final = 2 * NEGATIVES
"""Below it sampling would draw about as many candidates as there are items, so all of them compete, exactly."""
_EFFORT: Final = {Effort.QUICK: 1 / 3, Effort.STANDARD: 1.0, Effort.BEST: 3.0}
ROUNDS: Final = 16
"""Evaluations on the tuning slice: early enough to stop, rare enough to cost a few percent."""

WARM_PASSES: Final = 0.25
"""Passes of a warm start over those of a cold one."""
WARM_RATE: Final = 0.5
"""And its rate: it must place new items without losing where the old ones are."""


@dataclass(frozen=True)
class Recipe:
    """Numbers of one training."""

    ordered: bool
    """Examples are moments (next items) or sets (masked)."""
    epochs: int
    negatives: int
    """0: the whole catalogue competes."""
    temperature: float
    table_rate: float
    """Learning rate of the embedding rows."""
    hidden: int
    """Units of the residual layer."""
    dimensions: int = DIMENSIONS
    positions: int = HISTORY_LIMIT
    """A profile keeps no more."""
    window: int = 2
    """Next new items that a moment must predict, each counting half of the one before."""
    kept: float = 0.4
    """Part of a set that is shown as history (dropout .6)."""
    norm_power: float = 0.15
    """Item length = popularity ^ this: the model need not spend directions on popularity."""
    id_dropout: float = 0.1
    """Chance that an item with content is shown without its id part in a step (decision 4)."""
    users_per_batch: int = USERS_PER_BATCH
    dense_rate: float = 0.003
    """Learning rate of the small dense arrays, which every step touches."""
    rounds: int = ROUNDS

    def continued(self) -> Recipe:
        """The recipe of a warm start: a day's events are a small part of what the vectors already know."""
        return replace(self, epochs=max(1, round(self.epochs * WARM_PASSES)), table_rate=self.table_rate * WARM_RATE)


def derive_recipe(ordered: bool, interactions: Interactions, effort: Effort) -> Recipe:
    """The numbers for this data. `interactions` are the training events."""
    sampled = interactions.n_items > FULL_SOFTMAX_ITEMS
    passes = 60 if ordered else 16
    return Recipe(
        ordered=ordered,
        epochs=max(1, round(passes * _EFFORT[effort])),
        negatives=NEGATIVES if sampled else 0,
        temperature=0.14,
        table_rate=0.06 if sampled else 0.01,
        hidden=256 if ordered else 0,
    )
