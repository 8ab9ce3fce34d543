"""Training: positives a second beside two ordinary loops of the same model, and peak memory on ten million events.

All three loops train the history tower with one tied table, 64 dimensions, the softmax over in-batch and 4,096 uniform
items, on the same generated events (the size of Gowalla: 810 thousand events, 30 thousand users, 41 thousand items):

    tandem     `training_job.step`: a batch is 256 users with all their items, candidates shared, lazy Adam
    gathered   one positive a row, 512 rows a batch, histories gathered as tensors, torch's dense Adam
    per row    the same, rows fetched one by one by a torch Dataset and collated by a DataLoader

The loops take turns in one process, so that a busy neighbour slows all of them; ratios are of the best round of each.
`--ranks N` measures instead what N processes (`torchrun`, one thread each) do with the batches of one, beside one
process with N threads and one with one thread. On the cores of one machine they share a memory and a cache, and gloo
goes through its loopback: it says what gathering and adding up cost, nothing of GPUs or of a network.
Example: python -m benchmarks.training --json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from contracts.feature_encoder import Bag
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, TimeMeaning
from data_sources.generator import WorldSettings, generate
from data_sources.streamed import index_folder
from training_job.batches import ragged
from training_job.fit import fit
from training_job.ranks import ALONE, Ranks
from training_job.recipe import derive_recipe
from training_job.settings import Effort, TrainingSettings
from training_job.step import Counts, Stepper, TrainingData
from training_job.towers import fresh_towers

USERS, ITEMS, EVENTS = 29_858, 40_981, 810_128
BATCH: Final = 512
NEGATIVES: Final = 4096
HISTORY: Final = 100
ROUNDS: Final = 3
TEN_MILLION: Final = WorldSettings(users=400_000, items=50_000)
"""At 25 events a user."""
LIMITS: Final = {"positives_per_second": 200_000, "over_gathered": 4, "over_per_row": 50, "peak_gb": 6.0}


def gowalla_sized(seed: int = 0) -> Interactions:
    """Events with a long tail of users and of items, every pair once."""
    random = np.random.default_rng(seed)
    activity = random.lognormal(0, 1, USERS)
    users = random.choice(USERS, int(EVENTS * 1.3), p=activity / activity.sum())
    fame = (np.arange(ITEMS) + 10.0) ** -0.8
    items = random.choice(ITEMS, len(users), p=fame / fame.sum())
    pairs = random.permutation(np.unique(users * ITEMS + items))[:EVENTS]
    return Interactions.from_events(
        pairs // ITEMS, pairs % ITEMS, np.zeros(EVENTS, np.int64), np.ones(EVENTS), USERS, ITEMS
    )


def tandem_loop(events: Interactions, ranks: Ranks = ALONE) -> Iterator[int]:
    """Positives of each step of our own loop, those of this rank's users."""
    random = np.random.default_rng(0)
    recipe = derive_recipe(DatasetSchema(time=TimeMeaning.NONE), events, Effort.STANDARD)
    start = random.standard_normal((ITEMS, recipe.dimensions)).astype(np.float32)
    nothing = (np.empty(0, np.int32), np.empty(0, np.float32))
    item_features, user_features = (Bag(*nothing, np.zeros(size + 1, int)) for size in (ITEMS, USERS))
    data = TrainingData(events, item_features, user_features, Counts.of(events))
    crowd = start[random.choice(ITEMS, recipe.crowd, replace=False)]
    towers = fresh_towers(start, (0, 0), (recipe.positions, recipe.hidden, recipe.heads), random, crowd)
    stepper = Stepper(towers, data, recipe, torch.device("cpu"), ranks)
    sampler = recipe.sampler(events.select(events.users % ranks.size == ranks.rank))
    steps = 0 if ranks.alone else -(-data.counts.users // recipe.users_per_batch)
    while True:
        for examples in sampler.epoch(ranks.own(random), steps):
            stepper(examples, 1.0, random)
            yield len(examples.targets)


class PlainTower(nn.Module):
    """The same model as one would first write it."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(ITEMS + 1, 64, padding_idx=ITEMS)
        self.bias = nn.Parameter(torch.zeros(64))

    def forward(self, histories: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Mean loss of rows: `histories` [b, L] padded with ITEMS, `positives` [b], `negatives` [k]."""
        known = (histories != ITEMS).float()
        vectors = nn.functional.normalize(self.items(histories), dim=-1) * known.unsqueeze(-1)
        pooled = vectors.sum(dim=1) / known.sum(dim=1, keepdim=True).clamp_min(1).sqrt()
        queries = nn.functional.normalize(pooled + self.bias, dim=-1)
        candidates = nn.functional.normalize(self.items(torch.cat([positives, negatives])), dim=-1)
        logits = queries @ candidates.T / 0.12
        return nn.functional.cross_entropy(logits, torch.arange(len(positives)))


def _plain_steps(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[int]:
    torch.manual_seed(0)
    model = PlainTower()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for histories, positives in batches:
        optimiser.zero_grad()
        model(histories, positives, torch.randint(0, ITEMS, (NEGATIVES,))).backward()
        optimiser.step()
        yield len(positives)


def gathered_loop(events: Interactions) -> Iterator[int]:
    """Positives of each step where batches are gathered from tensors."""
    lengths = np.minimum(events.lengths, HISTORY)
    padded = np.full((USERS, HISTORY), ITEMS)
    padded[np.repeat(np.arange(USERS), lengths), ragged(np.zeros_like(lengths), lengths)] = events.items[
        ragged(events.offsets[:-1], lengths)
    ]
    histories, users, items = (torch.from_numpy(np.asarray(a, np.int64)) for a in (padded, events.users, events.items))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for rows in torch.randperm(len(users)).split(BATCH):
                yield histories[users[rows]], items[rows]

    return _plain_steps(batches())


class RowDataset(Dataset[tuple[Tensor, Tensor]]):
    """One row of the events table at a time, as tutorials do it."""

    def __init__(self, events: Interactions) -> None:
        self.frame = pl.DataFrame({"user": events.users, "item": events.items})
        self.histories = self.frame.group_by("user", maintain_order=True).agg("item")["item"].to_list()
        numbers = self.frame["user"].unique(maintain_order=True).to_list()
        self.place = {user: place for place, user in enumerate(numbers)}

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = self.frame.row(index, named=True)
        history = self.histories[self.place[row["user"]]][-HISTORY:]
        padded = history + [ITEMS] * (HISTORY - len(history))
        return torch.tensor(padded, dtype=torch.long), torch.tensor(row["item"], dtype=torch.long)


def per_row_loop(events: Interactions) -> Iterator[int]:
    """Positives of each step where a DataLoader fetches rows."""
    loader = DataLoader(RowDataset(events), batch_size=BATCH, shuffle=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from ((histories, items) for histories, items in loader)

    return _plain_steps(batches())


LOOPS: Final[dict[str, tuple[Callable[[Interactions], Iterator[int]], int]]] = {
    "tandem": (tandem_loop, 60),
    "gathered": (gathered_loop, 30),
    "per_row": (per_row_loop, 15),
}
"""Each loop with the steps of a round: about a second or two each."""


def throughput(threads: int) -> dict[str, Any]:
    """Positives a second of every loop, best of the rounds, and the ratios."""
    torch.set_num_threads(threads)
    events = gowalla_sized()
    running = {name: make(events) for name, (make, _) in LOOPS.items()}
    best = dict.fromkeys(LOOPS, 0.0)
    for loop in running.values():
        next(loop)  # the first step allocates
    for _ in range(ROUNDS):
        for name, (_, steps) in LOOPS.items():
            begun = time.perf_counter()
            positives = sum(islice(running[name], steps))
            best[name] = max(best[name], positives / (time.perf_counter() - begun))
    return {
        "threads": threads,
        "events": len(events),
        "positives_per_second": {name: round(speed) for name, speed in best.items()},
        "over_gathered": round(best["tandem"] / best["gathered"], 1),
        "over_per_row": round(best["tandem"] / best["per_row"], 1),
    }


def step_loop(threads: int) -> None:
    """Print positives a second of our own loop in this process and the ranks beside it, best of the rounds."""
    torch.set_num_threads(threads)
    ranks, best = Ranks.of(os.environ), 0.0
    with ranks.joined(torch.device("cpu")):
        loop, steps = tandem_loop(gowalla_sized(), ranks), LOOPS["tandem"][1]
        next(loop)
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            (positives,) = ranks.totals(sum(islice(loop, steps)))
            best = max(best, positives / (time.perf_counter() - begun))
    if ranks.rank == 0:
        print(round(best))


def ranks_beside_threads(number: int) -> dict[str, Any]:
    """Positives a second, each alone on the machine."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    commands = {
        f"{number} ranks of 1 thread": ([*torchrun, "-m"], 1),
        f"1 process of {number} threads": (["-m"], number),
        "1 process of 1 thread": (["-m"], 1),
    }
    figures: dict[str, Any] = {"cores": os.cpu_count()}
    for name, (launcher, threads) in commands.items():
        command = [sys.executable, *launcher, "benchmarks.training", "--step-loop", "--threads", str(threads)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        figures[name] = int(done.stdout)
    return figures


def memory() -> dict[str, Any]:
    """Peak memory of opening and training on ten million generated events; quick, for more passes need no more room."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "world", TEN_MILLION)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.training", "--train", f"{folder}/world"],
            stdout=subprocess.PIPE,
            check=True,
        )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def train_once(path: Path) -> dict[str, Any]:
    """Train on a dataset in this process and say what it took."""
    begun = time.perf_counter()
    indexed = index_folder(path)
    fitted = fit(indexed, indexed.interactions, TrainingSettings(effort=Effort.QUICK))
    return {
        "events": len(indexed.interactions),
        "users": len(indexed.user_ids),
        "items": len(indexed.item_ids),
        "effort": str(Effort.QUICK),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "wall_seconds": round(time.perf_counter() - begun, 1),
        "stages": fitted.report["seconds"],
    }


def main() -> int:
    """Measure; a figure that is not reached is said, and is no failure to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, for all loops")
    parser.add_argument("--no-memory", action="store_true", help="leave the ten million events out")
    parser.add_argument("--ranks", type=int, help="measure so many processes instead, beside threads")
    parser.add_argument("--step-loop", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step_loop:
        step_loop(asked.threads)
        return 0
    if asked.ranks:
        print(json.dumps(ranks_beside_threads(asked.ranks)))
        return 0
    if asked.train:
        print(json.dumps(train_once(asked.train)))
        return 0
    figures: dict[str, Any] = {"limits": LIMITS, "throughput": throughput(asked.threads)}
    if not asked.no_memory:
        figures["memory"] = memory()
    print(json.dumps(figures) if asked.json else json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
