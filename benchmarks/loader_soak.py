"""kill -9 of the index loader at random points, on a real engine: what serves is always whole, and a run finishes it.

A forked child loads and publishes a release and is killed at a random moment of the time that a whole run takes. After
each kill the pointer must name an index that is final, complete and of its release; every few kills a run is left to
finish what the dead ones began, and publishes. At the end a sweep must leave nothing but what publications name.
`make soak` runs it, `tests/index_loader` a sample. Example: python -m benchmarks.loader_soak --kills 100
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.faults import PATIENT
from contracts.errors import TandemError
from contracts.fitted import to_bundle
from index_loader.indexes import own_indexes
from index_loader.run import publish_or_load_again, run
from index_loader.sweep import sweep
from local_mode.opensearch import server
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases
from stores.search_engine import connect, loader_client
from tests.toy_world import toy_model

ITEMS = 1_000
"""Of a release. The toy world's five groups are then small enough for one graph to span (ef_construction is 200); with
5,000 items they come apart, and verification, rightly, refuses what no kill has spoilt."""
RECOVER_EVERY = 4
"""Kills after which a run may finish; then a new release is to be loaded."""


@dataclass
class Soak:
    """What the kills did."""

    kills: int = 0
    finished: int = 0
    """Runs that ended before their moment came."""
    torn: list[str] = field(default_factory=list)
    """States that should not exist; empty, or the promise is broken."""
    recovered: int = 0
    """Runs after kills that went through to a publication."""
    swept: int = 0
    orphans: list[str] = field(default_factory=list)
    """Indexes that no publication names, after the sweep."""
    seconds_of_a_run: float = 0.0


def soak(url: str, home: Path, kills: int, items: int, seed: int = 0) -> Soak:
    """Kill `kills` loads of releases of `items` items."""
    draw, result, store = random.Random(seed), Soak(), LocalReleases(home)
    for seed_ in (0, 1):  # the first one warms the engine up, the second tells how long a run takes
        begun = time.monotonic()
        load_child(url, home, seal(store, items, seed_), None)
        result.seconds_of_a_run = round(time.monotonic() - begun, 2)
    release = seal(store, items, 2)
    while result.kills < kills:
        moment = draw.uniform(0.0, result.seconds_of_a_run)
        status = load_child(url, home, release, moment)
        if status == -signal.SIGKILL:
            result.kills += 1
        elif status != 0:
            result.torn.append(f"a load ended with status {status} (moment {moment:.3f} s)")
        inspect(url, store, result, f"{moment:.3f} s")
        finished = status == 0
        if not finished and result.kills % RECOVER_EVERY == 0:
            finished = load_child(url, home, release, None) == 0
            result.recovered += finished
        result.finished += status == 0
        if finished:
            inspect(url, store, result, "the end")
            release = seal(store, items, result.kills + 3)
    if load_child(url, home, release, None) != 0:
        result.torn.append("the last run did not finish")
    clean_up(url, store, result)
    return result


def seal(store: LocalReleases, items: int, seed: int) -> str:
    """A release that differs from all before."""
    folder = store.home / uuid4().hex
    write_bundle(
        folder, to_bundle(toy_model(n_items=items, seed=seed)), TrainingFacts(n_items=items, dim=16, watermark=seed)
    )
    return store.seal(folder).id


def load_child(url: str, home: Path, release: str, moment: float | None) -> int:
    """A load and a publication in a forked child, killed after `moment` seconds; its exit status."""
    pid = os.fork()
    if pid == 0:
        _load(url, home, release)
    if moment is not None:
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _load(url: str, home: Path, release: str) -> None:
    """Never returns."""
    status = 3
    try:
        store = LocalReleases(home)
        etag = store.etag()
        loaded = run(store, loader_client(url), release)
        publish_or_load_again(store, release, None, etag, loaded, PATIENT)
        status = 0
    except TandemError as error:
        print(error, file=sys.stderr)
        status = 2
    finally:
        os._exit(status)


def inspect(url: str, store: LocalReleases, result: Soak, point: str) -> None:
    """What serves names an index that is final, complete and of its release."""
    client = connect(url, timeout_seconds=60)
    publication = store.serving().publication
    manifest = store.manifest(publication.release)
    named = [index for index in own_indexes(client) if index.name == publication.index]
    if not named or not named[0].final or named[0].digest != manifest.digest:
        result.torn.append(f"after {point}: {publication.id} names {publication.index}: {named}")
    elif (count := client.count(index=publication.index)["count"]) != manifest.n_items:
        result.torn.append(f"after {point}: {publication.index} holds {count} of {manifest.n_items}")
    client.close()


def clean_up(url: str, store: LocalReleases, result: Soak) -> None:
    """Sweep, look for orphans, and remove what is left of this soak."""
    client = connect(url, timeout_seconds=60)
    result.swept = len(sweep(store, client, delete=True, young_seconds=0).doomed)
    named = {publication.index for publication in store.kept()}
    left = [index.name for index in own_indexes(client) if index.release in store.ids()]
    result.orphans = [name for name in left if name not in named]
    for name in left:
        client.indices.delete(index=name)
    client.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            result = soak(server.start(home).url, home, options.kills, options.items, options.seed)
        finally:
            server.stop(home)
    figures: dict[str, Any] = vars(result)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 1 if result.torn or result.orphans else 0


if __name__ == "__main__":
    sys.exit(main())
