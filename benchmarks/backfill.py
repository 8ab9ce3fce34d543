"""Profiles of all users from the files of a dataset into the embedded store: seconds and peak memory.

A first load into an empty file, and a second of the same dataset, which reads every record and writes none. Users have
ten events each on average, and two features. Each load runs in a process of its own.
Example: python -m benchmarks.backfill --users 50000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

USERS: Final = 1_000_000
EVENTS_EACH: Final = 10
PARTS: Final = 64
ITEMS: Final = 50_000
LIMITS: Final = {"first": {"seconds": 600, "peak_mb": 2_000}}

SCHEMA: Final = 'version = 1\n[users]\ngender = "categorical"\njoined = "timestamp"\n'
MIDNIGHT: Final = 1_795_132_800


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object (there is no other form)")
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--load", type=Path, help="what the benchmark runs in processes of its own")
    words = parser.parse_args()
    print(json.dumps(load(words.load) if words.load else run_all(words.users), indent=2))


def run_all(users: int) -> dict[str, Any]:
    """Make the dataset, then load it twice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "dataset", users)
        first, again = in_a_process(folder), in_a_process(folder)
        size = (folder / "profiles.sqlite").stat().st_size
    assert first["profiles"] == again["profiles"] == users
    written = {"store_mb": round(size / 1e6)}
    return {"events": users * EVENTS_EACH, "first": first | written, "again": again, "limits": LIMITS}


def in_a_process(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.backfill", "--load", str(folder)]
    figures: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return figures


def load(folder: Path) -> dict[str, Any]:
    """What the job does, into a file."""
    from batch_job.folder_backfill import Target, backfill_folder
    from stores.profiles import SqliteProfiles

    begun, cpu = time.perf_counter(), time.process_time()
    target = Target(lambda: SqliteProfiles(folder / "profiles.sqlite"))
    profiles = backfill_folder(folder / "dataset", target)
    spent = {"seconds": round(time.perf_counter() - begun, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"profiles": profiles, **spent, "peak_mb": round(peak)}


def make(folder: Path, users: int) -> None:
    """A dataset in parts, as a snapshot leaves it."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    (folder / "events").mkdir(parents=True)
    (folder / "schema.toml").write_text(SCHEMA)
    known = {"gender": rng.choice(["f", "m"], users), "joined": MIDNIGHT - rng.integers(0, 10**7, users)}
    told = pl.DataFrame(known).with_columns(user_id=pl.format("u{}", pl.int_range(users)))
    told.write_parquet(folder / "users.parquet")
    for part in range(PARTS):
        rows = users * EVENTS_EACH // PARTS
        numbers = {"user_id": rng.integers(0, users, rows), "item_id": rng.integers(0, ITEMS, rows)}
        events = pl.DataFrame(numbers).select(
            pl.format("u{}", "user_id").alias("user_id"),
            pl.format("i{}", "item_id").alias("item_id"),
            timestamp=pl.Series(MIDNIGHT - rng.integers(0, 10**7, rows)),
        )
        events.write_parquet(folder / "events" / f"part-{part:03}.parquet")


if __name__ == "__main__":
    main()
