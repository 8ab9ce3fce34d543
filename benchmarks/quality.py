"""The quality table: towers beside tuned ALS and popularity on public sets, full ranking, from the raw files.

    gowalla    LightGCN's split                         Recall@20 / NDCG@20
    ml-1m-last leave-last-out of sequences.txt          HR@10 / NDCG@10
    ml-100k    global time cut, users with ≥ 5 earlier events, NDCG@10 against tuned ALS and popularity
    ml-1m      the same on the half of ML-1M that has ratings

Nothing is chosen on what is judged: training and the ALS grid keep to a slice of the training part. Each set runs in a
process of its own, whose CPU seconds and peak memory are reported. Example:
python -m benchmarks.quality --data ../shared/data --only ml-100k --json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from data_sources.dataset import open_dataset
from data_sources.importers.lightgcn import import_lightgcn
from data_sources.importers.movielens import import_movielens
from data_sources.importers.sequences import import_sequences
from data_sources.indexed import IndexedDataset, index_dataset
from evaluation.findings import findings, protocol_sentence
from evaluation.judge import JudgeSettings
from evaluation.result import Evaluation
from evaluation.splits import Split, given_split, global_time_cut, leave_last_out
from training_job.backtest import judge_contestants, train_contestants
from training_job.settings import Effort, TrainingSettings

SERVED_SAMPLE = 500
"""Users for the whole policy: beside the point here, which is the models."""


@dataclass(frozen=True)
class Task:
    """One line of the table."""

    source: str
    """Below the folder of the data."""
    importer: Callable[[Path, Path], object]
    split: Callable[[IndexedDataset], Split]
    floors: dict[str, float]
    """Metric of the towers → figure to reach."""
    rivals: tuple[str, ...] = ()
    """Models that the towers must be ahead of on NDCG@10, the interval above zero."""


def _by_time(indexed: IndexedDataset) -> Split:
    return global_time_cut(indexed.interactions, indexed.schema)


TASKS = {
    "gowalla": Task(
        "gowalla",
        import_lightgcn,
        lambda indexed: given_split(indexed.interactions, indexed.is_test),
        {"recall@20": 0.173, "ndcg@20": 0.145},
    ),
    "ml-1m-last": Task(
        "ml-1m/sequences.txt",
        import_sequences,
        lambda indexed: leave_last_out(indexed.interactions, indexed.schema),
        {"hit_rate@10": 0.27, "ndcg@10": 0.155},
    ),
    "ml-100k": Task("ml-100k", import_movielens, _by_time, {}, ("als_tuned", "popularity")),
    "ml-1m": Task("ml-1m", import_movielens, _by_time, {}, ("als_tuned", "popularity")),
}


def measure(name: str, data: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Import, train and judge one set; the figures as plain JSON values."""
    task = TASKS[name]
    with tempfile.TemporaryDirectory() as folder:
        task.importer(data / task.source, Path(folder) / "dataset")
        indexed = index_dataset(open_dataset(Path(folder) / "dataset"))
    split = task.split(indexed)
    begun = time.process_time()
    contestants = train_contestants(indexed, split, settings, _tell)
    trained = time.process_time()
    judging = JudgeSettings(seed=settings.seed, samples={"served": SERVED_SAMPLE})
    evaluation = judge_contestants(contestants, split, indexed, judging)
    return _verdict(task, evaluation) | {
        "seed": settings.seed,
        "effort": str(settings.effort),
        "cpu_seconds": {
            "training and baselines": round(trained - begun, 1),
            "judging": round(time.process_time() - trained, 1),
        },
        "training_wall_seconds": contestants.fitted.report["seconds"],
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "evaluation": msgspec.to_builtins(evaluation),
    }


def _verdict(task: Task, evaluation: Evaluation) -> dict[str, Any]:
    """What was to be reached and what was, in figures and in words."""
    towers = evaluation.models["two_tower"]
    gaps = {rival: evaluation.differences["two_tower"][rival]["ndcg@10"] for rival in task.rivals}
    floors = {
        metric: {"floor": floor, "value": towers[metric].value, "reached": towers[metric].value >= floor}
        for metric, floor in task.floors.items()
    }
    ahead = {rival: {"difference": msgspec.to_builtins(gap), "ahead": gap.above_zero} for rival, gap in gaps.items()}
    return {
        "protocol": protocol_sentence(evaluation),
        "floors": floors,
        "ahead_of": ahead,
        "reached": all(floor["reached"] for floor in floors.values()) and all(gap["ahead"] for gap in ahead.values()),
        "findings": findings(evaluation),
    }


def _tell(_done: int, _total: int, text: str, /) -> None:
    if not text.startswith("epoch"):
        print(f"  {text}", file=sys.stderr, flush=True)


def _print(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: {'reached' if figures['reached'] else 'NOT reached'}. {figures['protocol']}")
    for metric, floor in figures["floors"].items():
        print(f"  {metric} {floor['value']:.4f} (to reach: {floor['floor']})")
    for sentence in figures["findings"]:
        print(f"  {sentence}")
    print(f"  CPU seconds {figures['cpu_seconds']}, peak memory {figures['peak_memory_gb']} GB, seed {figures['seed']}")


def main() -> int:
    """Run the chosen sets one after the other. A figure that is not reached is said, and is no failure to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw sets")
    parser.add_argument("--only", default=",".join(TASKS), help="comma-separated: " + ", ".join(TASKS))
    parser.add_argument("--effort", choices=list(Effort), default=Effort.STANDARD)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object on stdout, everything else on stderr")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := set(names) - set(TASKS):
        parser.error(f"--only: {', '.join(sorted(unknown))} not among {', '.join(TASKS)}")
    if missing := [TASKS[name].source for name in names if not (asked.data / TASKS[name].source).exists()]:
        parser.error(f"--data: {asked.data} has no {', '.join(missing)}")
    settings = TrainingSettings(effort=Effort(asked.effort), seed=asked.seed)
    results = {}
    spawn = multiprocessing.get_context("spawn")
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=spawn) as one:
            results[name] = one.submit(measure, name, asked.data, settings).result()
        if not asked.json:
            _print(name, results[name])
    if asked.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
