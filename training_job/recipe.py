"""One dial, and every number that follows from the data, each with its reason where it stands.

`effort` only buys more passes; everything else is derived from what the data is (ordered or not, timed or not, how
large the catalogue, how many events) by the rules below, so that no data set has settings of its own. What no rule
could tell, the temperature of sets and whether long training helps at all, short runs settle (`short_runs.py`).
`fit.py` calls it once and reports every number. What was tried and lost is in `docs/experiment_log.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from contracts.interactions import Interactions
from contracts.profile import HISTORY_LIMIT
from contracts.schema import DatasetSchema
from training_job.batches import Horizon, MaskedSets, Newcomers, NextItems, Sampler
from training_job.settings import Effort

DIMENSIONS: Final = 64
"""Of both models, so that they share an index field size; 128 bought 1 to 3 % recall for 1.6 times the time."""
NEGATIVES: Final = 4096
"""Uniform negatives that a batch shares: the tail that in-batch negatives never show. Exact correction for both."""
FULL_SOFTMAX_ITEMS: Final = 2 * NEGATIVES
"""Up to here sampling would draw about as many candidates as there are items, so all of them compete, exactly."""
SAMPLED_RATE: Final = 0.06
"""A sampled row is touched every tenth step and lazy momentum does not carry it between, so its steps are longer."""
WINDOW_RATE: Final = 0.02
"""The same for moments: three times as much found a ninth less on the generated world."""
FULL_RATE: Final = 0.005
"""Rate of a row that moves at every step."""
SETS_PER_BATCH: Final = 256
"""7,000 positives of an average Gowalla batch; half as many took a quarter longer for the same recall."""
WINDOWS_PER_BATCH: Final = 32
"""A thousand moments, and small steps: as many as a user's whole past would be in a batch of its own."""
RESIDUAL_UNITS: Final = 256
"""What comes next is no average of the past: without the layer next-item recall fell by a sixth."""
HEADS: Final = 2
"""Of the attention over a history: one for what was just now, one for what was long ago."""
CROWD: Final = 512
"""Of a catalogue of sets. Folding in gained 3 % recall and 4 % NDCG on Gowalla for a tenth of the time."""
DROPPED: Final = 0.1
"""As usual for attention over item histories."""

NEXT_ITEM: Final = Horizon(window=1, fading=0.5, gap_power=0.0, asked=32)
"""Where only the order is known, the question is what comes next, at any moment."""
NEXT_VISIT: Final = Horizon(window=1, fading=0.5, gap_power=0.5, asked=16)
"""Where time is known, it is what comes after a pause: a request does not come a second after the last click of a
burst. Asking for the next twenty, or five, found 7 and 2 % less at a global cut; twice the moments no more."""

NEWCOMERS: Final = Newcomers(share=1.0, known=12, targets=20, weight=0.5)
"""Histories are long in the log and short when it matters most. Trained on moments alone, the towers find less than
popularity for users of whom nothing is known, and less than ALS for those held out whole of whom ten items are. A
quarter of this weight costs that, and gains one percent of the next items."""

TEMPERATURE: Final = 0.12
"""On validation, against .14: +2 % recall on Gowalla and on next items of MovieLens."""
WARM_TEMPERATURE: Final = 0.2
"""Of sets, where a short run of it finds more than one of TEMPERATURE. On a sparse world (10 events a user, 7 an item)
it found 3 % more than ALS, TEMPERATURE 11 % less, for a cool softmax learns the log by heart; Gowalla loses 12 %."""
VISIT_TEMPERATURE: Final = 0.14
"""A tie with .12 on validation at time cuts (two seeds of two sets): kept as its horizon was tuned with it."""

SET_PASSES: Final = 48
"""Passes over sets of items: three times as many as where Gowalla's curve seems flat, for it falls with the rate."""
SET_EVENTS: Final = 40_000_000
"""Events shown in all passes; bounds a large data set to about three minutes of two cores."""
MOMENT_PASSES: Final = 0.125
"""Passes for each moment of an average history, of which a pass asks at most 32; a long one is more than one lesson."""
WINDOW_PASSES: Final = (16, 40)
"""Bounds of the passes over users that follow from it."""
WINDOWS: Final = 200_000
"""Windows shown in all passes; bounds a large data set to about four minutes of two cores."""
FEWEST_PASSES: Final = 2
"""However large the data: with fewer, rare items have not moved."""
SHORT: Final = 1 / 8
"""Passes of a short run over those at standard effort. Moments have none: the slice looks at users as they were before
it, which two passes may teach as well as forty, and who is told of every event then found a sixth less."""
FEWEST_SHORT_PASSES: Final = 2
"""Below, a short run says nothing: data that gets so few passes is too large to be learned by heart."""
_EFFORT: Final = {Effort.QUICK: 1 / 3, Effort.STANDARD: 1.0, Effort.BEST: 3.0}
ROUNDS: Final = 16
"""Looks at the tuning slice: early enough to stop, rare enough to cost a few percent."""
WARM_PASSES: Final = 0.25
"""Passes of a warm start over those of a cold one."""
WARM_RATE: Final = 0.5
"""And its rate: it must place new items without losing where the old ones are."""


