"""The event log: what is acknowledged is there, whatever is killed, full or throttled; what is not has a reason."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

import stores.delivery_stream
import stores.line_log
from batch_job.event_log_reading import Reading, read_events
from batch_job.log_sources import FolderSource, S3Source
from contracts.errors import LogUnavailable
from contracts.event import Event
from stores.delivery_stream import firehose_client
from stores.event_log import FirehoseEventLog, LocalEventLog

NOON = 1_795_176_000
"""2026-11-20, 12:00 UTC."""


def event(name="e", received_at=NOON, **changes):
    facts = {"event_id": name, "user_id": "u", "item_id": "i", "event_type": "view", "timestamp": NOON - 5}
    return Event(**{**facts, "received_at": received_at, **changes})


def events(number, prefix="e"):
    return [event(f"{prefix}{n}") for n in range(number)]


def rows(source):
    """What is in a log, as events, and what was wrong with it."""
    reading = Reading()
    found = [Event(**row) for frame in read_events(source, reading=reading) for row in frame.iter_rows(named=True)]
    return found, reading


# --- what every class does ---------------------------------------------------------------------------------------


@pytest.fixture(params=["local", "firehose"])
def log_and_source(request, tmp_path):
    if request.param == "local":
        log, source = LocalEventLog(tmp_path / "events"), FolderSource(tmp_path / "events")
    else:
        log, source = delivered_to_s3(request.getfixturevalue("moto_endpoint"), request.addfinalizer)
    yield log, source
    log.close()


def delivered_to_s3(endpoint, addfinalizer):
    """A delivery stream and the prefix that it delivers to."""
    from boto3.session import Session

    name = f"events-{uuid4().hex}"
    s3 = Session().client("s3", endpoint_url=endpoint)
    addfinalizer(s3.close)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    client = firehose_client(endpoint_url=endpoint)
    client.create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/deliver",
            "BucketARN": f"arn:aws:s3:::{name}",
            "Prefix": "events/",
        },
    )
    return FirehoseEventLog(name, client), S3Source(f"s3://{name}/events", s3)


def test_events_are_read_back_as_they_were(log_and_source):
    log, source = log_and_source
    told = [
        event("e1", value=4.5, session_id="s", recommendation_id="r", known_item=False),
        event("é\n\u2028\x00\U0001f3b5", user_id='"u"'),
    ]
    assert log.append(told) == ["", ""]
    assert log.append([event("e3")]) == [""]
    found, reading = rows(source)
    assert sorted(found, key=lambda one: one.event_id) == [told[0], event("e3"), told[1]]
    assert (reading.events, reading.damaged, reading.unfinished) == (3, [], 0)


def test_nothing_is_nothing(log_and_source):
    log, source = log_and_source
    assert log.append([]) == []
    assert rows(source)[0] == []


def test_a_large_batch_is_whole(log_and_source):
    log, source = log_and_source
    assert log.append(events(1_201)) == [""] * 1_201
    assert Counter(one.event_id for one in rows(source)[0]) == Counter(f"e{n}" for n in range(1_201))


def test_threads_do_not_mix_their_lines(log_and_source):
    log, source = log_and_source
    threads = [
        threading.Thread(target=lambda t=t: [log.append(events(3, f"{t}-{n}-")) for n in range(10)]) for t in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, reading = rows(source)
    assert Counter(one.event_id for one in found) == Counter(
        f"{t}-{n}-{e}" for t in "abcd" for n in range(10) for e in range(3)
    )
    assert not reading.damaged


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "events"


@pytest.fixture
def local(folder):
    log = LocalEventLog(folder)
    yield log
    log.close()


def test_a_file_is_of_a_day_an_hour_and_a_process(local, folder):
    local.append([event("a"), event("b", NOON + 3_600), event("c", NOON + 86_400), event("d")])
    names = sorted(
        path.relative_to(folder).as_posix().split("-" + str(os.getpid()))[0] for path in folder.rglob("*.jsonl")
    )
    assert names == ["2026-11-20/12", "2026-11-20/13", "2026-11-21/12"]
    assert {one.event_id for one in rows(FolderSource(folder))[0]} == {"a", "b", "c", "d"}


def test_another_process_of_the_same_number_writes_another_file(folder):
    for name in ("a", "b"):
        log = LocalEventLog(folder)
        log.append([event(name)])
        log.close()
    assert len(list(folder.rglob("*.jsonl"))) == 2


def test_the_disk_has_it_before_it_is_acknowledged(local, folder, monkeypatch):
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())), fsync(descriptor)),
    )
    local.append([event("a")])
    (file,) = folder.rglob("*.jsonl")
    assert synced == [str(folder.parent), str(folder), str(file.parent), str(file)]
    local.append([event("b")])
    assert synced[4:] == [str(file)]


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "events").write_text("a file")
    log = LocalEventLog(tmp_path / "events")
    with pytest.raises(LogUnavailable, match="events: no file of events can be opened there: File exists"):
        log.append([event()])
    log.close()


def test_a_full_disk_is_named_and_the_next_write_goes_elsewhere(folder, monkeypatch):
    writers = iter(["full", "next"])
    monkeypatch.setattr(stores.line_log, "_unique", lambda: next(writers))
    (folder / "2026-11-20").mkdir(parents=True)
    (folder / "2026-11-20" / "12-full.jsonl").symlink_to("/dev/full")
    log = LocalEventLog(folder)
    assert log.append(events(2)) == ["storage-full", "storage-full"]
    assert log.append([event("later")]) == [""]
    log.close()
    (folder / "2026-11-20" / "12-full.jsonl").unlink()
    assert rows(FolderSource(folder))[0] == [event("later")]


WRITING = """
import resource, sys
from pathlib import Path
from contracts.event import Event
from stores.event_log import LocalEventLog

