"""Data sources: seconds and peak memory of generating, importing, opening and checking, each in a process of its own.

Beside the import stands a plain loop over the same lines (split, convert, append), so that a ratio can be quoted.
Example: python -m benchmarks.data --json
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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from data_sources.dataset import TRAINING_COLUMNS, open_dataset
from data_sources.doctor import diagnose
from data_sources.generator import WorldSettings, generate
from data_sources.importers.movielens import import_movielens
from data_sources.indexed import index_dataset

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LARGE: Final = WorldSettings(users=100_000, items=20_000)

LIMITS: Final = {
    "generate": {"seconds": 60, "peak_mb": 2_000, "at_least_events": 2_000_000},
    "import_ml_1m": {"seconds": 10},
}


def _generate(folder: Path) -> dict[str, Any]:
    return {"events": generate(folder / "large", LARGE).events}


def _index(folder: Path) -> dict[str, Any]:
    indexed = index_dataset(open_dataset(folder / "large", event_columns=TRAINING_COLUMNS))
    return {"events": len(indexed.interactions)}


def _check(folder: Path) -> dict[str, Any]:
    diagnosis = diagnose(folder / "large")
    return {"events": diagnosis.events, "checks": len(diagnosis.checks), "status": diagnosis.status}


def _import_ml_1m(folder: Path) -> dict[str, Any]:
    return {"events": import_movielens(_ml_1m(), folder / "ml-1m").events}


def _import_ml_1m_loop(_: Path) -> dict[str, Any]:
    """The loop that the importer is compared to: ratings only, nothing checked, nothing written."""
    users, items, values, times = [], [], [], []
    with (_ml_1m() / "ratings.dat").open(encoding="latin-1") as lines:
        for line in lines:
            user, item, value, timestamp = line.rstrip("\n").split("::")
            users.append(user)
            items.append(item)
            values.append(float(value))
            times.append(int(timestamp))
    assert len(users) == len(items) == len(values) == len(times)
    return {"events": len(users)}


def _ml_1m() -> Path:
    return Path(os.environ.get("TANDEM_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "ml-1m"


STEPS: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {
    "generate": _generate,
    "open_and_index": _index,
    "check": _check,
    "import_ml_1m": _import_ml_1m,
    "import_ml_1m_loop": _import_ml_1m_loop,
}


def run_step(name: str, folder: Path) -> dict[str, Any]:
    """Run one step here and now: its figures, seconds and the peak memory of this process."""
    started, cpu = time.perf_counter(), time.process_time()
    figures = STEPS[name](folder)
    figures |= {"seconds": round(time.perf_counter() - started, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures | {"peak_mb": round(kilobytes * 1024 / 1e6), "limits": LIMITS.get(name, {})}


def run_all() -> dict[str, Any]:
    """Every step in a process of its own; one whose data is not there says so."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in STEPS:
            if "ml_1m" in name and not _ml_1m().is_dir():
                figures[name] = {"skipped": f"{_ml_1m()} does not exist (set TANDEM_TEST_DATA)"}
                continue
            command = [sys.executable, "-m", "benchmarks.data", "--step", name, "--folder", folder]
            done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
            figures[name] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object (there is no other form)")
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--folder", type=Path)
    words = parser.parse_args()
    print(json.dumps(run_step(words.step, words.folder) if words.step else run_all(), indent=2))


if __name__ == "__main__":
    main()
