"""What live data is worth: first clicks, new users and new items, each held against the rival that the issue names.

    sessions    the generated world: Recall@20 of a slate before a visit and after 1, 2 and 5 of its events
    cold-users  ML-1M: users held out whole, 1, 3 and 5 random films known, against ALS fold-in
    new-items   ML-1M: a tenth of the films unknown to training, against TF-IDF neighbours and chance in the category

Trained as a release is trained and asked through the encoders that serve. Each part runs in a process of its own.
Example: python -m benchmarks.live_quality --data ../shared/data --only sessions --effort quick --json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import live_cold_users, live_new_items, live_sessions
from training_job.settings import Effort, TrainingSettings

PARTS: dict[str, Callable[[Path, TrainingSettings], dict[str, Any]]] = {
    "sessions": lambda _data, settings: live_sessions.measure(settings),
    "cold-users": live_cold_users.measure,
    "new-items": live_new_items.measure,
}


def measure(name: str, data: Path, settings: TrainingSettings) -> dict[str, Any]:
    """The figures of one part as plain JSON values."""
    begun = time.process_time()
    figures: dict[str, Any] = msgspec.to_builtins(PARTS[name](data, settings), str_keys=True)
    made = {"seed": settings.seed, "effort": str(settings.effort), "cpu_seconds": round(time.process_time() - begun)}
    return figures | made


def _print(name: str, figures: dict[str, Any]) -> None:
    print(f"{name}: {'reached' if figures['reached'] else 'NOT reached'}")
    for line in _lines(figures):
        print(f"  {line}")


def _lines(figures: dict[str, Any], path: str = "") -> list[str]:
    """`path: value`, an interval as `value [low, high]`."""
    lines = []
    for name, value in figures.items():
        here = f"{path}, {name}" if path else name
        if isinstance(value, dict) and value.keys() == {"value", "low", "high"}:
            lines.append(f"{here}: {value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]")
        elif isinstance(value, dict):
            lines += _lines(value, here)
        else:
            lines.append(f"{here}: {value:.4f}" if isinstance(value, float) else f"{here}: {value}")
    return lines


def main() -> int:
    """Run the chosen parts one after the other. A figure that is not reached is said, and is no failure to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that has ml-1m")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated: " + ", ".join(PARTS))
    parser.add_argument("--effort", choices=list(Effort), default=Effort.STANDARD)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of training; more than one only on an idle machine")
    parser.add_argument("--json", action="store_true", help="one object on stdout, everything else on stderr")
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))} not among {', '.join(PARTS)}")
    if names != ["sessions"] and not (asked.data / "ml-1m" / "sequences.txt").is_file():
        parser.error(f"--data: {asked.data} has no ml-1m/sequences.txt")
    settings = TrainingSettings(effort=Effort(asked.effort), seed=asked.seed, threads=asked.threads)
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
