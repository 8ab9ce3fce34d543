"""Memory of checking, reading, sampling and training with millions of events: what grows with them, and what not.

Parts of a million events are written by numpy (items by Zipf's law, users more and less active, ids of 16 bytes). A
process of its own then runs the data doctor; another indexes them as training does, holds out the slice and makes the
sampler; a third trains, quick.
`anonymous_mb` is the peak of RssAnon, sampled a hundred times a second: memory that only swapping could take back.
`peak_mb` (ru_maxrss) counts pages of mapped files, too, which the system drops at will. `--whole` checks and
indexes in memory, for comparison. Example: python -m benchmarks.streaming --events 10000000 --json
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.interactions import Interactions
from data_sources.dataset import TRAINING_COLUMNS, open_dataset
from data_sources.indexed import IndexedDataset, index_dataset
from data_sources.streamed import index_streamed

EVENTS: Final = 3_000_000
EVENTS_PER_USER: Final = 25
ITEMS: Final = 50_000
PART: Final = 1_000_000
DAYS: Final = 60
FIRST: Final = 1_767_225_600
"""2026-01-01, 00:00 UTC."""
SCHEMA: Final = "version = 1\n[event_weights.types]\nview = 1.0\nbuy = 3.0\n"
TICK_SECONDS: Final = 0.01
_ANONYMOUS: Final = re.compile(rb"RssAnon:\s+(\d+) kB")
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


def write_events(folder: Path, events: int, users: int) -> None:
    """A dataset without features in parts, its events in the order of their times."""
    (folder / "events").mkdir(parents=True)
    fame = np.cumsum((np.arange(ITEMS) + 10.0) ** -0.8)
    for number, first in enumerate(range(0, events, PART)):
        random, size = np.random.default_rng(number), min(PART, events - first)
        second = DAYS * 86_400 * (first + np.sort(random.random(size)) * size) / events
        frame = pl.DataFrame(
            {
                "user_id": _ids((users * random.random(size) ** 1.5).astype(np.uint64)),
                "item_id": _ids(np.searchsorted(fame, random.random(size) * fame[-1]).astype(np.uint64)),
                "event_type": pl.Series(["view", "buy"]).gather((random.random(size) < 0.1).astype(np.uint32)),
                "timestamp": FIRST + second.astype(np.int64),
            }
        )
        frame.write_parquet(folder / "events" / f"part-{number:05}.parquet")
    (folder / "schema.toml").write_text(SCHEMA)


def _ids(numbers: NDArray[np.uint64]) -> pl.Series:
    """16 hexadecimal digits of each number, scrambled, so that ids have no order (splitmix64)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    halves = (mixed ^ (mixed >> np.uint64(31))).view(np.uint8).reshape(-1, 8)
    digits = np.stack([_HEX[halves >> 4], _HEX[halves & 15]], axis=2).reshape(-1)
    return pl.Series(digits.view("S16"), dtype=pl.Binary).cast(pl.String)


