"""The snapshot of a night: seconds and peak memory, beside reading the same events at once with polars.

A base of as many events as the log brings (in parts, as a night leaves them), and a log as Firehose writes it (Parquet,
an object a quarter of an hour, one event in fifty told twice), both in moto's S3, which is a process of its own. The
plain way reads all of it into one frame, drops what is repeated and writes one file: nothing is validated, fetched or
sent. Each side runs in a process of its own. Example: python -m benchmarks.snapshot --events 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

EVENTS: Final = 10_000_000
BUCKET: Final = "snapshot-benchmark"
OBJECTS: Final = 96
"""Of the log: a day of quarters of an hour."""
REPEATED: Final = 50
"""One event in so many comes twice."""
DAY: Final = 86_400
MIDNIGHT: Final = 1_795_132_800
"""2026-11-20, 00:00 UTC: when the log begins; a day later the night does."""
LIMITS: Final = {"peak_mb": 2_000}

SCHEMA: Final = 'version = 1\n[items]\ncategory = "categorical"\n'


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object (there is no other form)")
    parser.add_argument("--events", type=int, default=EVENTS, help="of the log; the base has as many")
    parser.add_argument("--step", choices=STEPS, help="what the benchmark runs in processes of its own")
    parser.add_argument("--folder", type=Path)
    words = parser.parse_args()
    done = run_step(words.step, words.folder) if words.step else run_all(words.events)
    print(json.dumps(done, indent=2))


def run_all(events: int) -> dict[str, Any]:
    """Make the input, then run both sides."""
    with tempfile.TemporaryDirectory() as name, moto_server() as environment:
        folder = Path(name)
        made = make(folder, events, environment)
        figures = {step: in_a_process(step, folder, environment) for step in STEPS}
    ratio = figures["snapshot"]["seconds"] / figures["plain"]["seconds"]
    memory = figures["snapshot"]["peak_mb"] / figures["plain"]["peak_mb"]
    ratios = {"seconds_over_plain": round(ratio, 2), "memory_over_plain": round(memory, 2)}
    return {"input": made, **figures, **ratios, "limits": LIMITS}


def in_a_process(step: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.snapshot", "--step", step, "--folder", str(folder)]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def run_step(name: str, folder: Path) -> dict[str, Any]:
    """Run one side here and now: its figures, seconds and the peak memory of this process."""
    begun, cpu = time.perf_counter(), time.process_time()
    figures = STEPS[name](folder)
    spent = {"seconds": round(time.perf_counter() - begun, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return figures | spent | {"peak_mb": round(peak)}


def _snapshot(folder: Path) -> dict[str, Any]:
    """What the job does."""
    from batch_job.log_sources import S3Source
    from batch_job.snapshot import Sources, take_snapshot
    from contracts.night import EVENT_LOG
    from contracts.night_settings import NightSettings
    from stores.fresh_items import SqliteFreshItems
    from stores.identities import SqliteIdentities
    from stores.live_file import LIVE_FILE
    from stores.nights import Nights
    from stores.s3_bucket import Bucket, s3_client

    client = s3_client()
    nights = Nights(Bucket(BUCKET, client=client))
    night = (folder / "night").read_text()
    live = folder / LIVE_FILE
    log = S3Source(f"s3://{BUCKET}/{EVENT_LOG}", client)
    with SqliteFreshItems(live) as items, SqliteIdentities(live) as identities:
        made = take_snapshot(nights, Sources(log, items, identities), NightSettings(history_days=0), night, 2)
    report = made.report
    assert report.base is not None
    size = sum(entry.bytes for entry in report.files.values())
    return {"events": report.events, "repeated": report.repeated, "written_mb": round(size / 1e6)}


def _plain(folder: Path) -> dict[str, Any]:
    """Everything in memory at once."""
    import polars as pl

    base = pl.read_parquet(folder / "base" / "events" / "*.parquet")
    log = pl.read_parquet(folder / "log" / "*" / "*.parquet").select(base.columns)
    found = pl.concat([base, log]).unique(["user_id", "event_id"], keep="first").sort("user_id", "timestamp")
    found.write_parquet(folder / "plain.parquet")
    return {"events": len(found)}


STEPS: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {"plain": _plain, "snapshot": _snapshot}


@contextmanager
def moto_server() -> Iterator[dict[str, str]]:
    """S3 in a process of its own; the variables under which others find it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = subprocess.DEVNULL
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=quiet, stderr=quiet)
    url = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-central-1"}
    try:
        _wait_for(port)
        yield {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "eu-central-1", **keys}
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("moto does not answer")


