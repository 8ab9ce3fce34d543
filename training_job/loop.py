"""Rounds of training: pass over the examples, look at the tuning slice, keep the best, stop when it stops helping.

A round is a few epochs; at its end the state is good (finite), scored, and, if enough time has passed, on disk. What
is kept is the latest state that is not worse than the best one by more than two standard errors of the difference: on
a few dozen tuning users the largest of sixteen scores is luck, while more training at a falling rate is not. A
loss that is no longer finite goes back to the kept state at a lower rate, once. All randomness comes from one
generator whose state is part of a checkpoint, so a resumed training takes the same steps as one that was never
stopped. Where several ranks train, each runs this loop: rank 0 scores, reads and writes, what it finds is said to the
others, and so all of them decide the same. It knows no files and no features; `fit.py` and `shares.py` call it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.errors import TrainingDiverged
from training_job.batches import Examples, Sampler
from training_job.checkpoints import Checkpoints, State
from training_job.ranks import NOTHING
from training_job.recipe import Recipe
from training_job.sharded_table import ShardedTable
from training_job.step import Stepper

PATIENCE: Final = 3
"""Rounds in a row that are worse than the best by more than noise before stopping."""
CLEARLY: Final = 2.0
"""Standard errors: of sixteen looks at a high rate one is lucky, and at one standard error a training ended after a
third of its passes, before the rate had fallen."""
RECOVERY_RATE: Final = 0.3
"""Learning rate after a divergence, relative: low enough to pass what blew up, high enough to still learn."""
LAST_RATE: Final = 0.02
"""The rate falls in a straight line to this part of its start: the last steps settle instead of wandering."""
FINITE_CHECK_STEPS: Final = 50
"""Steps between looks at the loss: looking waits for the device."""


class Progress(Protocol):
    """Told how far a training is, in steps."""

    def __call__(self, done: int, total: int, text: str, /) -> None: ...


def silent(done: int, total: int, text: str) -> None:
    """A progress bar for nobody."""


@dataclass
class Standing:
    """Where a training stands; JSON values only."""

    epoch: int = 0
    kept_score: float = 0.0
    """Mean tuning score of the kept state."""
    kept_epoch: int = 0
    rounds_since_kept: int = 0
    recovered: bool = False
    scores: list[float] = field(default_factory=list)
    """Tuning score of each round."""
    losses: list[float] = field(default_factory=list)
    """Mean loss of each round."""
    examples: int = 0
    positives: int = 0


class _NotFinite(Exception):
    """The loss of a round stopped being a number."""


class Trainer:
    """Trains the towers of a Stepper in place, on all ranks alike. `score` is asked on rank 0 only."""

    def __init__(
        self, stepper: Stepper, sampler: Sampler, score: Callable[[], NDArray[np.float64]], random: np.random.Generator
    ) -> None:
        self.stepper, self.sampler, self.score, self.random = stepper, sampler, score, random
        self.ranks = stepper.ranks
        (users,) = self.ranks.totals(len(sampler.users))
        self._steps = -(-int(users) // stepper.recipe.users_per_batch)
        """Of an epoch."""
        self.standing = Standing()
        self._kept = self._values()
        self._peak = np.empty(0)

    def train(self, checkpoints: Checkpoints | None, least_seconds: float, progress: Progress) -> Standing:
        """Train to the end of the recipe or until it only gets worse; the towers end at the kept state, rank 0's whole.

        Raises TrainingDiverged where the loss is not finite for the second time.
        """
        recipe = self.stepper.recipe
        self._resume(checkpoints)
        saved = time.monotonic()
        while self.standing.epoch < recipe.epochs and self.standing.rounds_since_kept < PATIENCE:
            try:
                self._round(recipe, progress)
            except _NotFinite:
                self._recover()
            if any(self.ranks.totals(checkpoints is not None and time.monotonic() - saved >= least_seconds)):
                state = self._state()  # all ranks give what they own to the one that writes
                if checkpoints is not None:
                    checkpoints.save(self.standing.epoch, state)
                saved = time.monotonic()
        self._load_values(self._kept)
        self.stepper.towers.items = self.stepper.towers.items.joined()
        return self.standing

    def _resume(self, checkpoints: Checkpoints | None) -> None:
        """Go on from the newest checkpoint, if there is one: rank 0 reads it and gives each rank what it owns."""
        if self.ranks.rank:
            state = self.ranks.receive()
        else:
            whole = (checkpoints.newest() if checkpoints is not None else None) or NOTHING
            for rank in range(1, self.ranks.size):
                self.ranks.send(self._owned_by(rank, whole), rank)
            state = self._owned_by(0, whole)
        if state.counters:
            self._restore(state)

    def _owned_by(self, rank: int, state: State) -> State:
        if not isinstance(self.stepper.towers.items, ShardedTable):
            return state
        owned = slice(rank, None, self.ranks.size)
        return State({k: v[owned] if _of_items(k) else v for k, v in state.tensors.items()}, state.counters)

    def _round(self, recipe: Recipe, progress: Progress) -> None:
        """Some epochs and a look at the tuning slice."""
        standing = self.standing
        length = min(max(1, round(recipe.epochs / recipe.rounds)), recipe.epochs - standing.epoch)
        loss = sum(self._epoch(standing.epoch + number, recipe, progress) for number in range(length)) / length
        standing.epoch += length
        values = self._scores()
        mean = float(values.mean()) if len(values) else 0.0
        standing.losses.append(loss)
        standing.scores.append(mean)
        standing.rounds_since_kept += 1
        if not _clearly_below(values, self._peak):
            standing.kept_score, standing.kept_epoch, standing.rounds_since_kept = mean, standing.epoch, 0
            self._kept = self._values()
        if len(self._peak) == 0 or mean > self._peak.mean():
            self._peak = values

    def _scores(self) -> NDArray[np.float64]:
        """Scores of the tuning users, which rank 0 alone knows."""
        with self.stepper.towers.items.gathered():
            mine = State({"scores": torch.from_numpy(self.score())}, {}) if self.ranks.rank == 0 else NOTHING
        scores: NDArray[np.float64] = self.ranks.say(mine).tensors["scores"].numpy()
        return scores

    def _epoch(self, epoch: int, recipe: Recipe, progress: Progress) -> float:
        total = self._steps * recipe.epochs
        losses: list[Tensor] = []
        moments = positives = 0
        for number, examples in enumerate(self._examples()):
            done = epoch * self._steps + number
            losses.append(self.stepper(examples, self._rate(done / total), self.random))
            moments += len(examples.ends)
            positives += len(examples.targets)
            if number % FINITE_CHECK_STEPS == 0:
                _check_finite(losses[-1])
                progress(
                    done, total, f"epoch {epoch + 1}/{recipe.epochs}, tuning NDCG@20 {self.standing.kept_score:.4f}"
                )
        moments_of_all, positives_of_all = self.ranks.totals(moments, positives)
        self.standing.examples += int(moments_of_all)
        self.standing.positives += int(positives_of_all)
        mean = torch.stack(losses).mean()
        _check_finite(mean)
        return float(mean)

    def _examples(self) -> Iterator[Examples]:
        """This rank's parts of the batches of an epoch, as many on every rank; together they are as large as ever."""
        return self.sampler.epoch(self.ranks.own(self.random), 0 if self.ranks.alone else self._steps)

    def _rate(self, done: float) -> float:
        rate = max(1 - done, LAST_RATE)
        return rate * RECOVERY_RATE if self.standing.recovered else rate

    def _recover(self) -> None:
        """Back to the kept state with fresh moments and a lower rate."""
        if self.standing.recovered:
            raise TrainingDiverged(
                f"the loss is not finite in epoch {self.standing.epoch + 1}, also at {RECOVERY_RATE} of the rate.",
                fix="Check the event weights and numeric features of the data set for absurd values.",
            )
        self.standing.recovered = True
        self._load_values(self._kept)
        for tensor in self._moments().values():
            tensor.zero_()

    def _values(self) -> dict[str, Tensor]:
        """A copy of every trained array; of a shared table, of what this rank owns."""
        return {name: tensor.clone() for name, tensor in self._now().items()}

    def _now(self) -> dict[str, Tensor]:
        towers = self.stepper.towers
        values = {name: table.values for name, table in towers.lazy.items()}
        return values | {name: tensor.detach() for name, tensor in towers.dense.items()}

    def _load_values(self, values: dict[str, Tensor]) -> None:
        towers = self.stepper.towers
        with torch.no_grad():
            for name, table in towers.lazy.items():
                table.values.copy_(values[name])
            for name, tensor in towers.dense.items():
                tensor.copy_(values[name].reshape(tensor.shape))

    def _moments(self) -> dict[str, Tensor]:
        """Every array of the optimisers by name; writing into them is writing into the optimisers."""
        towers, optimiser = self.stepper.towers, self.stepper.dense_optimiser
        moments = {
            f"{name}.{part}": tensor
            for name, table in towers.lazy.items()
            for part, tensor in table.tensors().items()
            if part != "values"
        }
        for name, tensor in towers.dense.items():
            moments |= {f"{name}.{part}": moment for part, moment in optimiser.state.get(tensor, {}).items()}
        return moments

    def _state(self) -> State:
        """Whole on rank 0. The arrays are those of the training: write them before the next step."""
        tensors = {f"now.{name}": tensor for name, tensor in self._now().items()}
        tensors |= {f"kept.{name}": tensor for name, tensor in self._kept.items()}
        tensors["peak.scores"] = torch.from_numpy(self._peak)
        tensors |= {f"moment.{name}": tensor for name, tensor in self._moments().items()}
        if isinstance(items := self.stepper.towers.items, ShardedTable):
            tensors |= {k: items.all_of(v, torch.device("cpu")) for k, v in tensors.items() if _of_items(k)}
        return State(tensors, vars(self.standing) | {"random": generator_state(self.random)})

    def _restore(self, state: State) -> None:
        counters = dict(state.counters)
        set_generator_state(self.random, counters.pop("random"))
        self.standing = Standing(**counters)
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "kept": {}, "moment": {}, "peak": {}}
        for name, tensor in state.tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = tensor
        self._load_values(parts["now"])
        self._kept = {name: tensor.to(self.stepper.device).contiguous() for name, tensor in parts["kept"].items()}
        self._peak = parts["peak"]["scores"].numpy()
        self._restore_moments(parts["moment"])

    def _restore_moments(self, moments: dict[str, Tensor]) -> None:
        towers, optimiser = self.stepper.towers, self.stepper.dense_optimiser
        for name, table in towers.lazy.items():
            for part, tensor in table.tensors().items():
                if part != "values":
                    tensor.copy_(moments[f"{name}.{part}"])
        for name, parameter in towers.dense.items():
            parts = {key.split(".", 1)[1]: moment for key, moment in moments.items() if key.split(".", 1)[0] == name}
            if parts:
                optimiser.state[parameter] = {
                    part: moment.reshape(()) if part == "step" else moment.reshape(parameter.shape).to(parameter.device)
                    for part, moment in parts.items()
                }


