"""A night's data bucket for tests: a seeded dataset, a log, the lease, what serves; and the snapshot that is taken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from batch_job.event_log_reading import EVENT_SCHEMA
from batch_job.log_sources import S3Source
from batch_job.snapshot import Snapshot, Sources, take_snapshot
from contracts.event import Event, encode_event
from contracts.live import LiveItem, features_digest
from contracts.night import (
    EVENT_LOG,
    Accept,
    NightFacts,
    Serving,
    dataset_listing,
    dataset_prefix,
    snapshot_listing,
    snapshot_prefix,
)
from contracts.night_settings import NightSettings
from data_sources.dataset import Dataset, open_dataset
from stores.fresh_items import Put, SqliteFreshItems
from stores.identities import SqliteIdentities
from stores.live_file import LIVE_FILE
from stores.mirrored_folder import fetch, listed, mirror
from stores.nights import Nights
from stores.s3_bucket import Bucket
from tests.aws import REGION

DAY = 86_400
MIDNIGHT = 1_795_132_800
"""2026-11-20, 00:00 UTC."""
NAME = "shop"

SCHEMA = """
version = 1
[users]
gender = "categorical"
[items]
price = "numeric"
"""
EVENTS = "user_id,item_id,timestamp,event_type,value\n" + "".join(
    f"u{n % 5:02},i{n % 7},{MIDNIGHT - 10 * DAY + n},view,{n}\n" for n in range(20)
)
USERS = "user_id,gender\nu00,f\nu01,m\n"
ITEMS = "item_id,price\n" + "".join(f"i{n},{n}.5\n" for n in range(7))
FILES = {"schema.toml": SCHEMA, "events.csv": EVENTS, "users.csv": USERS, "items.csv": ITEMS}


def event(number: int | str, user: str = "u00", item: str = "i0", at: int = MIDNIGHT, **more: Any) -> Event:
    """An event that arrived at `at`, five seconds after it happened."""
    fields = {"event_type": "view", "timestamp": at - 5, "received_at": at} | more
    return Event(event_id=f"e{number}", user_id=user, item_id=item, **fields)


class NightWorld:
    """One bucket, and nights in it, one after the other."""

    def __init__(self, folder: Path, client: Any, bucket: str = "") -> None:
        self.folder, self.client = folder, client
        name = bucket or f"night-{uuid4().hex}"
        if not bucket:
            client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.bucket = Bucket(name, client=client)
        self.nights = Nights(self.bucket)
        self.settings = NightSettings(data_bucket=name, history_days=0)
        self.log = S3Source(f"s3://{name}/{EVENT_LOG}", client)
        self.items, self.identities = SqliteFreshItems(folder / LIVE_FILE), SqliteIdentities(folder / LIVE_FILE)
        self.serving: Serving | None = None

    def close(self) -> None:
        """Let go of the file of live data."""
        self.items.close()
        self.identities.close()

    def seed(self, files: Mapping[str, str] = {}) -> None:
        """Send the dataset, some files of it other than FILES; an empty one is left out."""
        source = self.folder / f"source-{uuid4().hex}"
        for name, text in (FILES | dict(files)).items():
            if text:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text(text)
        mirror(source, self.bucket, dataset_prefix(NAME), dataset_listing(NAME))

    def arrive(self, *events: Event, name: str = "a", day: str = "", parquet: bool = False) -> str:
        """Put an object into the log, under the day of its first event; its key."""
        key = f"{EVENT_LOG}dt={day or _day(events[0].received_at)}/{name}"
        lines = b"".join(encode_event(one) + b"\n" for one in events)
        if parquet:
            lines = _packed(pl.read_ndjson(lines, schema=EVENT_SCHEMA), self.folder)
        self.put(key, lines)
        return key

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket.name, Key=key, Body=data)

    def begin(self, at: int, *accept: Accept, night: str = "") -> NightFacts:
        """The lease and the facts of a night that begins now (Unix seconds)."""
        lease = self.nights.take_lease(f"arn:{uuid4().hex}", lambda _: False, night)
        facts = NightFacts(
            night=lease.night,
            token=lease.token,
            execution=lease.execution,
            dataset=NAME,
            begun_at=at,
            serving=self.serving,
            accept=accept,
        )
        self.nights.write(facts.night, facts)
        return facts

    def snapshot(self, facts: NightFacts) -> Snapshot:
        sources = Sources(self.log, self.items, self.identities)
        return take_snapshot(self.nights, sources, self.settings, facts.night, facts.token)

    def tell(self, item_id: str, **features: Any) -> None:
        """What a client puts."""
        item = LiveItem(item_id=item_id, features=features, digest=features_digest(features), created_at=MIDNIGHT)
        self.items.put([Put(item)], MIDNIGHT)

    def night(self, at: int, *accept: Accept, adopt: bool = True) -> Snapshot:
        """A night up to its check, which finds nothing wrong."""
        facts = self.begin(at, *accept)
        made = self.snapshot(facts)
        if adopt:
            self.nights.adopt(facts.night)
        self.nights.release_lease(facts.token)
        return made

    def publish(self, night: str | None) -> None:
        """Let a release serve that this night made; None: that somebody made by hand."""
        self.serving = Serving(publication="p1", release="r1", etag="e", night=night)

    def files(self, night: str) -> dict[str, bytes]:
        """The files of a snapshot."""
        prefix = snapshot_prefix(night)
        keys = [key for key, _ in self.bucket.listing(prefix)]
        return {key.removeprefix(prefix): self.bucket.read(key, 1 << 20).data for key in keys}

    def dataset(self, night: str) -> Dataset:
        """The snapshot of a night, as training opens it."""
        folder = self.folder / f"snapshot-{uuid4().hex}"
        fetch(self.bucket, snapshot_prefix(night), listed(self.bucket, snapshot_listing(night)), folder)
        return open_dataset(folder)


def _day(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d}"


def _packed(frame: pl.DataFrame, folder: Path) -> bytes:
    frame.write_parquet(folder / "packed.parquet")
    return (folder / "packed.parquet").read_bytes()
