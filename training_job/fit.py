"""Events → FittedModel: the whole of training in reading order.

Hold out the slice, fit the vocabularies, ALS, popularity and TF-IDF, train the towers against the tuning half
(briefly, then at length), and assemble what serves. The command line, the nightly run, SageMaker and the evaluation
call `fit`; it writes no file but its checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.errors import NotEnoughData
from contracts.fitted import HOT_EVENTS, FittedModel, check_shapes
from contracts.interactions import Interactions
from data_sources.indexed import IndexedDataset
from training_job.als import FittedAls, fit_als
from training_job.assemble import Facts, assemble
from training_job.baselines import als_scorer, choose_alpha, choose_half_life
from training_job.checkpoints import Checkpoints
from training_job.content import fit_content
from training_job.device import TorchRuntime
from training_job.lengths import Lengths, choose_lengths
from training_job.loop import Progress, Standing, Trainer, silent
from training_job.new_item_length import new_item_length
from training_job.order import likeness_left, order_matters
from training_job.ranks import ALONE, Ranks
from training_job.recipe import DIMENSIONS, FULL_SOFTMAX_ITEMS, Recipe, derive_recipe
from training_job.settings import TrainingSettings
from training_job.shares import deal
from training_job.short_runs import ShortRun, best_of
from training_job.step import Counts, Stepper, TrainingData
from training_job.svd_start import spectral_start
from training_job.towers import fresh_towers
from training_job.tuned import Kind, RecipeChanges, apply_changes, order_of
from training_job.validation import Validation, hold_out, mean_ndcg, tuning_users, user_ndcg
from training_job.vocabulary import MIN_CATEGORY_USERS, encode_table, fit_encoder
from training_job.warm_start import can_continue, continue_from

CHECKPOINT_FORMAT: Final = 1
"""Part of a checkpoint's fingerprint: one of another code is not resumed."""
Watch = Callable[[float, NDArray[np.float64]], None]
"""Told after each round which part of the passes is done, and the tuning score of each user. May end it by raising."""
LIBRARIES: Final = ("torch", "implicit", "scikit-learn", "scipy", "numpy", "polars")


@dataclass(frozen=True)
class Fitted:
    """What a training leaves."""

    model: FittedModel
    report: dict[str, Any]
    """JSON values: seed, effort, derived numbers, counts, seconds, versions, `validation`: model → metric → value."""
    validation: Validation
    """The held-out slice; its `judging` half has not been looked at."""


def fit(
    indexed: IndexedDataset,
    interactions: Interactions,
    settings: TrainingSettings,
    *,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
    warm_start: FittedModel | None = None,
    changes: RecipeChanges | None = None,
    ranks: Ranks = ALONE,
) -> Fitted:
    """Train on `interactions`: all events of `indexed`, or the part of them that an evaluation may show.

    `checkpoints` is the folder to resume from and to write to, `warm_start` the release to continue from, `changes`
    what the recipe has otherwise than derived (default: the settings'), `ranks` the processes that train the towers
    together: this is rank 0 of them, the others call `shares.take_part`. Raises NotEnoughData, TrainingDiverged,
    StorageFull, SettingsInvalid (no such device, a change that means nothing for this data), RankLost.
    """
    with begun(indexed, interactions, settings, progress, ranks) as training:
        training.change(settings.changes if changes is None else changes)
        return training.run(checkpoints, warm_start)


@contextmanager
def begun(
    indexed: IndexedDataset,
    interactions: Interactions,
    settings: TrainingSettings,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Training]:
    """A training whose slice is held out; torch obeys the settings until it ends. Raises as `fit` does."""
    _check_enough(interactions)
    with TorchRuntime(settings, small=interactions.n_items <= FULL_SOFTMAX_ITEMS, ranks=ranks) as runtime:
        yield Training(indexed, interactions, settings, runtime, progress or silent)


