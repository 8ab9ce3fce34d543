"""Run the benchmarks one after the other and keep what they print. Example: python -m benchmarks request data"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

QUICK = (
    "request",
    "events",
    "lambda_function",
    "aws_clients",
    "data",
    "training",
    "demo",
    "index",
    "snapshot",
    "backfill",
    "batch",
    "experiment_statistics",
)
"""Minutes on two cores; the others are asked for by name (`make bench-quality`, `make bench-live`, `make soak`)."""

RESULTS = Path(".bench")


def main(names: tuple[str, ...]) -> int:
    """Run the named benchmarks; the exit status is the worst of theirs."""
    RESULTS.mkdir(exist_ok=True)
    worst = 0
    for name in names:
        print(f"== {name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", "--json"], stdout=subprocess.PIPE, check=False
        )
        worst = max(worst, abs(done.returncode))
        if done.returncode == 0:
            figures = json.loads(done.stdout)
            keep(name, figures)
            print(json.dumps(figures, indent=2), flush=True)
    return worst


def keep(name: str, figures: object) -> None:
    """Write the figures with the date and the size of the machine."""
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "figures": figures,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or QUICK))
