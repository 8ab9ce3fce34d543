"""Reading the log: every form that it has, from a folder and from S3, and damage named and left out."""

from __future__ import annotations

import gzip
import random
from datetime import date
from uuid import uuid4

import polars as pl
import pytest

import batch_job.event_log_reading
from batch_job.event_log_reading import EVENT_SCHEMA, Reading, read_events
from batch_job.log_sources import FolderSource, S3Source, open_source
from contracts.errors import LogUnavailable
from contracts.event import Event, encode_event

NOON = 1_795_176_000
"""2026-11-20, 12:00 UTC."""


def event(number, received_at=NOON):
    return Event(
        event_id=f"e{number}",
        user_id="u",
        item_id="i",
        event_type="view",
        timestamp=received_at - 5,
        received_at=received_at,
        known_item=number % 2 == 0,
    )


def lines(*numbers):
    return b"".join(encode_event(event(number)) + b"\n" for number in numbers)


def parquet(*numbers):
    """A file as Firehose makes one by Glue's table: a null where a line has left out what is the default."""
    rows = [dict.fromkeys(EVENT_SCHEMA) | pl.read_ndjson(lines(number)).row(0, named=True) for number in numbers]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA)


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pl.DataFrame):
        content.write_parquet(path, compression="snappy")
    else:
        path.write_bytes(content)
    return path


def read(source, since=None):
    reading = Reading()
    frames = list(read_events(source, since, reading))
    for frame in frames:
        assert frame.schema == EVENT_SCHEMA
    return [Event(**row) for frame in frames for row in frame.iter_rows(named=True)], reading


FORMS = {"lines": lines, "gzip": lambda *n: gzip.compress(lines(*n)), "parquet": parquet}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_events(tmp_path, form):
    put(tmp_path, "dt=2026-11-20/anything", FORMS[form](*range(5)))
    found, reading = read(open_source(tmp_path))
    assert found == [event(number) for number in range(5)]
    assert reading == Reading(objects=1, events=5)


def test_a_column_that_nobody_filled_may_be_of_no_type_or_not_there(tmp_path):
    frame = parquet(0, 1)
    put(tmp_path, "a", frame.with_columns(pl.lit(None).alias("value")))
    put(tmp_path, "b", frame.drop("value", "session_id").with_columns(pl.lit("2026-11-20").alias("dt")))
    assert read(FolderSource(tmp_path))[0] == [event(0), event(1)] * 2


def test_members_of_gzip_after_one_another_are_one_object(tmp_path):
    put(tmp_path, "a.gz", gzip.compress(lines(1)) + gzip.compress(lines(2, 3)))
    assert len(read(FolderSource(tmp_path))[0]) == 3


def test_a_folder_that_is_not_there_has_no_events(tmp_path):
    assert read(FolderSource(tmp_path / "events")) == ([], Reading())


def test_blocks_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_job.event_log_reading, "BLOCK_BYTES", 300)
    monkeypatch.setattr(batch_job.event_log_reading, "PARQUET_ROWS", 7)
    for form, make in FORMS.items():
        put(tmp_path, form, make(*range(100)))
    found, reading = read(FolderSource(tmp_path))
    assert found == [event(number) for number in range(100)] * 3
    assert (reading.events, reading.damaged) == (300, [])


def test_bad_lines_are_counted_and_the_others_read(tmp_path):
    bad = [
        b"not json",
        b'{"event_id":"x"}',
        b"[1]",
        b'{"event_id":"torn","user_i',
        encode_event(event(9)).replace(b'"received_at":', b'"received_at":"soon","x":'),
        encode_event(event(9)).replace(b'"u"', b'"\xff"'),
        encode_event(event(9)).replace(b'"user_id":"u",', b""),
    ]
    content = lines(0) + b"\n".join(bad) + b"\n\n" + lines(1, 2)
    put(tmp_path, "2026-11-20/a", content)
    found, reading = read(FolderSource(tmp_path))
    assert [one.event_id for one in found] == ["e0", "e1", "e2"]
    (damage,) = reading.damaged
    assert (damage.object, damage.lines, reading.unfinished) == ("2026-11-20/a", len(bad), 0)