def make(folder: Path, events: int, environment: dict[str, str]) -> dict[str, Any]:
    """A first night's snapshot, the log of the day after it, the second night's lease: in S3, and as files."""
    from unittest.mock import patch

    with patch.dict(os.environ, environment):
        return _make(folder, events)


def _make(folder: Path, events: int) -> dict[str, Any]:
    from contracts.night import NightFacts
    from stores.nights import Nights
    from stores.s3_bucket import Bucket, s3_client

    client = s3_client()
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    bucket = Bucket(BUCKET, client=client)
    nights = Nights(bucket)
    _make_base(folder, events, nights)
    size = _make_log(folder, events, client)
    lease = nights.take_lease("arn:2", lambda _: False)
    (folder / "night").write_text(lease.night)
    known: dict[str, Any] = {"night": lease.night, "token": lease.token, "execution": lease.execution}
    nights.write(lease.night, NightFacts(dataset="world", begun_at=MIDNIGHT + DAY, **known))
    client.close()
    return {"base_events": events, "log_events": events, "log_mb": round(size / 1e6)}


def _make_base(folder: Path, events: int, nights: Any) -> None:
    """The dataset, and what a first night has left."""
    from batch_job.stored_dataset import StoredDataset
    from contracts.night import SnapshotReport, dataset_listing, dataset_prefix, snapshot_listing, snapshot_prefix
    from contracts.schema import parse_schema
    from stores.mirrored_folder import mirror

    prefix, listing, schema = dataset_prefix("world"), dataset_listing("world"), parse_schema(SCHEMA)
    mirror(_dataset(folder / "seeded", 1, 1), nights.bucket, prefix, listing)
    night = nights.take_lease("arn:1", lambda _: False).night
    nights.release_lease(1)
    base = _dataset(folder / "base", events, 64)
    mirror(base, nights.bucket, snapshot_prefix(night), snapshot_listing(night))
    digest = StoredDataset.open(nights.bucket, prefix, listing).events_digest(schema)
    known: dict[str, Any] = {"catalogue": "", "read_from": "", "dataset": "world", "base_events": digest}
    for count in ("users", "items", "log_events", "new_events", "repeated", "too_old", "newest_event"):
        known[count] = 0
    report = SnapshotReport(night=night, base=None, events=events, unchanged=False, position="2026-11-19", **known)
    nights.write(night, report)
    nights.adopt(night)


def _dataset(folder: Path, events: int, parts: int) -> Path:
    import polars as pl

    (folder / "events").mkdir(parents=True)
    (folder / "schema.toml").write_text(SCHEMA)
    pl.DataFrame({"item_id": ["i000000"], "category": ["c"]}).write_parquet(folder / "items.parquet")
    for part in range(parts):
        frame = _events(events // parts, events, part, MIDNIGHT - 90 * DAY, 90 * DAY)
        frame.drop("received_at").write_parquet(folder / "events" / f"part-{part:03}.parquet")
    return folder


def _make_log(folder: Path, events: int, client: Any) -> int:
    """Send the objects of a day; their bytes."""
    import polars as pl

    size, day = 0, folder / "log" / "dt=2026-11-20"
    day.mkdir(parents=True)
    for number in range(OBJECTS):
        span = DAY // OBJECTS
        frame = _events(events // OBJECTS, events, 1_000 + number, MIDNIGHT + number * span, span)
        again = frame.gather_every(REPEATED)
        path = day / f"{number:03}.parquet"
        pl.concat([frame, again]).write_parquet(path, compression="snappy")
        client.upload_file(str(path), BUCKET, f"events/{day.name}/{path.name}")
        size += path.stat().st_size
    return size


def _events(rows: int, of: int, seed: int, first: int, seconds: int) -> Any:
    """Events, one user to ten of them and one item to two hundred, with random ids as the edge makes them."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(seed)
    ids = np.frombuffer(rng.bytes(16 * rows).hex().encode(), "S32").astype("U32")
    times = first + np.sort(rng.integers(0, seconds, rows))
    users, items = rng.integers(0, max(1, of // 10), rows), rng.integers(0, max(1, of // 200), rows)
    numbers = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": times, "event_id": ids})
    named = [pl.format("{}{}", pl.lit(name[0]), pl.col(name)).alias(name) for name in ("user_id", "item_id")]
    return numbers.with_columns(
        *named,
        event_type=pl.lit("view"),
        received_at=pl.col("timestamp") + 1,
        value=pl.lit(None, pl.Float64),
        session_id=pl.col("event_id"),
    )


if __name__ == "__main__":
    main()
