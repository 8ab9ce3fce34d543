"""What quality costs: positives a second in training, one forward pass at serving, memory by events and by items.

Throughput is `benchmarks.training`'s. The forward pass is `retrieval.user_tower.encode_user` in numpy on one thread, of
towers that were trained with what the recipe of a timed data set has. Memory is the peak of opening a generated world
and training on it, in a process of its own: once, with twice the users (hence events), and with more items; what the
two add, by million.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from benchmarks.quality_models import train_towers
from benchmarks.quality_process import alone, costing, tell
from benchmarks.quality_rows import Aims, Cost, Options, Row, aimed
from benchmarks.quality_sets import prepared
from benchmarks.training import ITEMS, throughput
from data_sources.generator import WorldSettings
from data_sources.streamed import index_folder
from retrieval.user_tower import encode_user
from training_job.fit import fit
from training_job.settings import Effort, TrainingSettings

THROUGHPUT: Final[Aims] = (250_000, 400_000)
"""Positives a second, at least."""
FORWARD_MS: Final[Aims] = (1.0, 0.2)
"""Milliseconds, at most."""
THREADS: Final = 2
HISTORY: Final = 100
PASSES: Final = 3_000
SMALL: Final = WorldSettings(users=2_000, items=2_000)
"""The forward pass of one user does not know how many there are."""
BASE: Final = WorldSettings(users=20_000, items=20_000)
"""Half a million events, and more items than compete in a full softmax, as in the larger worlds beside it."""
MORE_EVENTS: Final = replace(BASE, users=60_000)
MORE_ITEMS: Final = replace(BASE, items=120_000)


def measure_throughput(part: str, _options: Options) -> list[Row]:
    """Positives a second on events of the size of Gowalla, beside two ordinary loops."""
    figures = alone(throughput, THREADS)
    row = partial(
        Row, part=part, dataset=f"{figures['events']:,} events, {ITEMS:,} items", protocol=f"{THREADS} threads"
    )
    return [
        row(model=f"loop: {name}", metric="positives/s", value=speed, **aimed(THROUGHPUT if name == "tandem" else None))
        for name, speed in figures["positives_per_second"].items()
    ]


def measure_forward(part: str, options: Options) -> list[Row]:
    """The median forward pass of one user."""
    small = replace(options, world=SMALL)
    with prepared("world", small) as folder:
        milliseconds = alone(forward_pass_ms, folder, replace(options.settings, effort=Effort.QUICK))
    row = partial(Row, part=part, dataset=f"{SMALL.items:,} items", protocol=f"history {HISTORY}, one thread, CPU")
    aims = {"p50": aimed(FORWARD_MS) | {"fewer": True}}
    return [
        row(model="encode_user", metric=f"ms {name}", value=value, **aims.get(name, {}))
        for name, value in milliseconds.items()
    ]


def forward_pass_ms(folder: Path, settings: TrainingSettings) -> dict[str, float]:
    """CPU milliseconds of `encode_user`: median and 99th percentile."""
    indexed = index_folder(folder)
    model, _ = train_towers(indexed, indexed.interactions, settings)
    random = np.random.default_rng(settings.seed)
    histories = random.integers(0, len(model.items), (PASSES, HISTORY)).astype(np.int32)
    weights = np.ones(HISTORY, np.float32)
    features = model.user_encoder.encode_one(
        {name: value for name, value in indexed.users.row(0, named=True).items() if value is not None}
    )
    taken = np.empty(PASSES)
    with threadpool_limits(1):
        for number, rows in enumerate(histories):
            begun = time.thread_time_ns()
            encode_user(model.tower, model.items, rows, weights, features)
            taken[number] = time.thread_time_ns() - begun
    p50, p99 = np.quantile(taken[PASSES // 10 :], [0.5, 0.99]) / 1e6  # the first ones warm the caches
    return {"p50": float(p50), "p99": float(p99)}


def measure_memory(part: str, options: Options) -> list[Row]:
    """Peak gigabytes of training, and what a million more events or items add."""
    settings = replace(options.settings, effort=Effort.QUICK)  # more passes need no more room
    peaks, events = {}, {}
    for name, world in {"base": BASE, "events": MORE_EVENTS, "items": MORE_ITEMS}.items():
        tell(f"{world.users:,} users, {world.items:,} items")
        with prepared("world", replace(options, world=world)) as folder:
            events[name], cost = alone(train_world, folder, settings)
        peaks[name] = cost.peak_gb
    row = partial(Row, part=part, dataset="generated worlds", protocol="open and train, quick effort", metric="peak GB")
    by_event = (peaks["events"] - peaks["base"]) / (events["events"] - events["base"]) * 1e6
    by_item = (peaks["items"] - peaks["base"]) / (MORE_ITEMS.items - BASE.items) * 1e6
    return [
        row(model=f"{events['base']:,} events, {BASE.items:,} items", value=peaks["base"]),
        row(model=f"{events['events']:,} events, {BASE.items:,} items", value=peaks["events"]),
        row(model=f"{events['items']:,} events, {MORE_ITEMS.items:,} items", value=peaks["items"]),
        row(model="a million events more", value=round(by_event, 2)),
        row(model="a million items more", value=round(by_item, 2)),
    ]


def train_world(folder: Path, settings: TrainingSettings) -> tuple[int, Cost]:
    """Events of a dataset, and what opening it and training on it took."""

    def opened_and_trained() -> int:
        indexed = index_folder(folder)
        fit(indexed, indexed.interactions, settings)
        return len(indexed.interactions)

    return costing(opened_and_trained)
