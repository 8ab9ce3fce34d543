"""The models of the quality table, each trained alone: the towers, the tuned ALS beside them, and popularity.

All learn from the same events: training keeps its validation slice back, so the rivals do without it, too, and what
they need chosen is chosen on the tuning half of that slice, never on what is judged. Called in a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.quality_process import costing, tell
from benchmarks.quality_rows import Cost
from contracts.fitted import FittedModel, Rows
from contracts.interactions import Interactions
from data_sources.indexed import IndexedDataset
from evaluation.rankers import popularity_order
from training_job.als import FittedAls
from training_job.backtest import tune_als
from training_job.baselines import choose_half_life
from training_job.fit import fit
from training_job.loop import silent
from training_job.popularity import Decay
from training_job.settings import TrainingSettings
from training_job.validation import Validation, hold_out, tuning_users


@dataclass(frozen=True)
class Popularity:
    """What is popular, at the half-life that the slice chose."""

    train: Interactions
    half_life_days: float | None

    def order(self, events: Interactions | None = None) -> Rows:
        """Items [m], the most popular of `events` first (None: of what was trained on)."""
        events = self.train if events is None else events
        return popularity_order(Decay.of(events, self.half_life_days).totals(events))


def train_towers(
    indexed: IndexedDataset, train: Interactions, settings: TrainingSettings, warm_start: FittedModel | None = None
) -> tuple[FittedModel, Cost]:
    """A release, whole: its ALS, popularity and content are in the seconds, as a nightly job pays for them."""
    tell("training the towers")
    return costing(lambda: fit(indexed, train, settings, warm_start=warm_start).model)


def train_als(indexed: IndexedDataset, train: Interactions, settings: TrainingSettings) -> tuple[FittedAls, Cost]:
    """The best ALS of the backtest's grid; the seconds are those of the whole grid."""
    tell("tuning ALS")
    return costing(lambda: tune_als(_slice(indexed, train, settings), settings, silent)[0])


def train_popularity(
    indexed: IndexedDataset, train: Interactions, settings: TrainingSettings
) -> tuple[Popularity, Cost]:
    """Popularity, faded as the slice says."""
    tell("choosing the half-life of popularity")

    def chosen() -> Popularity:
        validation = _slice(indexed, train, settings)
        users = tuning_users(validation.tuning, np.random.default_rng(settings.seed))
        half_life, _ = choose_half_life(indexed.schema, validation, users)
        return Popularity(validation.train, half_life)

    return costing(chosen)


def _slice(indexed: IndexedDataset, train: Interactions, settings: TrainingSettings) -> Validation:
    return hold_out(train, indexed.schema, indexed.user_ids, settings.seed)
