"""What the first clicks of a visit are worth: Recall@20 of a slate before it and after 1, 2 and 5 of its events.

The generated world of `live_sessions`, trained as a release is trained and asked through what serves, in a process of
its own. New users and new items are parts of the quality table (`python -m benchmarks.quality --only
cold-users,new-items`). Example: python -m benchmarks.live_quality --effort quick --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import msgspec

from benchmarks import live_sessions
from benchmarks.quality_process import alone
from training_job.settings import Effort, TrainingSettings


def measure(settings: TrainingSettings) -> dict[str, Any]:
    """The figures as plain JSON values."""
    begun = time.process_time()
    figures: dict[str, Any] = msgspec.to_builtins(live_sessions.measure(settings), str_keys=True)
    made = {"seed": settings.seed, "effort": str(settings.effort), "cpu_seconds": round(time.process_time() - begun)}
    return figures | made


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
    """Measure. A figure that is not reached is said, and is no failure to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effort", choices=list(Effort), default=Effort.STANDARD)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of training; more than one only on an idle machine")
    parser.add_argument("--json", action="store_true", help="one object on stdout, everything else on stderr")
    asked = parser.parse_args()
    settings = TrainingSettings(effort=Effort(asked.effort), seed=asked.seed, threads=asked.threads)
    figures = alone(measure, settings)
    if asked.json:
        print(json.dumps({"sessions": figures}))
    else:
        print(f"sessions: {'reached' if figures['reached'] else 'NOT reached'}", *_lines(figures), sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
