"""A release in a real search engine, from trained vectors to round trips; stages, each a process with its own memory.

    world     the generated world, as a dataset
    train     events → a sealed release, quick effort: vectors that were learnt, not drawn
    head      what leaving history beyond the head of the catalogue costs
    load      prepare → load → finalise, in the loader's own process
    publish   verified whole and published: ids, documents, recall without and under every filter
    queries   round trips of real user vectors, one client and eight, beside a scan of the same vectors in numpy
    rollback  from the write of the pointer to the first answer of a serving process that comes from it

What a stage found is kept in the work folder; a stage that is there already is not run again, so a long run can be gone
on with. `make bench` measures 100,000 items, `make bench-million` a million (docs/index.md has its table).
Example: python -m benchmarks.index --items 1000000 --users 100000 --work .bench/million
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
from data_sources.generator import WorldSettings, generate
from data_sources.indexed import index_dataset
from index_loader.finalise import finalise
from index_loader.load import load
from index_loader.prepare import prepare
from index_loader.publish import Loaded, publish
from local_mode.opensearch import server
from stores.releases import LocalReleases
from stores.search_engine import loader_client

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LARGE_HEAP: Final = "4g"
"""Two graphs of a million vectors are built and merged on the heap of the server."""
LARGE: Final = 200_000
"""Items above which the server is given LARGE_HEAP."""


def _world(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    return {"events": generate(work / "world", WorldSettings(users=asked.users, items=asked.items)).events}


def _train(work: Path, _: argparse.Namespace) -> dict[str, Any]:
    from training_job.export import export  # torch: only this stage pays for it
    from training_job.fit import fit
    from training_job.settings import Effort, TrainingSettings

    indexed = index_dataset(open_dataset(work / "world", event_columns=TRAINING_COLUMNS))
    fitted = fit(indexed, indexed.interactions, TrainingSettings(effort=Effort.QUICK), progress=_tell)
    export(fitted, work / "model")
    manifest = LocalReleases(work / "home").seal(work / "model")
    return {"release": manifest.id, "stages": fitted.report["seconds"], "metrics": manifest.metrics}


def _head(work: Path, _: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.head import head_cost

    return head_cost(work / "world", work / "home")


def _load(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    store, client = LocalReleases(work / "home"), loader_client(asked.url)
    release = store.ids()[-1]
    seconds: dict[str, float] = {}
    name = _timed(seconds, "prepare", lambda: prepare(store, client, release))
    documents = _timed(seconds, "load", lambda: load(store, client, release, name, progress=_tell))
    _timed(seconds, "finalise", lambda: finalise(client, name, progress=_tell))
    size = client.indices.stats(index=name)["indices"][name]["primaries"]["store"]["size_in_bytes"]
    return {
        "index": name,
        "documents": documents,
        "stages": seconds,
        "documents_per_second": round(documents / seconds["load"]),
        "vectors_per_second": round(2 * documents / seconds["load"]),
        "index_mb": round(size / 1e6),
    }


def _publish(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    store, client = LocalReleases(work / "home"), loader_client(asked.url)
    name = _kept(work, "load")["index"]
    done = publish(store, store.ids()[-1], None, store.etag(), loaded=Loaded(client, name, _tell)).publication
    return {"publication": done.id, "verification": done.verification}


def _queries(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.index_queries import round_trips

    return round_trips(work / "home", asked.url)


def _rollback(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.index_queries import swap

    return swap(work / "home", asked.url)


STAGES: Final[dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]]] = {
    "world": _world,
    "train": _train,
    "head": _head,
    "load": _load,
    "publish": _publish,
    "queries": _queries,
    "rollback": _rollback,
}
NEED_SERVER: Final = ("load", "publish", "queries", "rollback")


def _timed(seconds: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    result = call()
    seconds[name] = round(time.perf_counter() - begun, 1)
    return result


class _Teller:
    """At most a line every ten seconds, for who watches an hour of work."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self._last > 10:
            self._last = now
            print(f"{text}: {done}" + (f" of {total}" if total else ""), file=sys.stderr, flush=True)


_tell: Final = _Teller()


def _kept(work: Path, stage: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((work / f"{stage}.json").read_text())
    return figures


def run_stage(stage: str, work: Path, asked: argparse.Namespace) -> None:
    """Run a stage here, and keep its figures with the seconds and the peak memory of this process."""
    begun = time.perf_counter()
    figures = STAGES[stage](work, asked)
    figures |= {
        "seconds": round(time.perf_counter() - begun, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }
    (work / f"{stage}.json").write_text(json.dumps(figures, indent=2))


def run_all(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Every stage that has not been run in this work folder, each in a process of its own; all figures."""
    work.mkdir(parents=True, exist_ok=True)
    if asked.items > LARGE:
        os.environ.setdefault("TANDEM_OPENSEARCH_HEAP", LARGE_HEAP)
    try:
        for stage in STAGES:
            if (work / f"{stage}.json").is_file():
                continue
            url = server.start(work / "home").url if stage in NEED_SERVER else ""
            print(f"-- {stage}", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "benchmarks.index", "--stage", stage, "--work", str(work), "--url", url]
            command += ["--items", str(asked.items), "--users", str(asked.users)]
            subprocess.run(command, cwd=REPOSITORY, check=True)
    finally:
        server.stop(work / "home")
    return {"items": asked.items, "users": asked.users} | {stage: _kept(work, stage) for stage in STAGES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=40_000, help="of the generated world, 25 events each")
    parser.add_argument("--work", type=Path, help="folder that keeps what was made; default: one that is removed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        run_stage(asked.stage, asked.work, asked)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = run_all((asked.work or Path(folder)).resolve(), asked)
    print(json.dumps(figures, indent=None if asked.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