def test_a_last_line_without_its_end_counts_where_it_is_whole(tmp_path):
    put(tmp_path, "whole", lines(0, 1)[:-1])
    put(tmp_path, "zeros", lines(2) + bytes(50))
    put(tmp_path, "torn", lines(3, 4)[:-2])
    found, reading = read(FolderSource(tmp_path))
    assert {one.event_id for one in found} == {"e0", "e1", "e2", "e3"}
    assert (reading.unfinished, reading.damaged) == (2, [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(lines(*range(50)), mtime=0)[:-20], "EOFError"),
        (b"\x1f\x8bno gzip at all", "BadGzipFile"),
        (b"PAR1 and no more", "ComputeError"),
        (b"x" * 3_000_000, "a line of more than 1048576 bytes"),
        (pl.DataFrame({"a": [1]}), "no events"),
        (parquet(1).with_columns(pl.lit(date(2026, 1, 1)).alias("timestamp")), "column timestamp is of type Date"),
    ],
)
def test_a_damaged_object_is_named_and_the_others_read(tmp_path, content, reason):
    put(tmp_path, "b-damaged", content)
    put(tmp_path, "a", lines(0))
    put(tmp_path, "c", parquet(1))
    found, reading = read(FolderSource(tmp_path))
    assert [one.event_id for one in found] == ["e0", "e1"]
    (damage,) = reading.damaged
    assert damage.object == "b-damaged"
    assert reason in damage.reason


def test_no_damage_of_parquet_stops_a_reading(tmp_path):
    chance = random.Random(7)
    whole = put(tmp_path, "log/whole", parquet(*range(40))).read_bytes()
    for number in range(150):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 20)):
            content[chance.randrange(4, len(content))] = chance.randrange(256)
        put(
            tmp_path, "log/damaged", bytes(content[: chance.randrange(4, len(content))] if number % 3 == 0 else content)
        )
        found, _ = read(FolderSource(tmp_path / "log"))
        assert len(found) >= 40


def test_what_a_date_does_not_need_is_not_opened(tmp_path):
    day = 86_400
    for number, path in enumerate(["2026-11-18/a", "dt=2026-11-19/a", "2026/11/20/13/a", "no-date"]):
        put(tmp_path, path, encode_event(event(number, NOON + (number - 2) * day)) + b"\n")
    found, reading = read(FolderSource(tmp_path), date(2026, 11, 20))
    assert {one.event_id for one in found} == {"e2", "e3"}
    assert reading.objects == 3  # the day before may hold what arrived about midnight
    assert reading.events == 2


def test_a_prefix_of_s3_is_read_as_a_folder(moto_endpoint):
    from boto3.session import Session

    s3, bucket = Session().client("s3", endpoint_url=moto_endpoint), f"log-{uuid4().hex}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    for name, content in {
        "events/dt=2026-11-20/a": lines(0),
        "events/dt=2026-11-20/b": gzip.compress(lines(1)),
        "events/dt=2026-11-20/c": gzip.compress(lines(2))[:-9],
        "events/dt=2026-10-01/old": lines(3),
        "events-errors/dt=2026-11-20/a": lines(4),
    }.items():
        s3.put_object(Bucket=bucket, Key=name, Body=content)
    found, reading = read(S3Source(f"s3://{bucket}/events", s3), date(2026, 11, 20))
    assert [one.event_id for one in found] == ["e0", "e1"]
    assert [damage.object for damage in reading.damaged] == ["dt=2026-11-20/c"]
    with pytest.raises(LogUnavailable, match=r"s3://no-such-bucket-here/: it cannot be read: .*NoSuchBucket"):
        read(S3Source("s3://no-such-bucket-here", s3))
    s3.close()
