"""How long the whole loop takes: `tandem demo` on the generated world, as one process from the outside.

Example: python -m benchmarks.demo --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil

RUNS = 3
"""The first one also warms the page cache; the median leaves it out of the figure."""
POLL_SECONDS = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = [run_once() for _ in range(RUNS)]
    figures = {
        "seconds": statistics.median(run["seconds"] for run in runs),
        "target_seconds": 60,
        "peak_mb": max(run["peak_mb"] for run in runs),
        "steps": runs[-1]["steps"],
    }
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0


def run_once() -> dict[str, Any]:
    """Wall seconds, peak resident memory, and the seconds of each step as the demo tells them."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as printed:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "cli.main", "demo", "--home", home, "--json"]
        demo = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        process, peak = psutil.Process(demo.pid), 0
        while demo.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
                demo.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            except psutil.NoSuchProcess:
                break
        seconds = time.perf_counter() - begun
        if demo.returncode:
            raise SystemExit(f"the demo ended with status {demo.returncode}")
        printed.seek(0)
        steps = json.load(printed)["seconds"]
    return {"seconds": round(seconds, 1), "peak_mb": round(peak / 1e6), "steps": steps}


if __name__ == "__main__":
    sys.exit(main())
