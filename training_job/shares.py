"""What rank 0 gives every other rank of a training, and what that rank does with it.

Users are dealt out by their number. A rank gets the events and features of its users, and of the rest what a step
needs: item features, counts over all events, the recipe, the towers at their start and the state of the common
generator. So the others read no dataset, need not agree with rank 0 about a single hash or sum, and hold an `n`-th of
the events of `n` ranks; rank 0 holds them all, because it fits what is no tower. `fit.py` deals, the process of
another rank calls `take_part`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.feature_encoder import Bag
from contracts.interactions import Interactions
from training_job.checkpoints import State
from training_job.device import TorchRuntime
from training_job.lazy_adam import LazyTable
from training_job.loop import Trainer, generator_state, set_generator_state, silent
from training_job.ranks import Ranks
from training_job.recipe import FULL_SOFTMAX_ITEMS, Recipe
from training_job.settings import TrainingSettings
from training_job.sharded_table import ShardedTable, Table, is_sharded
from training_job.step import Counts, Stepper, TrainingData
from training_job.towers import Towers


@dataclass(frozen=True)
class Share:
    """All that a rank needs to train its part."""

    recipe: Recipe
    data: TrainingData
    towers: Towers
    random: np.random.Generator

    def to_state(self, rank: int, size: int) -> State:
        """As named arrays and JSON, of the vectors of the items what a rank of `size` holds."""
        data, towers = self.data, self.towers
        arrays: dict[str, NDArray[np.generic]] = {
            f"{name}.{part}": array
            for name, bag in (("item_features", data.item_features), ("user_features", data.user_features))
            for part, array in (("slots", bag.slots), ("weights", bag.weights), ("offsets", bag.offsets))
        }
        events = data.events
        arrays |= {"items": events.items, "times": events.times, "weights": events.weights, "offsets": events.offsets}
        arrays |= {"item_events": data.counts.item_events}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        tensors |= {f"lazy.{name}": table.values for name, table in towers.lazy.items()}
        tensors["lazy.items"] = _held(towers.items.values, rank, size)
        tensors |= {f"dense.{name}": tensor for name, tensor in towers.dense.items()}
        return State(
            tensors,
            {"recipe": asdict(self.recipe), "users": data.counts.users, "random": generator_state(self.random)},
        )

    @staticmethod
    def from_state(state: State, device: torch.device, ranks: Ranks) -> Share:
        """What `to_state` wrote, its towers on a device of one of `ranks`."""
        tensors, counters = state.tensors, state.counters
        item_events = tensors["item_events"].numpy()
        items, times, weights, offsets = (tensors[name].numpy() for name in ("items", "times", "weights", "offsets"))
        data = TrainingData(
            Interactions(items, times, weights, offsets, len(item_events)),
            _bag(tensors, "item_features"),
            _bag(tensors, "user_features"),
            Counts(item_events, counters["users"]),
        )
        lazy = {name: LazyTable(tensor) for name, tensor in _of(tensors, "lazy").items() if name != "items"}
        id_parts = _table(tensors["lazy.items"], len(item_events), ranks)
        random = np.random.default_rng()
        set_generator_state(random, counters["random"])
        recipe = msgspec.convert(counters["recipe"], Recipe)
        return Share(recipe, data, Towers(id_parts, dense=_of(tensors, "dense"), **lazy).to(device), random)


def _of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.split(".", 1)[1]: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}


def _bag(tensors: dict[str, Tensor], name: str) -> Bag:
    return Bag(*(tensors[f"{name}.{part}"].numpy() for part in ("slots", "weights", "offsets")))


def _table(own: Tensor, n: int, ranks: Ranks) -> Table:
    """The vectors of n items around those that this rank holds."""
    return ShardedTable(own, n, ranks) if is_sharded(n, ranks.size) else LazyTable(own)


def _held(values: Tensor, rank: int, size: int) -> Tensor:
    """Those of the vectors of all items [n, d] that a rank holds: all, or every `size`-th."""
    return values[rank::size] if is_sharded(len(values), size) else values


def deal(stepper: Stepper, random: np.random.Generator) -> Interactions:
    """Give every other rank its share; returns the events of rank 0's own users, under the numbers that they have.

    `stepper` knows all users, so that rank 0 can score any of them. One process alone keeps all. Where the ranks share
    the vectors of the items, that of the stepper becomes rank 0's part.
    """
    data, ranks, towers = stepper.data, stepper.ranks, stepper.towers
    if ranks.alone:
        return data.events
    for rank in range(1, ranks.size):
        users = Ranks(rank, ranks.size).users(data.events.n_users)
        part = TrainingData(data.events.take(users), data.item_features, data.user_features.take(users), data.counts)
        ranks.send(Share(stepper.recipe, part, towers, random).to_state(rank, ranks.size), rank)
    towers.items = _table(_held(towers.items.values, 0, ranks.size), len(towers.items), ranks)
    own = np.arange(data.events.n_users) % ranks.size == ranks.rank
    return data.events.select(data.events.of_users(own))


def take_part(settings: TrainingSettings, ranks: Ranks) -> None:
    """Train on a share, from the moment that rank 0 has dealt to the last step.

    Raises TrainingDiverged like rank 0, RankLost where one of the others ends.
    """
    state = ranks.receive()
    small = len(state.tensors["item_events"]) <= FULL_SOFTMAX_ITEMS
    with TorchRuntime(settings, small=small, ranks=ranks) as runtime:
        share = Share.from_state(state, runtime.device, ranks)
        del state
        stepper = Stepper(share.towers, share.data, share.recipe, runtime.device, ranks)
        trainer = Trainer(stepper, share.recipe.sampler(share.data.events), _not_here, share.random)
        with runtime.rough_products():
            trainer.train(None, settings.checkpoint_seconds, silent)


def _not_here() -> NDArray[np.float64]:
    """Only rank 0 has the tuning users."""
    raise NotImplementedError
