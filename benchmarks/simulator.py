"""The full simulated world: 20,000 users, four arms, 36 days of experiment, nightly training, and a twin of each arm.

One run through `tandem simulate`'s own code, as a process from the outside: wall seconds, visits served a second, and
the peak memory of all processes together. 36 days is the shortest in which retention exists (days 28 to 34 after a
first visit).

Example: python -m benchmarks.simulator --json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=36)
    parser.add_argument("--warm-days", type=int, default=28)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    size = {name: getattr(options, name) for name in ("users", "items", "days", "warm_days", "processes")}
    with tempfile.TemporaryDirectory() as home:
        figures = run(size, Path(home))
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0


def run(size: dict[str, int], home: Path) -> dict[str, Any]:
    """One run of a world of this size."""
    words = [word for name, value in size.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "cli.main", "simulate", "--runs", "1", "--no-dose", "--json", "--home", str(home)]
    with tempfile.TemporaryFile() as printed:
        begun = time.perf_counter()
        simulating = subprocess.Popen([*command, *words], stdout=printed)
        peak = _peak_while(simulating)
        seconds = time.perf_counter() - begun
        if simulating.returncode:
            raise SystemExit(f"the simulation ended with status {simulating.returncode}")
        printed.seek(0)
        told = json.load(printed)
    visits = sum(arm["users"] for arm in told["runs"][0]["arms"]) * _mean_sessions(told) * (1 + len(told["arms"]))
    return {
        **size,
        "seconds": round(seconds, 1),
        "seconds_of_the_mixed_line": told["runs"][0]["seconds"],
        "slates": round(visits, -3),
        "releases": len(told["runs"][0]["releases"]),
        "peak_mb": round(peak / 1e6),
        "effects": [
            {name: one[name] for name in ("metric", "arm", "estimate", "low", "high", "true_effect")}
            for one in told["pooled"]
        ],
    }


def _mean_sessions(told: dict[str, Any]) -> float:
    """Of a user: all arms are alike within a few per cent."""
    return float(next(one["control_value"] for one in told["pooled"] if one["metric"] == "sessions"))


def _peak_while(running: subprocess.Popen[bytes]) -> int:
    """Peak resident memory of a process and its children together, until it ends."""
    process, peak = psutil.Process(running.pid), 0
    while running.poll() is None:
        try:
            peak = max(peak, sum(one.memory_info().rss for one in (process, *process.children(recursive=True))))
            running.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except psutil.NoSuchProcess:  # one ended between the list and the look
            time.sleep(POLL_SECONDS)
    return peak


if __name__ == "__main__":
    sys.exit(main())
