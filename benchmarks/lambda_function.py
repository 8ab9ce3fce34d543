"""The deployed function on this machine: the bundle under the runtime client that AWS runs it with.

Import: CPU of a whole process that imports the recommend function as Lambda does, beside one that imports boto3, and
what each library costs of it. Warm request: CPU of the function's process from idle to idle, for users with 50 events,
10 places and an embedded index of 5,000 items × 64, beside a function that parses the same body and prints an answer of
the same size. Cold start and restore: wall time to the first slate of 50,000 items × 64, after a restore with the
pointer where it was and with a new release published since the snapshot. All from the bundle that the tests run, built
for this machine. Ratios travel between machines, times do not. Example: python -m benchmarks.lambda_function --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.lambda_imports import BUNDLE, HANDLER, blas_environment, measure_imports

CALLS = 1_000
"""Warm requests of each kind; a p99 of 1,000 rests on ten."""
WARM_UP = 100
STARTS = 5
"""Cold starts and restores of each kind."""
USERS, EVENTS, PLACES, DIM = 64, 50, 10, 64
ITEMS, MANY_ITEMS = 5_000, 50_000
IDLE_SECONDS = 0.002
"""After an answer the client posts it and asks for the next event: that is done by then, and belongs to the request."""
TARGETS = {
    "unzipped_mb": 170,
    "zip_mb": 60,
    "import_over_boto3": 5.5,
    "request_over_echo": 20.0,
    "cold_start_ms": 2000,
    "restore_ms": 300,
    "restore_moved_ms": 1000,
}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy
    sizes = built_sizes()
    imports = measure_imports()
    with tempfile.TemporaryDirectory() as folder:
        warm = measure_warm(Path(folder) / "warm")
        starts = measure_starts(Path(folder) / "many")
    figures = {
        **sizes,
        "import_over_boto3": round(imports["cpu_ms"]["recommend_in_aws"] / imports["cpu_ms"]["boto3"], 2),
        "request_over_echo": round(warm["recommend"]["p50_us"] / warm["echo"]["p50_us"], 2),
        **{name: round(median(found["wall"])) for name, found in starts.items()},
        "targets": TARGETS,
        "import": imports,
        "request": warm,
        "starts": starts,
    }
    print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))


def built_sizes() -> dict[str, float]:
    """Build the bundle for this machine; its sizes [MB]. The arm64 one has no `.pyc` and is smaller."""
    from infra.bundle.build import Recipe, build
    from infra.bundle.target import host_target

    report = build(Recipe(host_target()), BUNDLE)
    return {"unzipped_mb": round(report.unzipped_bytes / 1e6, 1), "zip_mb": round(report.zip_bytes / 1e6, 1)}


# ---- requests


def function_environment(home: Path) -> dict[str, str]:
    """Stores in a folder. The budget is wide: here a busy machine must not make an answer poorer, and cheaper."""
    return {"TANDEM_HOME": str(home.resolve()), "TANDEM_BUDGET_MS": "20000", **blas_environment()}


def measure_warm(home: Path) -> dict[str, Any]:
    """CPU [µs] of the process per request, and wall time [µs] as the caller sees it."""
    from benchmarks.request_world import events_of, published_edge
    from local_mode.lambda_runtime.function import Function

    published_edge(home, ITEMS, DIM, USERS, EVENTS).close()
    events = events_of(USERS, PLACES)
    with Function(BUNDLE, HANDLER, function_environment(home)) as recommend:
        answer = recommend.invoke(events[0])
        slate = json.loads(answer["body"])
        assert (len(slate["items"]), slate["why"]["model"], slate["why"]["degraded"]) == (PLACES, "two_tower", [])
        with Function(lay_echo(home / "echo", answer), "echo.handler", {}) as echo:
            assert len(echo.invoke(events[0])["body"]) == len(answer["body"])
            spent = interleaved({"recommend": recommend, "echo": echo}, events)
    return {name: summary(times) for name, times in spent.items()}


def lay_echo(folder: Path, answer: dict[str, Any]) -> Path:
    """A function that parses the body, ignores it, and prints a stored answer of the same size."""
    folder.mkdir()
    (folder / "answer.json").write_text(json.dumps(answer))
    lines = (
        "import json, pathlib",
        "answer = json.loads((pathlib.Path(__file__).parent / 'answer.json').read_text())",
        "stored, headers = json.loads(answer['body']), answer['headers']",
        "encode = json.JSONEncoder(separators=(',', ':')).encode",
        f"padding = ' ' * ({len(answer['body'])} - len(encode(stored)))  # numbers may print shorter",
        "def handler(event, context):",
        "    json.loads(event['body'])",
        "    return {'statusCode': 200, 'headers': headers, 'body': encode(stored) + padding}",
    )
    (folder / "echo.py").write_text("\n".join(lines) + "\n")
    return folder


def interleaved(functions: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """CPU and wall time [ns] of each request, the order of the functions drawn anew for each event."""
    spent: dict[str, list[tuple[int, int]]] = {name: [] for name in functions}
    clocks = {name: process_clock(function.pids()[0]) for name, function in functions.items()}
    order, draw = list(functions), random.Random(0)
    for call in range(CALLS + WARM_UP):
        draw.shuffle(order)
        for name in order:
            cpu, wall = clocks[name](), time.monotonic_ns()
            functions[name].invoke(events[call % len(events)])
            answered = time.monotonic_ns()
            time.sleep(IDLE_SECONDS)
            if call >= WARM_UP:
                spent[name].append((clocks[name]() - cpu, answered - wall))
    return spent


def process_clock(pid: int) -> Callable[[], int]:
    """CPU [ns] of all threads of a process, ended ones included, read from outside (clock_getcpuclockid(3), Linux)."""
    clock = (~pid << 3) | 2  # CPUCLOCK_SCHED of the process
    return lambda: time.clock_gettime_ns(clock)


def summary(times: list[tuple[int, int]]) -> dict[str, float]:
    """Median and 99th percentile of CPU, median of wall time [µs]."""
    cpu, wall = ([pair[part] / 1000 for pair in times] for part in (0, 1))
    return {
        "p50_us": round(median(cpu), 1),
        "p99_us": round(quantiles(cpu, n=100)[98], 1),
        "wall_p50_us": round(median(wall), 1),
    }


# ---- starts


def measure_starts(home: Path) -> dict[str, dict[str, list[float]]]:
    """Wall time and CPU of the process [ms] from the call of a function that does not run to its slate."""
    from benchmarks.request_world import events_of, published_edge
    from local_mode.lambda_runtime.function import Function

    published_edge(home, MANY_ITEMS, DIM, USERS, EVENTS).close()
    event = events_of(1, PLACES)[0]
    environment = function_environment(home)
    took: dict[str, list[Took]] = {"cold_start_ms": [], "restore_ms": [], "restore_moved_ms": []}
    for _ in range(STARTS):
        with Function(BUNDLE, HANDLER, environment) as function:
            took["cold_start_ms"].append(first_slate(function, event))
        with Function(BUNDLE, HANDLER, environment, snap_start=True) as function:
            function.snapshot()
            took["restore_ms"].append(first_slate(function, event))
    other = another_release(home)
    for _ in range(STARTS):
        with Function(BUNDLE, HANDLER, environment, snap_start=True) as function:
            function.snapshot()
            moved, other = publish(home, other)
            took["restore_moved_ms"].append(first_slate(function, event))
            assert took["restore_moved_ms"][-1].publication == moved
    return {
        name: {"wall": [round(one.wall_ms, 1) for one in found], "cpu": [round(one.cpu_ms, 1) for one in found]}
        for name, found in took.items()
    }


class Took(NamedTuple):
    """A first slate."""

    wall_ms: float
    cpu_ms: float
    publication: str


def first_slate(function: Any, event: dict[str, Any]) -> Took:
    """What the first slate takes, counted from what a snapshot had taken already."""
    spent = sum(process_clock(pid)() for pid in function.pids())
    before = time.monotonic()
    answer = function.invoke(event)
    wall_ms = (time.monotonic() - before) * 1000
    cpu_ms = (process_clock(function.pids()[0])() - spent) / 1e6
    slate = json.loads(answer["body"])
    assert (len(slate["items"]), slate["why"]["degraded"]) == (PLACES, [])
    return Took(wall_ms, cpu_ms, slate["why"]["publication"])


def another_release(home: Path) -> str:
    """Seal a release of as many items with other vectors; its id."""
    from contracts.fitted import to_bundle
    from stores.release_files import TrainingFacts, write_bundle
    from stores.releases import LocalReleases
    from tests.toy_world import NOW, toy_model

    model = toy_model(n_items=MANY_ITEMS, dim=DIM, seed=1, n_categories=7, n_cold=MANY_ITEMS // 50, hidden=DIM)
    write_bundle(home / "other", to_bundle(model), TrainingFacts(n_items=MANY_ITEMS, dim=DIM, watermark=NOW))
    return LocalReleases(home).seal(home / "other").id


def publish(home: Path, release: str) -> tuple[str, str]:
    """Move the pointer to a release; the publication, and the release that it pointed to before."""
    from contracts.release import Publication
    from stores.publications import now_text
    from stores.releases import LocalReleases

    releases = LocalReleases(home)
    current = releases.current()
    assert current is not None
    sequence = releases.next_sequence()
    publication = Publication(
        id=f"p{sequence}",
        sequence=sequence,
        release=release,
        served_model="two_tower",
        gate=None,
        previous=current.publication.id,
        created_at=now_text(),
    )
    releases.publish(publication, current.etag)
    return publication.id, current.publication.release


if __name__ == "__main__":
    main()
