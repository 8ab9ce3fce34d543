"""A warm request and the import of the handler, each beside a floor of the same run.

The request: `POST /v1/recommendations` for users with 50 events, 10 places, no explanation, over an embedded index of
5,000 items × 64. Its floor is a handler that only parses the same body with `json` and prints a stored answer of the
same size. The import: CPU of a whole process that imports the handler, beside one that imports numpy. Arrays are those
of the toy world: how long an exact scan takes does not depend on what was learned. Figures are CPU, interleaved, one
BLAS thread; the ratios travel between machines, the times do not. Example: python -m benchmarks.request --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

CALLS = 4_000
"""Of each kind; a p99 of 4,000 rests on 40."""
PROCESSES = 15
USERS = 64
"""Asked for in turn, so that no history stays in the nearest cache."""
EVENTS, ITEMS, DIM, PLACES = 50, 5_000, 64, 10
TARGETS = {"request_over_echo": 15.0, "import_over_numpy": 2.5}

Handler = Callable[[dict[str, Any], object], dict[str, Any]]


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy
    imports = measure_imports()
    requests = measure_requests()
    figures = {
        "request_over_echo": round(requests["handler"]["p50_us"] / requests["echo"]["p50_us"], 2),
        "import_over_numpy": round(imports["handler_ms"] / imports["numpy_ms"], 2),
        "targets": TARGETS,
        "request": requests,
        "import": imports,
    }
    print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))


def measure_imports() -> dict[str, float]:
    """CPU [ms] of fresh processes, interleaved, median."""
    programs = {"bare": "pass", "numpy": "import numpy", "handler": "import lambda_user_tower.handler"}
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for round_ in range(PROCESSES + 1):
        for name, program in programs.items():
            cpu = process_cpu_ms(program)
            if round_:  # the first round writes the .pyc files that a deployment ships
                spent[name].append(cpu)
    return {f"{name}_ms": round(median(times), 1) for name, times in spent.items()}


def process_cpu_ms(program: str) -> float:
    """CPU of a whole Python process, user and system."""
    process = subprocess.Popen([sys.executable, "-c", program])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return (usage.ru_utime + usage.ru_stime) * 1000


def measure_requests() -> dict[str, Any]:
    """CPU [µs] per call of the handler, of retrieval and re-ranking alone, and of the echo, in turn."""
    from benchmarks.request_world import core_of, events_of, published_edge  # numpy may be imported from here on

    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        edge = published_edge(Path(folder), ITEMS, DIM, USERS, EVENTS)
        events = events_of(USERS, PLACES)
        echo = echo_of(edge(events[0]))
        core = core_of(edge, PLACES)
        spent = interleaved({"handler": edge, "core": core, "echo": echo}, events)
        answer = edge(events[0])
        edge.close()
    slate = json.loads(answer["body"])
    assert (len(slate["items"]), slate["why"]["model"], slate["why"]["degraded"]) == (PLACES, "two_tower", [])
    assert abs(len(echo(events[0], None)["body"]) - len(answer["body"])) < 0.02 * len(answer["body"])  # exponents
    figures: dict[str, Any] = {name: summary(times) for name, times in spent.items()}
    figures["edge_us"] = round(figures["handler"]["p50_us"] - figures["core"]["p50_us"], 1)
    figures["answer_bytes"] = len(answer["body"])
    return figures


def interleaved(handlers: dict[str, Handler], events: list[dict[str, Any]]) -> dict[str, list[int]]:
    """CPU [ns] of each call, the order of the handlers drawn anew for each event."""
    spent: dict[str, list[int]] = {name: [] for name in handlers}
    order, draw = list(handlers), random.Random(0)
    for call in range(CALLS + 200):
        draw.shuffle(order)
        for name in order:
            handler, event = handlers[name], events[call % len(events)]
            before = time.thread_time_ns()
            handler(event, None)
            after = time.thread_time_ns()
            if call >= 200:  # warm
                spent[name].append(after - before)
    return spent


def summary(times: list[int]) -> dict[str, float]:
    """Median and 99th percentile [µs]."""
    return {"p50_us": round(median(times) / 1000, 1), "p99_us": round(quantiles(times, n=100)[98] / 1000, 1)}


def echo_of(answer: dict[str, Any]) -> Handler:
    """A handler that parses the body, ignores it, and prints a stored answer of the same size."""
    stored, headers = json.loads(answer["body"]), answer["headers"]
    encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: json.dumps would make one per call

    def echo(event: dict[str, Any], _: object) -> dict[str, Any]:
        json.loads(event["body"])
        return {"statusCode": 200, "headers": headers, "body": encode(stored)}

    return echo


class quiet_stderr:  # noqa: N801  # used as a function
    """Log lines cost what they cost, and go nowhere."""

    def __enter__(self) -> None:
        self._nowhere = Path(os.devnull).open("w")
        self._stderr, sys.stderr = sys.stderr, self._nowhere

    def __exit__(self, *_: object) -> None:
        sys.stderr = self._stderr
        self._nowhere.close()


if __name__ == "__main__":
    main()