def _of_items(name: str) -> bool:
    """Whether an array of a checkpoint has an entry an item, which the ranks may share."""
    return name.split(".")[1] == "items"


def _clearly_below(values: NDArray[np.float64], peak: NDArray[np.float64]) -> bool:
    """Whether scores of users [n] are below the best ones by more than CLEARLY standard errors of the difference."""
    if len(peak) < 2:
        return False
    difference = peak - values
    return bool(difference.mean() > CLEARLY * difference.std(ddof=1) / np.sqrt(len(difference)))


def _check_finite(loss: Tensor) -> None:
    if not bool(torch.isfinite(loss)):
        raise _NotFinite


def generator_state(random: np.random.Generator) -> Any:
    """Where a generator stands, as JSON values."""
    return _json_integers(random.bit_generator.state)


def set_generator_state(random: np.random.Generator, state: Any) -> None:
    """Go on from a `generator_state`."""
    random.bit_generator.state = _integers(state)


def _json_integers(state: Any) -> Any:
    """A generator's state with its 128-bit integers as text: JSON readers stop at 64 bits."""
    if isinstance(state, dict):
        return {key: _json_integers(value) for key, value in state.items()}
    return f"int:{state}" if isinstance(state, int) else state


def _integers(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _integers(value) for key, value in state.items()}
    return int(state.removeprefix("int:")) if isinstance(state, str) and state.startswith("int:") else state
