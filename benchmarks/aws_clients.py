"""What reaching the stores of AWS costs a request in CPU: a profile from DynamoDB, a search, an event, the pointer.

Client CPU of this process per call [µs], over the stand-ins of the rehearsal, in processes of their own but for moto,
whose share is in the figures of Firehose and S3 (marked). Median of CALLS. Example: python -m benchmarks.aws_clients
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

CALLS = 300
ITEMS, EVENTS = 300, 50
BESIDE_MOTO = "beside moto, in this process"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy
    figures = measure()
    print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))


def measure() -> dict[str, Any]:
    """Client CPU by call."""
    from local_mode.rehearsal.stand_ins import TABLE, stand_ins
    from stores.dynamodb_profiles import DynamoDBProfiles

    with tempfile.TemporaryDirectory() as name, stand_ins(Path(name)) as standing:
        with closing(DynamoDBProfiles(TABLE)) as profiles:
            figures = {f"dynamodb {what}": cpu_us(call) for what, call in profile_calls(profiles).items()}
        figures["search, k = 100"] = cpu_us(search_call(Path(name), standing.search_url))
        figures[f"pointer, unchanged ({BESIDE_MOTO})"] = cpu_us(pointer_call(Path(name)))
    return {"client_cpu_p50_us": figures}


def cpu_us(call: Callable[[int], object]) -> float:
    """Median CPU [µs] of all threads of this process."""
    spent = []
    for number in range(CALLS + CALLS // 10):
        before = time.process_time_ns()
        call(number)
        spent.append(time.process_time_ns() - before)
    return round(median(spent[CALLS // 10 :]) / 1000, 1)


def profile_calls(profiles: Any) -> dict[str, Callable[[int], object]]:
    """A read for a slate, and what an event costs: a read and a conditional write."""
    from contracts.profile import HistoryEvent
    from stores.profiles import Addition

    now = int(time.time())
    profiles.append("u", [HistoryEvent(f"i{n:06d}", now + n) for n in range(EVENTS)])

    def add(number: int) -> None:
        known = profiles.read(["v"])
        addition = Addition("v", [HistoryEvent(f"i{number:06d}", now + number)], [f"e{number}"])
        assert profiles.append_all([addition], now, known) == [1]

    return {"get": lambda _: profiles.get("u"), "read and append": add}


def search_call(folder: Path, url: str) -> Callable[[int], object]:
    """A search of a loaded toy release."""
    import numpy as np

    from contracts.deadline import Deadline
    from index_loader.run import run
    from stores.releases import LocalReleases
    from stores.search_engine import connect
    from stores.search_index import OpenSearchIndex
    from tests.lambda_user_tower.conftest import seal
    from tests.toy_world import toy_model

    home = folder / "home"
    release = seal(home, toy_model(n_items=ITEMS))
    client = connect(url)
    loaded = run(LocalReleases(home), client, release)
    index = OpenSearchIndex.open(client, loaded.name, LocalReleases(home).manifest(release))
    queries = np.random.default_rng(0).standard_normal((CALLS * 2, 16)).astype(np.float32)
    return lambda number: index.search("two_tower", queries[number], 100, None, Deadline(10_000))


def pointer_call(folder: Path) -> Callable[[int], object]:
    """A look at the pointer, which has not moved."""
    from index_loader.publish import publish
    from local_mode.rehearsal.stand_ins import RELEASES
    from stores.releases import LocalReleases
    from stores.s3_releases import S3Releases

    local = LocalReleases(folder / "home")
    releases = S3Releases(RELEASES, folder / "cache")
    releases.copy_in(local, local.ids()[0])
    publish(releases, local.ids()[0], None, None)
    return lambda _: releases.current()


if __name__ == "__main__":
    main()