class Peaks:
    """Peak of anonymous memory by stage, in MB, looked at by a thread."""

    def __init__(self) -> None:
        self.of: dict[str, float] = defaultdict(float)
        self._stage, self._over = "start", threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def stage(self, name: str) -> None:
        self._note()
        self._stage = name
        self._note()

    def _note(self) -> None:
        self.of[self._stage] = max(self.of[self._stage], anonymous_mb())

    def _look(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            self._note()

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._thread.start()
        yield
        self._note()
        self._over.set()
        self._thread.join()


def anonymous_mb() -> float:
    """RssAnon of this process."""
    found = _ANONYMOUS.search(Path("/proc/self/status").read_bytes())
    assert found is not None, "only Linux tells"
    return int(found[1]) / 1024


def index(folder: Path, whole: bool) -> IndexedDataset:
    """The dataset as arrays."""
    if whole:
        return index_dataset(open_dataset(folder, event_columns=TRAINING_COLUMNS))
    return index_streamed(folder, open_dataset(folder, event_columns=()))


def _check(folder: Path, whole: bool, peaks: Peaks) -> dict[str, Any]:
    """What `tandem train` and the nightly check step do first."""
    from data_sources.doctor import diagnose

    peaks.stage("check")
    diagnosis = diagnose(folder, stream_above=sys.maxsize if whole else 0)
    told = [check.name for check in diagnosis.checks if check.status != "PASS"]
    return {"events": diagnosis.events, "users": diagnosis.users, "items": diagnosis.items, "told": told}


def _sample(folder: Path, whole: bool, peaks: Peaks) -> dict[str, Any]:
    """Index, hold out, make the sampler, take a hundred batches."""
    from itertools import islice

    from training_job.recipe import derive_recipe
    from training_job.settings import Effort
    from training_job.validation import hold_out

    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        peaks.stage(name)
        begun = time.perf_counter()
        done = step()
        seconds[name] = round(time.perf_counter() - begun, 1)
        return done

    indexed = timed("index", lambda: index(folder, whole))
    events: Interactions = indexed.interactions
    train = timed("hold out", lambda: hold_out(events, indexed.schema, indexed.user_ids, 0)).train
    sampler = timed("sampler", lambda: derive_recipe(indexed.schema, train, Effort.QUICK).sampler(train))
    timed("batches", lambda: list(islice(sampler.epoch(np.random.default_rng(0)), 100)))
    return {"events": len(events), "users": events.n_users, "items": events.n_items, "seconds": seconds}


def _train(folder: Path, whole: bool, peaks: Peaks) -> dict[str, Any]:
    """Index and train."""
    from training_job.fit import fit
    from training_job.settings import Effort, TrainingSettings

    peaks.stage("index")
    indexed = index(folder, whole)
    fitted = fit(
        indexed,
        indexed.interactions,
        TrainingSettings(effort=Effort.QUICK),
        progress=lambda _done, _total, text: peaks.stage(re.split(r"[:,] ", text)[0]),
    )
    kept = {name: fitted.report[name] for name in ("counts", "seconds", "validation")}
    return kept | {"epochs": fitted.report["recipe"]["epochs"]}


STEPS: Final = {"check": _check, "sample": _sample, "train": _train}


def run_step(name: str, folder: Path, whole: bool) -> dict[str, Any]:
    """Run one step in this process: its figures, wall and CPU seconds, and peak memory."""
    begun, peaks = time.perf_counter(), Peaks()
    with peaks.watched():
        figures = STEPS[name](folder, whole, peaks)
    return figures | {
        "wall_seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "anonymous_mb": round(max(peaks.of.values())),
        "anonymous_mb_by_stage": {stage: round(peak) for stage, peak in peaks.of.items()},
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def run_all(events: int, users: int, steps: list[str], whole: bool) -> dict[str, Any]:
    """Write the dataset, then every step in a process of its own."""
    figures: dict[str, Any] = {"events": events, "users": users, "whole": whole, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="tandem-streaming-") as work:
        folder = Path(work) / "dataset"
        write_events(folder, events, users)
        figures["dataset_mb"] = round(sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 1e6)
        for name in steps:
            command = [sys.executable, "-m", "benchmarks.streaming", "--step", name, "--folder", str(folder)]
            done = subprocess.run([*command, *(["--whole"] if whole else [])], stdout=subprocess.PIPE, check=True)
            figures[name] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--users", type=int, help=f"default: one for {EVENTS_PER_USER} events")
    parser.add_argument("--no-train", action="store_true", help="check, index, hold out and make the sampler only")
    parser.add_argument("--whole", action="store_true", help="read the events at once, as small datasets are")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(run_step(asked.step, asked.folder, asked.whole)))
        return
    users = asked.users or max(2, asked.events // EVENTS_PER_USER)
    figures = run_all(
        asked.events, users, [step for step in STEPS if step != "train" or not asked.no_train], asked.whole
    )
    print(json.dumps(figures, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
