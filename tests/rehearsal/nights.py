"""A deployment for the tests of whole nights: the synthesised state machine over the stand-ins, and a small world.

It has a hundred users, so that a night takes some seconds. A world begins empty: the buckets are emptied, and its users
and releases have names that nobody else has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import polars as pl

from contracts.event import Event, encode_event
from contracts.night import NightOutcome, Outcome, dataset_listing, dataset_prefix
from contracts.release import Publication
from data_sources.dataset import Dataset, open_dataset, write_dataset
from data_sources.generator import WorldSettings, generate
from local_mode.rehearsal.deployed import Deployed
from local_mode.rehearsal.faults import Faults
from local_mode.rehearsal.night import Ended, Nights, nights_of
from local_mode.rehearsal.stand_ins import DATA, LIVE_TABLE, RELEASES, STREAM, StandIns
from local_mode.rehearsal.synthesis import Assembly
from retrieval.golden import replay_golden
from stores.mirrored_folder import mirror
from stores.nights import Nights as NightStore
from stores.s3_bucket import Bucket
from stores.s3_releases import S3Releases

SHOP = "shop"
WORLD = WorldSettings(users=120, items=80, cold_share=0.05)
HURRY = 0.001
"""Ten minutes until a machine is asked for again are half a second."""
PART_ITEMS = "30"
"""Of the loader: three parts, so that the map has something to do."""


@dataclass
class World:
    """A deployment at work, its stores, and the dataset that its owner keeps."""

    nights: Nights
    folder: Path
    """Of the dataset."""
    store: NightStore
    releases: S3Releases
    stream: Any
    """Client of Firehose."""

    @property
    def faults(self) -> Faults:
        return self.nights.faults

    def dataset(self) -> Dataset:
        return open_dataset(self.folder)

    def keep(self, **tables: Any) -> None:
        """Change the dataset (`events`, `users`, `items`, `schema`) and send it, as its owner does."""
        found = replace(self.dataset(), **tables)
        write_dataset(self.folder, found.schema, found.events, found.users, found.items)
        self.send()

    def send(self) -> None:
        mirror(self.folder, self.store.bucket, dataset_prefix(SHOP), dataset_listing(SHOP))

    def happens(self, pairs: Sequence[tuple[str, str]], at: datetime | None = None) -> None:
        """Users do something with items, and the log has it as Firehose writes it."""
        now, kind = int((at or datetime.now(UTC)).timestamp()), self.dataset().events["event_type"][0]
        for first in range(0, len(pairs), 500):
            events = [
                Event(event_id=uuid4().hex, user_id=user, item_id=item, event_type=kind, timestamp=now, received_at=now)
                for user, item in pairs[first : first + 500]
            ]
            records = [{"Data": encode_event(event) + b"\n"} for event in events]
            self.stream.put_record_batch(DeliveryStreamName=STREAM, Records=records)

    def day(self, n: int = 60, back: timedelta = timedelta()) -> None:
        """`n` events of users that there are, some days ago, with what is as popular as it was and mostly new to them.

        What users had before is nothing to find: nights of repeats alone would leave nothing to judge a model by.
        """
        events = self.dataset().events.sample(n, seed=n, with_replacement=True)
        pairs = zip(events["user_id"].to_list(), events["item_id"].shuffle(seed=n).to_list(), strict=True)
        self.happens(list(pairs), datetime.now(UTC) - back)

    def run(self, **told: Any) -> Ended:
        """A whole night."""
        return self.nights.run(told)

    def published(self, **told: Any) -> Publication:
        """A whole night that publishes."""
        ended = self.run(**told)
        assert ended.status == "SUCCEEDED", f"{ended.error}: {ended.cause}\n{self.nights.logs()[-4000:]}"
        outcome = self.outcome()
        assert outcome.outcome is Outcome.PUBLISHED, outcome
        assert self.served().id == outcome.publication
        self.check_whole()
        return self.served()

    def served(self) -> Publication:
        """What serves."""
        current = self.releases.current()
        assert current is not None
        return current.publication

    def outcome(self) -> NightOutcome:
        """Of the newest night."""
        return self.store.read(self.store.ids()[-1], NightOutcome)

    def check_whole(self) -> None:
        """What serves opens whole and answers, and nobody holds the lease."""
        current = self.releases.current()
        if current is not None:
            replay_golden(self.releases.open(current.publication.release))
        lease = self.store.lease()
        assert lease is None or lease.released


@contextmanager
def world_of(assembly: Assembly, standing: StandIns, bundle: Path, folder: Path, **options: Any) -> Iterator[World]:
    """A deployment without a release, with a dataset and without an event. `options`: of `nights_of`."""
    empty()
    options = {"hurry": HURRY} | options
    more = {"TANDEM_PART_ITEMS": PART_ITEMS, **options.pop("more", {})}
    with ExitStack() as stack:
        nights = stack.enter_context(
            nights_of(Deployed(assembly, standing), standing, bundle, folder / "scratch", more=more, **options)
        )
        stream = stack.enter_context(closing(boto3.client("firehose")))
        data, releases = Bucket(DATA), S3Releases(RELEASES, folder / "home")
        world = World(nights, folder / SHOP, NightStore(data), releases, stream)
        make_dataset(world.folder)
        world.send()
        yield world


def make_dataset(out: Path) -> None:
    """A generated world that ended yesterday, its users named for this world alone."""
    generate(out, replace(WORLD, until=datetime.now(UTC).date()))
    found, mark = open_dataset(out), uuid4().hex[:6]
    name = pl.concat_str(pl.lit(f"{mark}-"), pl.col("user_id")).alias("user_id")
    users = found.users.with_columns(name)
    write_dataset(out, found.schema, found.events.with_columns(name), users, found.items)


def empty() -> None:
    """No release, no night, no event, no live data: whatever a module before has left is gone."""
    with closing(boto3.client("s3")) as client:
        for bucket in (DATA, RELEASES):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", ()):
                    client.delete_object(Bucket=bucket, Key=entry["Key"])
    with closing(boto3.resource("dynamodb").meta.client) as client:
        for record in client.scan(TableName=LIVE_TABLE, ProjectionExpression="kind, id")["Items"]:
            client.delete_item(TableName=LIVE_TABLE, Key=record)


def search_domain(deployed: Deployed) -> str:
    """The name of its search domain."""
    (domain,) = deployed.stacks["state"].of_type("AWS::OpenSearchService::Domain").values()
    return str(domain["DomainName"])