def _check_enough(interactions: Interactions) -> None:
    liked = interactions.weights > 0
    liking = interactions if liked.all() else interactions.select(liked)
    users = int(np.count_nonzero(liking.lengths))
    items = int(np.count_nonzero(liking.item_counts()))
    if users >= 2 and items >= 2:
        return
    if len(liking) < len(interactions):
        raise NotEnoughData(
            f"{len(liking)} of {len(interactions)} events weigh more than 0, of {users} users with {items} items: "
            "nothing to compare.",
            fix="Check [event_weights] of schema.toml: what a user likes must weigh more than 0.",
        )
    raise NotEnoughData(
        f"{len(interactions)} events of {users} users with {items} items: nothing to compare.",
        fix="Give events of at least two users with at least two items.",
    )


class Training:
    """One training, stage by stage."""

    def __init__(
        self,
        indexed: IndexedDataset,
        interactions: Interactions,
        settings: TrainingSettings,
        runtime: TorchRuntime,
        progress: Progress,
    ) -> None:
        self.indexed, self.settings, self.runtime, self.progress = indexed, settings, runtime, progress
        self.ranks = runtime.ranks
        self.seconds: dict[str, float] = {}
        self.random = np.random.default_rng(settings.seed)
        with self._clock("encode", "holding out the validation slice, encoding features"):
            self.validation = hold_out(interactions, indexed.schema, indexed.user_ids, settings.seed)
            self.encoders = (
                fit_encoder(indexed.schema.users, indexed.users, MIN_CATEGORY_USERS),
                fit_encoder(indexed.schema.items, indexed.items),
            )
            self.data = TrainingData(
                self.validation.train,
                item_features=encode_table(self.encoders[1], indexed.items),
                user_features=encode_table(self.encoders[0], indexed.users),
                counts=Counts.of(self.validation.train),
            )
            self.tuners = tuning_users(self.validation.tuning, self.random)
        with self._clock("start", "finding where items begin"):
            events = self.validation.train
            self._start = spectral_start(events, DIMENSIONS, settings.seed)
            self.likeness_left = likeness_left(events, self._start, settings.seed) if indexed.schema.ordered else None
        matters = order_matters(self.likeness_left)
        self.recipe = derive_recipe(indexed.schema, events, settings.effort, order_matters=matters)
        self.changes = RecipeChanges()
        self.short_scores: dict[str, float] = {}

    def change(self, changes: RecipeChanges) -> None:
        """Train with a changed recipe. Raises SettingsInvalid.

        Changes that are for one kind of recipe choose it: what was tuned must not be refused by the night on which what
        is left of likeness crosses the line.
        """
        wanted, schema = order_of(changes), self.indexed.schema
        if wanted is not None and wanted != self.recipe.ordered:
            train, effort = self.validation.train, self.settings.effort
            self.recipe = derive_recipe(schema, train, effort, order_matters=wanted)
        self.recipe, self.changes = apply_changes(self.recipe, changes, self.kind), changes

    @property
    def kind(self) -> Kind:
        """What of the recipe means anything."""
        return Kind.of(self.recipe, self.indexed.schema)

    def settle(self) -> ShortRun | None:
        """Choose by short runs what the recipe leaves open; returns the best of them, None where there are none.

        A changed recipe is trained as it is: who changed it knows what it finds.
        """
        if not self.recipe.short_epochs or not len(self.tuners) or self.changes.values:
            return None
        best, self.short_scores = best_of(self.recipe.contenders(), self._short_run)
        self.recipe = best.recipe
        return best

    def _short_run(self, recipe: Recipe) -> ShortRun:
        """Train on this process alone: what is short is not worth dealing out."""

        def progress(done: int, total: int, text: str) -> None:
            self.progress(done, total, f"short run at temperature {recipe.temperature:g}: {text}")

        training = self.once_more(progress)
        training.recipe, training.ranks = recipe.shortened(), ALONE
        training.random = np.random.default_rng(self.settings.seed)  # the same whenever it is asked for
        stepper, _ = training.stepper()
        standing = training.train(stepper)
        stepper.towers.forget_moments()
        return ShortRun(recipe, stepper, standing)

    def once_more(self, progress: Progress) -> Training:
        """Another training of the same data, with the recipe and the randomness with which this one stands."""
        other = copy(self)
        other.random, other.progress = deepcopy(self.random), progress
        return other

    def _crowd(self, start: NDArray[np.float32]) -> NDArray[np.float32]:
        """Directions of some items, drawn by their events: a crowd is where the events are."""
        counts = self.data.counts.item_events
        number = min(self.recipe.crowd, int(np.count_nonzero(counts)))
        return start[self.random.choice(len(counts), number, replace=False, p=counts / counts.sum())]

    @contextmanager
    def _clock(self, stage: str, text: str) -> Iterator[None]:
        self.progress(0, 1, text)
        begun = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - begun, 3)

    def run(self, checkpoints: Path | None, warm_start: FittedModel | None) -> Fitted:
        """All stages after the data is encoded."""
        with self._clock("als", "fitting ALS"):
            als, alpha_score = self._als()
        with self._clock("popularity", "choosing the half-life of popularity"):
            half_life, popularity_score = choose_half_life(self.indexed.schema, self.validation, self.tuners)
        with self._clock("short runs", "training the towers briefly"):
            stepper, known = self.stepper(warm_start, self._start)
            short = None
            if not known:
                short = self.settle()
                stepper.recipe = self.recipe
        with self._clock("towers", "training the towers"):
            standing = self.train(stepper, checkpoints, known)
            if short and short.score > standing.kept_score:
                stepper, standing = short.stepper, short.standing
        with self._clock("content", "finding neighbours by content"):
            counts = self.data.events.item_counts()
            content = fit_content(self.data.item_features, self.encoders[1].n_slots, counts, HOT_EVENTS)
            stepper.neighbours = content
        with self._clock("lengths", "choosing item lengths"), torch.no_grad():
            lengths = self._choose_lengths(stepper)
            of_new = new_item_length(stepper, self.validation.train, self.tuners, self.settings.seed)
            stepper.cold_norm = of_new or stepper.cold_norm
        with self._clock("assemble", "assembling the release"), torch.no_grad():
            seed, head = self.settings.seed, self.settings.head_items
            facts = Facts(self.indexed, self.encoders, self.validation, content, half_life, seed, head)
            model = assemble(stepper, als, facts)
        check_shapes(model)
        report = self._report(stepper.recipe, standing) | {
            "alpha": als.fold_in.alpha,
            "half_life_days": half_life,
            "lengths": asdict(lengths) if lengths else None,
            "new_item_length": stepper.cold_norm,
            "warm_start_items": known,
            "recovered_from_divergence": standing.recovered or (short is not None and short.standing.recovered),
            "validation": {
                "two_tower": {"ndcg@20": lengths.score if lengths else standing.kept_score},
                "als": {"ndcg@20": alpha_score},
                "popularity": {"ndcg@20": popularity_score},
            },
        }
        return Fitted(model, report, self.validation)

    def _als(self) -> tuple[FittedAls, float]:
        seed, threads, dimensions = self.settings.seed, self.runtime.threads_for_als, self.recipe.dimensions
        alpha = choose_alpha(self.validation, self.tuners, dimensions, seed, threads)
        als = fit_als(self.validation.train, dimensions, alpha, seed=seed, threads=threads)
        return als, mean_ndcg(als_scorer(als, self.validation.train), self.validation.tuning, self.tuners)

    def stepper(
        self, warm_start: FittedModel | None = None, start: NDArray[np.float32] | None = None
    ) -> tuple[Stepper, int]:
        """Towers at their `start` (default: a copy of the data's), which is trained in place, and how many items a
        warm start knew.
        """
        recipe, device, start = self.recipe, self.runtime.device, self._start.copy() if start is None else start
        slots = (self.encoders[1].n_slots, self.encoders[0].n_slots)
        crowd = self._crowd(start) if recipe.crowd else None
        shape = (recipe.positions, recipe.hidden, recipe.heads)
        towers = fresh_towers(start, slots, shape, self.random, crowd).to(device)
        stepper = Stepper(towers, self.data, recipe, device, self.ranks)
        if warm_start is None or not can_continue(warm_start, towers):
            return stepper, 0
        known = continue_from(warm_start, stepper, self.indexed.item_ids, self.encoders)
        fixed = recipe.ordered or "temperature" in self.changes.values
        stepper.recipe = recipe.continued(recipe.temperature if fixed else 1 / warm_start.tower.sharpness)
        return stepper, known

    def train(
        self, stepper: Stepper, checkpoints: Path | None = None, known: int = 0, watch: Watch = lambda *_: None
    ) -> Standing:
        """Train the towers of a stepper in place. Raises TrainingDiverged, and whatever `watch` raises."""
        score = self.tuning_score(stepper)

        def watched() -> NDArray[np.float64]:
            watch(trainer.standing.epoch / stepper.recipe.epochs, values := score())
            return values

        trainer = Trainer(stepper, stepper.recipe.sampler(deal(stepper, self.random)), watched, self.random)
        kept = Checkpoints(checkpoints, self._fingerprint(known)) if checkpoints else None
        with self.runtime.rough_products():
            return trainer.train(kept, self.settings.checkpoint_seconds, self.progress)

    def tuning_score(self, stepper: Stepper) -> Callable[[], NDArray[np.float64]]:
        """Tuning NDCG@20 of each user for the towers as they are."""

        @torch.no_grad()
        def score() -> NDArray[np.float64]:
            vectors = stepper.catalogue()

            def scores(users: NDArray[np.int32]) -> Tensor:
                return stepper.queries(self.validation.train, users, vectors) @ vectors.T

            return user_ndcg(scores, self.validation.tuning, self.tuners)

        return score

    def _choose_lengths(self, stepper: Stepper) -> Lengths | None:
        """Lengths by recent popularity, where events have times."""
        if not self.indexed.schema.timed:
            return None
        vectors, train = stepper.catalogue(), self.validation.train
        queries = stepper.queries(train, self.tuners, vectors)
        place = {int(user): number for number, user in enumerate(self.tuners)}

        def score(factors: Tensor) -> NDArray[np.float64]:
            longer = vectors * factors.unsqueeze(1)
            return user_ndcg(
                lambda users: queries[[place[int(user)] for user in users]] @ longer.T,
                self.validation.tuning,
                self.tuners,
            )

        return choose_lengths(train, stepper, score)

    def _fingerprint(self, known: int) -> str:
        """What a checkpoint must have been made of to be resumed: these events, features, settings and start."""
        events, settings = self.data.events, asdict(self.settings) | {"checkpoint_seconds": 0}
        seen = sha256(f"{CHECKPOINT_FORMAT} {settings} {self.recipe} {known}".encode())
        for bag in (self.data.item_features, self.data.user_features):
            seen.update(bag.slots.tobytes())
        for array in (events.items, events.times, events.weights, events.offsets):
            seen.update(np.ascontiguousarray(array).data)
        return seen.hexdigest()

    def _report(self, recipe: Recipe, standing: Standing) -> dict[str, Any]:
        train = self.validation.train
        return {
            "seed": self.settings.seed,
            "slice": self.validation.digest(self.indexed.item_ids),
            "effort": str(self.settings.effort),
            "deterministic": self.settings.deterministic,
            "device": str(self.runtime.device),
            "ranks": self.runtime.ranks.size,
            "recipe": asdict(recipe),
            "changes": self.changes.values,
            "counts": {
                "users": int(np.count_nonzero(train.lengths)),
                "items": int(np.count_nonzero(train.item_counts())),
                "events": len(train),
                "tuning_users": len(self.tuners),
                "examples": standing.examples,
                "positives": standing.positives,
            },
            "likeness_left": self.likeness_left,
            "short_runs": self.short_scores,
            "rounds": {"scores": standing.scores, "losses": standing.losses, "kept_epoch": standing.kept_epoch},
            "seconds": self.seconds,
            "libraries": {name: version(name) for name in LIBRARIES},
        }
