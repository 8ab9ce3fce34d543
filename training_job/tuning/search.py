"""Trials: draw changes of the recipe, train the towers with them, tell the study what the tuning users think of it.

A trial trains the towers and nothing else: same slice, same encoders, same start and same randomness for all, so that
two trials differ by their changes alone and are compared user by user. The first is the derived recipe itself. What is
looked at is the tuning half of the slice; the other half is the gate's. `cli/tune.py` calls `tune`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from contracts.errors import NotEnoughData, TrainingDiverged
from contracts.interactions import Interactions
from data_sources.indexed import IndexedDataset
from training_job.fit import Training, begun
from training_job.loop import Progress, silent
from training_job.settings import TrainingSettings
from training_job.tuned import Number, RecipeChanges, tunables
from training_job.tuning.outcome import Gain, Outcome, Tried, errors_needed, recommended
from training_job.tuning.study import distribution, done, opened, seeded

WARMUP_PART: Final = 0.25
"""Of the passes before a trial may be pruned: rates are still near their peak and the order of trials still changes."""
DIGITS: Final = 4
"""Of a drawn value: what nobody can measure nobody should have to read."""
FEWEST_USERS: Final = 2
"""For a standard error."""


@dataclass(frozen=True)
class Budget:
    """When to stop."""

    trials: int = 20
    """Of the whole study, those of earlier runs among them."""
    minutes: float | None = None
    """Of this run; the trial that is running then is trained to its end."""


def tune(
    indexed: IndexedDataset,
    interactions: Interactions,
    settings: TrainingSettings,
    study: Path,
    budget: Budget,
    progress: Progress | None = None,
) -> Outcome:
    """Search within a budget, going on with the study of the file if there is one; events as for `fit`.

    Raises NotEnoughData, TrainingDiverged (the derived recipe does), StateBusy, StudyUnusable.
    """
    with begun(indexed, interactions, settings, progress) as training:
        if len(training.tuners) < FEWEST_USERS:
            raise NotEnoughData(
                f"the tuning half of the slice has {len(training.tuners)} users: nothing can be compared.",
                fix="Give events of more users.",
            )
        search = _Search(training)
        with opened(study, search.made_of(), search.warmup) as opened_study:
            search.run(opened_study, budget, progress or silent)
            return search.outcome(opened_study)


class _Search:
    """The trials of a study on one training's data."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.recipe = training.recipe
        """As derived, before short runs chose what it leaves open."""
        short = training.settle()
        self.short_values = training.tuning_score(short.stepper)() if short else None
        """Tuning NDCG@20 of each user after the best short run, with which a training without changes may end."""
        self.entries = tunables(training.kind)
        self.distributions = {name: distribution(entry.domain) for name, entry in self.entries.items()}
        self.derived = {name: entry.default(training.recipe) for name, entry in self.entries.items()}
        self.warmup = ceil(WARMUP_PART * training.recipe.rounds)

    def made_of(self) -> dict[str, str]:
        """What all trials of a study must share, by a name for people."""
        training, settings = self.training, self.training.settings
        features = sha256()
        for bag in (training.data.item_features, training.data.user_features):
            for array in (bag.slots, bag.weights, bag.offsets):
                features.update(np.ascontiguousarray(array).data)
        return {
            "data": training.validation.digest(training.indexed.item_ids),
            "features": features.hexdigest(),
            "effort": str(settings.effort),
            "seed": str(settings.seed),
            "recipe": _digest(self.recipe),
            "ranges": _digest(
                [(name, entry.field, entry.domain, entry.factor) for name, entry in self.entries.items()]
            ),
        }

    def run(self, study: Study, budget: Budget, progress: Progress) -> None:
        """Trials until the budget is spent; the default is tried in any case."""
        end = time.monotonic() + (np.inf if budget.minutes is None else 60 * budget.minutes)
        while (number := len(done(study))) < budget.trials and (number == 0 or time.monotonic() < end):
            values = [trial.value or 0.0 for trial in done(study) if trial.state is TrialState.COMPLETE]
            prefix = f"trial {number + 1}/{budget.trials}, best {max(values, default=0.0):.4f}: "

            def tell(at: int, of: int, text: str, prefix: str = prefix) -> None:
                progress(at, of, prefix + text)

            self._trial(study, tell)

    def _trial(self, study: Study, progress: Progress) -> None:
        """One trial, told to the study."""
        first = next(iter(done(study)), None)
        if first is None and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(self.derived)
        seeded(study, self.training.settings.seed)
        trial = study.ask(self.distributions)
        changes = RecipeChanges({name: _rounded(value) for name, value in trial.params.items()} if first else {})
        trial.set_user_attr("changes", changes.values)
        begun_at = time.perf_counter()
        try:
            values = self._train(changes, trial, progress)
        except TrainingDiverged:
            if first is None:
                raise
            study.tell(trial, state=TrialState.PRUNED)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("seconds", round(time.perf_counter() - begun_at, 3))
            if first is None:
                trial.set_user_attr("scores", values.tolist())
            default = values if first is None else np.array(first.user_attrs["scores"])
            gain = Gain.of(values, default)
            trial.set_user_attr("gain", [gain.mean, gain.standard_error])
            study.tell(trial, float(values.mean()))

    def _train(self, changes: RecipeChanges, trial: Trial, progress: Progress) -> NDArray[np.float64]:
        """Tuning NDCG@20 of each user for towers that were trained with changes. Raises TrialPruned."""
        training = self.training.once_more(progress)
        training.change(changes)
        stepper, _ = training.stepper()
        rounds, reported = training.recipe.rounds, 0

        def watch(part: float, values: NDArray[np.float64]) -> None:
            nonlocal reported
            if (step := int(part * rounds)) <= reported or part >= 1:  # the last round is no longer worth stopping
                return
            reported = step
            trial.report(float(values.mean()), step)
            if trial.should_prune():
                raise optuna.TrialPruned

        training.train(stepper, watch=watch)
        values, short = training.tuning_score(stepper)(), self.short_values
        return short if not changes.values and short is not None and short.mean() > values.mean() else values

    def outcome(self, study: Study) -> Outcome:
        """What the study says so far."""
        trials = done(study)
        finished = [
            _tried(number, trial) for number, trial in enumerate(trials, start=1) if trial.state is TrialState.COMPLETE
        ]
        best_first = tuple(sorted(finished, key=lambda tried: -tried.ndcg))
        errors = errors_needed(len(trials) - 1, len(self.training.tuners))
        settings = self.training.settings
        return Outcome(
            changes=recommended(best_first, errors),
            effort=str(settings.effort),
            seed=settings.seed,
            slice=self.training.validation.digest(self.training.indexed.item_ids),
            users=len(self.training.tuners),
            derived=self.derived,
            default_ndcg=finished[0].ndcg,
            errors_needed=errors,
            pruned=len(trials) - len(finished),
            trials=best_first,
        )


def _tried(number: int, trial: FrozenTrial) -> Tried:
    told = trial.user_attrs
    return Tried(number, told["changes"], trial.value or 0.0, Gain(*told["gain"]), told["seconds"])


def _rounded(value: Number) -> Number:
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def _digest(value: Any) -> str:
    return sha256(repr(value).encode()).hexdigest()
