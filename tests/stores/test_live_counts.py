"""Every store of live counts: a process's own record, written over, read by time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contracts.live import BUCKET_SECONDS, COUNTED_ITEMS, COUNTS_KEPT_SECONDS, Counts
from stores.dynamodb_live_counts import DynamoDBLiveCounts
from stores.live_counts import LiveCounts, SqliteLiveCounts
from tests.stores.live_worlds import ENGINES, NOW, live_store

BUCKET = NOW // BUCKET_SECONDS


@pytest.fixture(params=ENGINES)
def counts(request: pytest.FixtureRequest, tmp_path) -> Iterator[LiveCounts]:
    """A store of each class and engine."""
    with live_store(request, SqliteLiveCounts, DynamoDBLiveCounts, tmp_path) as store:
        yield store


def test_nothing_is_counted_yet(counts):
    assert counts.since(0) == []
    assert counts.sweep(BUCKET) == 0


def test_a_writer_writes_its_own_record_over(counts):
    counts.write(Counts(BUCKET, "w1", {"a": 1.0, "ü": 0.5}))
    counts.write(Counts(BUCKET, "w2#of-two", {"a": 2.0}))
    for _ in range(2):  # repeated it changes nothing
        counts.write(Counts(BUCKET, "w1", {"a": 3.0, "ü": 0.5, "b": 1.25}))
    counts.write(Counts(BUCKET + 1, "w1", {}))
    assert counts.since(BUCKET) == [
        Counts(BUCKET, "w1", {"a": 3.0, "ü": 0.5, "b": 1.25}),
        Counts(BUCKET, "w2#of-two", {"a": 2.0}),
        Counts(BUCKET + 1, "w1", {}),
    ]


def test_they_come_by_bucket_from_the_asked_one_on(counts):
    buckets = [0, 5, 999_999, 1_000_000, BUCKET, 10_000_000]
    for bucket in reversed(buckets):
        counts.write(Counts(bucket, "w", {"a": float(bucket)}))
    assert [one.bucket for one in counts.since(0)] == buckets
    assert [one.bucket for one in counts.since(1_000_000)] == buckets[3:]
    assert [one.weights["a"] for one in counts.since(1_000_001)] == buckets[4:]
    assert counts.since(10_000_001) == []


def test_the_most_that_a_record_may_hold_fits(counts):
    weights = {f"{number:0>4}".ljust(128, "x"): 1.5 for number in range(COUNTED_ITEMS)}
    counts.write(Counts(BUCKET, "w", weights))
    assert counts.since(BUCKET) == [Counts(BUCKET, "w", weights)]


def test_old_counts_go(counts):
    for bucket in (BUCKET - 2, BUCKET - 1, BUCKET):
        counts.write(Counts(bucket, "w", {"a": 1.0}))
    removed = counts.sweep(BUCKET)
    if isinstance(counts, SqliteLiveCounts):
        assert removed == 2
        assert [one.bucket for one in counts.since(0)] == [BUCKET]
    else:  # the table does it by itself, a while after they expire
        assert removed == 0
        client, name = counts._table._client(), counts._table.name
        found = client.query(
            TableName=name,
            KeyConditionExpression="kind = :kind",
            ExpressionAttributeValues={":kind": {"S": "count"}},
        )["Items"]
        ends = [(bucket + 1) * BUCKET_SECONDS for bucket in (BUCKET - 2, BUCKET - 1, BUCKET)]
        assert [int(item["expires"]["N"]) for item in found] == [end + COUNTS_KEPT_SECONDS for end in ends]
        told = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        assert (told["TimeToLiveStatus"], told["AttributeName"]) == ("ENABLED", "expires")