@dataclass(frozen=True)
class Recipe:
    """Numbers of one training."""

    ordered: bool
    """Examples are moments (a past and what came after it) or sets (a part and the whole)."""
    horizon: Horizon
    """Which future a moment asks for."""
    newcomers: Newcomers
    """Short histories that are shown beside the moments."""
    epochs: int
    short_epochs: int
    """Of a short run; 0: there is none."""
    negatives: int
    """0: the whole catalogue competes."""
    table_rate: float
    """Learning rate of the embedding rows."""
    hidden: int
    """Units of the residual layer."""
    heads: int
    """That look at a history."""
    crowd: int
    """Vectors that stand for the catalogue when a set is folded in."""
    dropped: float
    """Part of what they see and say that is left out while training."""
    users_per_batch: int
    temperature: float
    """Of the softmax."""
    dimensions: int = DIMENSIONS
    positions: int = HISTORY_LIMIT
    """A profile keeps no more."""
    norm_power: float = 0.15
    """Item length = popularity ^ this: the model need not spend directions on popularity."""
    kept: float = 0.5
    """Part of a set that is shown as history; +1 % recall over .4 on Gowalla's validation."""
    id_dropout: float = 0.1
    """Chance that an item with content is shown without its id part in a step (decision 4)."""
    dense_rate: float = 0.003
    """Learning rate of the small dense arrays, which every step touches."""
    rounds: int = ROUNDS

    def sampler(self, events: Interactions) -> Sampler:
        """What draws the examples from some events."""
        if self.ordered:
            return NextItems(events, self.positions, self.horizon, self.users_per_batch, self.newcomers)
        return MaskedSets(events, self.positions, self.kept, self.users_per_batch)

    def continued(self, temperature: float) -> Recipe:
        """The recipe of a warm start, at the temperature of what it goes on from: a day's events are a small part of
        what the vectors already know.
        """
        epochs, rate = max(1, round(self.epochs * WARM_PASSES)), self.table_rate * WARM_RATE
        return replace(self, epochs=epochs, short_epochs=0, table_rate=rate, temperature=temperature)

    def shortened(self) -> Recipe:
        """The recipe of a short run, which is looked at once."""
        return replace(self, epochs=self.short_epochs, rounds=1)

    def contenders(self) -> tuple[Recipe, ...]:
        """This recipe, and what else may win its short runs."""
        return self, replace(self, temperature=WARM_TEMPERATURE)


def derive_recipe(schema: DatasetSchema, train: Interactions, effort: Effort, *, order_matters: bool = True) -> Recipe:
    """The numbers for this data. `train` are the events that are trained on; where their order says nothing
    (`order.py`), they are trained on as if they had none.
    """
    ordered = schema.ordered and order_matters
    sampled = np.count_nonzero(train.item_counts()) > FULL_SOFTMAX_ITEMS
    passes = _passes(ordered, train)
    epochs, short = max(1, round(passes * _EFFORT[effort])), 0 if ordered else round(passes * SHORT)
    return Recipe(
        ordered=ordered,
        horizon=NEXT_VISIT if schema.timed else NEXT_ITEM,
        newcomers=NEWCOMERS,
        epochs=epochs,
        short_epochs=short if FEWEST_SHORT_PASSES <= short <= epochs / 2 else 0,
        negatives=NEGATIVES if sampled else 0,
        table_rate=(WINDOW_RATE if ordered else SAMPLED_RATE) if sampled else FULL_RATE,
        hidden=RESIDUAL_UNITS if ordered else 0,
        heads=HEADS if ordered else 0,
        crowd=0 if ordered else CROWD,
        dropped=DROPPED if ordered else 0.0,
        users_per_batch=WINDOWS_PER_BATCH if ordered else SETS_PER_BATCH,
        temperature=VISIT_TEMPERATURE if ordered and schema.timed else TEMPERATURE,
    )


def _passes(ordered: bool, train: Interactions) -> float:
    """Passes over the users at standard effort."""
    users = max(int(np.count_nonzero(train.lengths)), 1)
    if not ordered:
        return max(FEWEST_PASSES, min(SET_PASSES, SET_EVENTS / max(len(train), 1)))
    wanted = float(np.clip(MOMENT_PASSES * len(train) / users, *WINDOW_PASSES))
    return max(FEWEST_PASSES, min(wanted, WINDOWS / users))
