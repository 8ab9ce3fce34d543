"""What each of two processes of `test_ranks.py` does: `python -m tests.training_job.two_ranks FOLDER`, RANK set.

Leaves in FOLDER, for rank r: `steps-r.npz`, the towers after a few steps of every kind of recipe, and `towers-r.npz`,
those at the end of a whole training; in the folder `shared` the same of ranks that share the item vectors, and in
`held-r.json` how many of them each had; `ended-r`, its failure when rank 0 fails and the other waits; and from rank 0
`fitted.json`, what the trainings were.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from contracts.errors import NotEnoughData, RankLost
from contracts.fitted import to_bundle
from contracts.schema import TimeMeaning
from data_sources.indexed import IndexedDataset
from tests.training_job.clustered import clustered_world
from training_job import loop, sharded_table
from training_job.batches import Examples
from training_job.fit import Fitted, fit
from training_job.ranks import Ranks
from training_job.recipe import Recipe, derive_recipe
from training_job.settings import Effort, TrainingSettings
from training_job.shares import Share, deal, take_part
from training_job.step import Counts, Stepper, TrainingData
from training_job.towers import fresh_towers
from training_job.vocabulary import encode_table, fit_encoder

SETTINGS = TrainingSettings(effort=Effort.QUICK, threads=1, checkpoint_seconds=0)
KINDS = [(time, sampled, True) for time in TimeMeaning for sampled in (False, True)]
KINDS += [(TimeMeaning.ORDER, True, False), (TimeMeaning.NONE, True, False)]
"""Meaning of time, whether negatives are drawn, whether there are features."""
PASSES = 3
CPU = torch.device("cpu")


def world(time: TimeMeaning = TimeMeaning.TIMESTAMP, features: bool = True) -> IndexedDataset:
    """Of 301 users: a rank has one more than the other."""
    return clustered_world(n_users=301, time=time, features=features)


def whole_batches(recipe: Recipe, data: TrainingData) -> list[Examples]:
    """The batches of one process; the last has one user, so that a rank has none."""
    sampler = replace(recipe, users_per_batch=300).sampler(data.events)
    return list(sampler.epoch(np.random.default_rng(5))) * PASSES


def part_of(batch: Examples, users: np.ndarray, rank: int, size: int) -> Examples:
    """The part of a batch that a rank has, under the numbers that its users have there."""
    kept = np.flatnonzero(batch.users % size == rank)
    place = np.full(len(batch.users), -1)
    place[kept] = np.arange(len(kept))
    shown = np.isin(np.repeat(np.arange(len(batch.users)), batch.history_lengths), kept)
    moments = np.flatnonzero(np.isin(batch.owners, kept))
    moment = np.full(len(batch.ends), -1)
    moment[moments] = np.arange(len(moments))
    asked = np.isin(batch.target_moments, moments)
    return Examples(
        np.searchsorted(users, batch.users[kept]),
        batch.history[shown],
        batch.history_weights[shown],
        batch.history_lengths[kept],
        place[batch.owners[moments]],
        batch.ends[moments],
        batch.targets[asked],
        moment[batch.target_moments[asked]],
        batch.target_weights[asked],
    )


def a_stepper(kind: tuple[TimeMeaning, bool, bool], ranks: Ranks) -> Stepper:
    """Towers at their start on a whole world."""
    time, sampled, features = kind
    indexed = world(time, features)
    events = indexed.interactions
    users, items = (fit_encoder(side, table) for side, table in (
        (indexed.schema.users, indexed.users), (indexed.schema.items, indexed.items)))  # fmt: skip
    data = TrainingData(
        events, encode_table(items, indexed.items), encode_table(users, indexed.users), Counts.of(events)
    )
    recipe = replace(
        derive_recipe(indexed.schema, events, Effort.QUICK), negatives=20 if sampled else 0, dimensions=8, dropped=0.0
    )
    random = np.random.default_rng(1)
    start = random.standard_normal((events.n_items, 8)).astype(np.float32)
    towers = fresh_towers(
        start, (items.n_slots, users.n_slots), (recipe.positions, recipe.hidden, recipe.heads), random
    )
    return Stepper(towers, data, recipe, CPU, ranks)


def whole(table: sharded_table.Table, part: torch.Tensor) -> torch.Tensor:
    """An array of a table; of one that ranks share, rank 0 has the whole and the others nothing."""
    return table.all_of(part, CPU) if isinstance(table, sharded_table.ShardedTable) else part


def take_steps(stepper: Stepper, batches: list[Examples]) -> dict[str, np.ndarray]:
    """The towers and the losses after some steps."""
    random = np.random.default_rng(9)
    losses = [float(stepper(batch, 1.0, random)) for batch in batches]
    towers = stepper.towers
    arrays = {name: tensor.detach().numpy() for name, tensor in towers.dense.items()}
    arrays |= {f"{name}.{part}": whole(table, tensor).numpy() for name, table in towers.lazy.items()
               for part, tensor in table.tensors().items()}  # fmt: skip
    return arrays | {"losses": np.array(losses), "random": np.array([random.random()])}


def steps_of_a_rank(ranks: Ranks, held: list[int]) -> Iterator[tuple[str, np.ndarray]]:
    """`held` is told how many item vectors this rank has."""
    for kind in KINDS:
        alone = a_stepper(kind, Ranks())
        batches = whole_batches(alone.recipe, alone.data)
        stepper, users = a_stepper(kind, ranks), np.arange(alone.data.events.n_users)
        if ranks.rank == 0:
            deal(stepper, np.random.default_rng(1))
        else:
            share, users = Share.from_state(ranks.receive(), CPU, ranks), ranks.users(len(users))
            assert share.recipe == stepper.recipe
            stepper = Stepper(share.towers, share.data, share.recipe, CPU, ranks)
        held.append(len(stepper.towers.items.values))
        taken = take_steps(stepper, [part_of(batch, users, ranks.rank, ranks.size) for batch in batches])
        yield from ((f"{'-'.join(map(str, kind))} {name}", array) for name, array in taken.items())


def train(ranks: Ranks, folder: Path, begun: list[int]) -> Fitted | None:
    """A whole training; `begun` is told where its epochs began."""
    if ranks.rank:
        take_part(SETTINGS, ranks)
        return None
    indexed = world()

    def watch(done: int, total: int, text: str) -> None:
        if text.startswith("epoch"):
            begun.append(done)

    return fit(indexed, indexed.interactions, SETTINGS, progress=watch, checkpoints=folder / "checkpoints", ranks=ranks)


def digest(fitted: Fitted) -> str:
    seen = sha256()
    for _, arrays in sorted(to_bundle(fitted.model).tensors.items()):
        for _, array in sorted(arrays.items()):
            seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


def trained_twice(ranks: Ranks, folder: Path) -> None:
    """To the end, and again from the last checkpoint but one; the towers of the first time are kept."""
    kept, original = [], loop.Trainer.train

    def spy(trainer, *arguments):  # type: ignore[no-untyped-def]
        standing = original(trainer, *arguments)
        if not trainer.ranks.alone:  # else a short run of rank 0
            kept.append(trainer._values())
        return standing

    loop.Trainer.train = spy  # type: ignore[method-assign]
    first_began: list[int] = []
    again_began: list[int] = []
    first = train(ranks, folder, first_began)
    if ranks.rank == 0:
        (sorted((folder / "checkpoints").iterdir())[-1] / "state.json").unlink()
    again = train(ranks, folder, again_began)
    np.savez(folder / f"towers-{ranks.rank}.npz", **{name: tensor.numpy() for name, tensor in kept[0].items()})
    if first and again:
        facts = {"report": first.report, "digests": [digest(first), digest(again)],
                 "began": [first_began[0], again_began[0]]}  # fmt: skip
        (folder / "fitted.json").write_text(json.dumps(facts))


def everything(ranks: Ranks, folder: Path) -> None:
    held: list[int] = []
    np.savez(folder / f"steps-{ranks.rank}.npz", **dict(steps_of_a_rank(ranks, held)))
    (folder / f"held-{ranks.rank}.json").write_text(json.dumps(held))
    trained_twice(ranks, folder)


def fail_while_the_other_waits(ranks: Ranks) -> None:
    if ranks.rank == 0:
        raise NotEnoughData("rank 0 cannot begin")
    take_part(SETTINGS, ranks)


def main(folder: Path) -> None:
    ranks = Ranks.of(os.environ)
    torch.set_num_threads(1)
    try:
        with ranks.joined(CPU):
            everything(ranks, folder)
            sharded_table.WHOLE_ITEMS = 0
            (folder / "shared").mkdir(exist_ok=True)
            everything(ranks, folder / "shared")
            fail_while_the_other_waits(ranks)
    except (NotEnoughData, RankLost) as error:
        (folder / f"ended-{ranks.rank}").write_text(f"{error.code}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