def events(number, prefix):
    names = [f"{prefix}{n}" for n in range(number)]
    return [Event(event_id=n, user_id="u", item_id="i", event_type="t", timestamp=1, received_at=9) for n in names]

"""

LIMITED = """
log = LocalEventLog(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
for number in range(30):
    reasons = log.append(events(7, f"{number}-"))
    print(number, *sorted(set(reasons)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("again", *log.append(events(1, "again-")))
"""


def test_a_write_that_fits_in_part_is_taken_back(folder):
    done = subprocess.run(
        [sys.executable, "-c", WRITING + LIMITED, folder], capture_output=True, text=True, cwd=Path.cwd()
    )
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    taken = [number for number, reason in said.items() if not reason]
    assert said["29"] == "EFBIG"
    assert 3 < len(taken) < 30
    assert "again" in taken
    found, reading = rows(FolderSource(folder))
    expected = [f"{number}-{n}" for number in taken if number != "again" for n in range(7)] + ["again-0"]
    assert [one.event_id for one in found] == expected
    assert (reading.unfinished, reading.damaged) == (0, [])


WRITER = """
log = LocalEventLog(Path(sys.argv[1]))
for number in range(1_000_000):
    told = events(1 + number % 5, f"{sys.argv[2]}-{number}-")
    assert log.append(told) == [""] * len(told)
    sys.stdout.write("".join(f"{one.event_id}\\n" for one in told))
    sys.stdout.flush()
"""


def test_what_was_acknowledged_survives_kill_9(folder):
    chance = random.Random(5)
    acknowledged = []
    for round_ in range(4):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITING + WRITER, folder, f"{round_}{w}"], stdout=subprocess.PIPE, text=True
            )
            for w in "ab"
        ]
        for writer in writers:
            acknowledged += [writer.stdout.readline().strip() for _ in range(chance.randrange(1, 400))]
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.communicate()[0].split("\n")[:-1]  # the last may be half an id
            assert writer.returncode == -signal.SIGKILL
    found, reading = rows(FolderSource(folder))
    counts = Counter(one.event_id for one in found)
    assert len(acknowledged) > 500
    assert {counts[name] for name in acknowledged} == {1}
    assert not reading.damaged
    assert reading.unfinished <= 8


def test_the_torn_tail_of_one_writer_hurts_nobody(local, folder):
    local.append(events(2))
    (file,) = folder.rglob("*.jsonl")
    for number, tail in enumerate((b'{"event_id":"torn","user', b"\x00" * 100)):
        (file.parent / f"13-killed{number}.jsonl").write_bytes(file.read_bytes() + tail)
    found, reading = rows(FolderSource(folder))
    assert Counter(one.event_id for one in found) == {"e0": 3, "e1": 3}
    assert (reading.unfinished, reading.damaged) == (2, [])


# --- Firehose ----------------------------------------------------------------------------------------------------


@pytest.fixture
def stubbed(moto_endpoint, monkeypatch):
    """A log over a client that sends nothing and holds every call against what is expected next."""
    from botocore.stub import Stubber

    monkeypatch.setattr(stores.delivery_stream, "FIRST_WAIT_SECONDS", 0.001)
    client = firehose_client(endpoint_url=moto_endpoint)
    with Stubber(client) as stubber:
        yield FirehoseEventLog("events", client), stubber
        stubber.assert_no_pending_responses()
    client.close()


def expect(stubber, told, codes):
    """The next call carries these events; the answer has these error codes."""
    records = [{"Data": msgspec.json.encode(one) + b"\n"} for one in told]
    answers = [{"ErrorCode": code, "ErrorMessage": "no"} if code else {"RecordId": "r"} for code in codes]
    stubber.add_response(
        "put_record_batch",
        {"FailedPutCount": sum(map(bool, codes)), "RequestResponses": answers},
        {"DeliveryStreamName": "events", "Records": records},
    )


BUSY = "ServiceUnavailableException"


def test_only_what_failed_is_sent_again(stubbed):
    log, stubber = stubbed
    told = events(5)
    expect(stubber, told, ["", BUSY, "", "InternalFailure", ""])
    expect(stubber, [told[1], told[3]], ["", BUSY])
    expect(stubber, [told[3]], [""])
    assert log.append(told) == [""] * 5


def test_what_is_left_has_the_reason_of_its_last_try(stubbed):
    log, stubber = stubbed
    told = events(4)
    expect(stubber, told, [BUSY, "", "InternalFailure", BUSY])
    expect(stubber, [told[0], told[2], told[3]], ["", BUSY, BUSY])
    for _ in range(stores.delivery_stream.MAX_TRIES - 2):
        expect(stubber, [told[2], told[3]], [BUSY, "InternalFailure"])
    assert log.append(told) == ["", "", BUSY, "InternalFailure"]


def test_a_call_that_is_throttled_is_made_again(stubbed):
    log, stubber = stubbed
    stubber.add_client_error("put_record_batch", BUSY, "Slow down.", 503)
    stubber.add_client_error("put_record_batch", "InternalFailure", "", 500)
    expect(stubber, events(2), ["", ""])
    assert log.append(events(2)) == ["", ""]


def test_a_call_that_fails_after_a_part_is_in_leaves_reasons(stubbed):
    log, stubber = stubbed
    told = events(3)
    expect(stubber, told, ["", BUSY, ""])
    stubber.add_client_error("put_record_batch", "AccessDeniedException", "no", 400)
    assert log.append(told) == ["", "AccessDeniedException", ""]


@pytest.mark.parametrize(
    ("code", "status", "fix"),
    [
        ("ResourceNotFoundException", 400, "TANDEM_EVENTS_STREAM"),
        ("AccessDeniedException", 400, "firehose:PutRecordBatch"),
        ("InvalidArgumentException", 400, "Send the events again"),
    ],
)
def test_what_no_try_mends_is_said_at_once(stubbed, code, status, fix):
    log, stubber = stubbed
    stubber.add_client_error("put_record_batch", code, "no", status)
    with pytest.raises(LogUnavailable, match=f"'events' took no event: .*{code}") as raised:
        log.append(events(2))
    assert fix in raised.value.fix


def test_calls_hold_500_records_and_4_mb(stubbed, monkeypatch):
    log, stubber = stubbed
    told = events(503)
    expect(stubber, told[:500], [""] * 500)
    expect(stubber, told[500:], [""] * 3)
    assert log.append(told) == [""] * 503
    monkeypatch.setattr(stores.delivery_stream, "MAX_CALL_BYTES", 2 * len(msgspec.json.encode(told[0])) + 2)
    expect(stubber, told[:2], ["", ""])
    expect(stubber, told[2:4], ["", ""])
    expect(stubber, told[4:5], [""])
    assert log.append(told[:5]) == [""] * 5


def test_of_several_calls_those_that_went_through_count(stubbed):
    log, stubber = stubbed
    told = events(501)
    expect(stubber, told[:500], [BUSY] + [""] * 499)
    expect(stubber, told[:1], [""])
    stubber.add_client_error("put_record_batch", "ResourceNotFoundException", "gone", 400)
    assert log.append(told) == [""] * 500 + ["log-unavailable"]


class _Broken(BaseHTTPRequestHandler):
    """A service that fails every call, and counts them."""

    calls = 0

    def do_POST(self):
        type(self).calls += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_tries_are_ours_and_not_multiplied(moto_endpoint, monkeypatch):
    monkeypatch.setattr(stores.delivery_stream, "FIRST_WAIT_SECONDS", 0.001)
    with HTTPServer(("127.0.0.1", 0), _Broken) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        log = FirehoseEventLog("events", firehose_client(endpoint_url=f"http://127.0.0.1:{server.server_port}"))
        try:
            with pytest.raises(LogUnavailable, match="500"):
                log.append(events(2))
        finally:
            log.close()
            server.shutdown()
            thread.join()
    assert _Broken.calls == stores.delivery_stream.MAX_TRIES


def test_a_network_that_is_not_there_is_named(moto_endpoint, monkeypatch):
    monkeypatch.setattr(stores.delivery_stream, "FIRST_WAIT_SECONDS", 0.001)
    log = FirehoseEventLog("events", firehose_client(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(LogUnavailable, match="'events' took no event: Could not connect"):
        log.append(events(1))
    log.close()


def test_a_snapshot_keeps_the_client_and_none_of_its_connections(moto_endpoint, monkeypatch):
    made, closed = [], []

    def make():
        client = firehose_client(endpoint_url=moto_endpoint)
        close = client.close
        monkeypatch.setattr(client, "close", lambda: closed.append(client) or close())
        made.append(client)
        return client

    monkeypatch.setattr(stores.delivery_stream, "firehose_client", make)
    log = FirehoseEventLog("no-such-stream")
    assert made == []
    log.connect()
    for snapshots in range(3):
        assert (len(made), len(closed)) == (1, snapshots)
        with pytest.raises(LogUnavailable, match="no-such-stream"):  # it is asked, and answers
            log.append([event()])
        log.reconnect()
    log.close()
