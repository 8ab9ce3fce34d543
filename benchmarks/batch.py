"""Recommendations for many users at once, beside the same users asked one by one through the handler.

A release of `--items` × 64 and users with histories of 50 events, ten places each; arrays are those of the toy world,
for how long an exact search takes does not depend on what was learned. The batch runs as `tandem batch` does, on two
processes with one BLAS thread each; the handler is asked for some of the same users in a process with one thread. Wall
time is that of a machine that may have other work, CPU is not: both are told. Slates that differ between the two are
those in which two items score the same to six digits.
Example: python -m benchmarks.batch --items 50000 --users 40000
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
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

ITEMS, DIM, EVENTS, PLACES = 50_000, 64, 50, 10
USERS: Final = 40_000
ASKED: Final = 400
"""Users that the handler is asked for."""
PROCESSES: Final = 2
MOST_COMPARED: Final = 2_000
"""Items among which the toy world looks for neighbours, in a small catalogue; a million would take eight gigabytes."""
LIMITS: Final = {"users_per_second": 2_000}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object (there is no other form)")
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--step", choices=STEPS, help="what the benchmark runs in processes of its own")
    parser.add_argument("--home", type=Path)
    words = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before anything imports numpy
    if words.step:
        print(json.dumps(STEPS[words.step](words.home, words.items, words.users)))
    else:
        print(json.dumps(run_all(words.items, words.users), indent=2))


def run_all(items: int, users: int) -> dict[str, Any]:
    """Make the world, then a batch of all users and requests of some."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        in_a_process("make", home, items, users)
        batch, handler = in_a_process("batch", home, items, users), in_a_process("handler", home)
    batch["users_per_second"] = round(users / batch["seconds"])
    batch["users_per_second_of_idle_cores"] = round(PROCESSES * users / batch["cpu_seconds"])
    batch["cpu_us_per_user"] = round(1e6 * batch["cpu_seconds"] / users)
    return {
        "items": items,
        "users": users,
        "batch": batch,
        "handler": handler,
        "handler_over_batch": round(handler["cpu_us_per_user"] / batch["cpu_us_per_user"], 2),
        "limits": LIMITS,
    }


def in_a_process(step: str, home: Path, items: int = 0, users: int = 0) -> dict[str, Any]:
    """Of its own, for a peak of memory is told to children, too."""
    command = [sys.executable, "-m", "benchmarks.batch", "--step", step, "--home", str(home)]
    command += ["--items", str(items), "--users", str(users)]
    figures: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return figures


def make(home: Path, items: int, users: int) -> dict[str, Any]:
    """A published release and users with random histories."""
    import numpy as np

    import tests.toy_world
    from benchmarks.request_world import publish_toy, user_id
    from contracts.interactions import Interactions
    from stores.profiles import SqliteProfiles
    from tests.toy_world import NOW, item_id

    tests.toy_world.NEIGHBOURS_AMONG = min(MOST_COMPARED, MOST_COMPARED * ITEMS // items)
    publish_toy(home, items, DIM)
    draw = np.random.default_rng(0)
    events = Interactions.from_events(
        np.repeat(np.arange(users), EVENTS),
        draw.integers(0, items, users * EVENTS),
        NOW - draw.integers(0, 10**7, users * EVENTS),
        np.ones(users * EVENTS, np.float32),
        users,
        items,
    )
    features = ({"gender": "FM"[user % 2], "age": 20 + user % 50} for user in range(users))
    with SqliteProfiles(home / "profiles.sqlite") as profiles:
        profiles.bulk_load(map(user_id, range(users)), list(map(item_id, range(items))), events, features)
    return {}


def batch(home: Path, _: int, users: int) -> dict[str, Any]:
    """All users, in processes."""
    from batch_job.recommend import recommend_all
    from batch_job.recommend_plan import PART_USERS, Plan, Sources
    from stores.fresh_items import SqliteFreshItems
    from stores.identities import SqliteIdentities
    from stores.profiles import SqliteProfiles
    from stores.releases import LocalReleases
    from tests.toy_world import NOW

    live = home / "live.sqlite"
    sources = Sources(
        partial(LocalReleases, home),
        partial(SqliteProfiles, home / "profiles.sqlite"),
        partial(SqliteFreshItems, live),
        partial(SqliteIdentities, live),
    )
    begun = time.perf_counter()
    plan = Plan(None, NOW, PLACES, processes=PROCESSES, part_users=min(PART_USERS, max(1, users // (4 * PROCESSES))))
    done = recommend_all(plan, sources, home / "out")
    seconds = time.perf_counter() - begun
    whole, parts = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.counts.rows == done.manifest.listed * PLACES
    size = sum(path.stat().st_size for path in (home / "out").glob("part-*"))
    return {
        "processes": PROCESSES,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(used.ru_utime + used.ru_stime for used in (whole, parts)), 1),
        "peak_mb": {"parent": round(whole.ru_maxrss / 1024), "largest process": round(parts.ru_maxrss / 1024)},
        "written_mb": round(size / 1e6, 1),
    }


def handler(home: Path, *_: int) -> dict[str, Any]:
    """Some of the users, one after the other, and how many of their slates are those of the batch."""
    import polars as pl

    from benchmarks.request_world import events_of
    from lambda_user_tower.edge import Edge
    from lambda_user_tower.settings import LambdaSettings
    from tests.toy_world import NOW

    events = events_of(ASKED, PLACES)
    with mock.patch("time.time", return_value=float(NOW)):  # of the wall clock, by which the edge dates a request
        edge = Edge(LambdaSettings(home=home, budget_ms=20_000, log_level="ERROR"))
        for event in events[:20]:  # warm
            edge(event)
        begun = time.process_time()
        answers = [edge(event) for event in events]
        cpu = time.process_time() - begun
        edge.close()
    made = pl.scan_parquet(home / "out" / "part-*.parquet").sort("user_id", "rank").head(ASKED * PLACES).collect()
    slates = [[place["item_id"] for place in json.loads(answer["body"])["items"]] for answer in answers]
    same = sum(slate == made["item_id"][i * PLACES :][:PLACES].to_list() for i, slate in enumerate(slates))
    return {"cpu_us_per_user": round(1e6 * cpu / ASKED), "asked": ASKED, "same_slates": same}


STEPS: Final = {"make": make, "batch": batch, "handler": handler}

if __name__ == "__main__":
    main()
