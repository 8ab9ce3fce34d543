"""One bucket: checksums that arrive, bodies that break off, conditions, and the name of every failure."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.awsrequest import AWSResponse
from botocore.retries.standard import ExponentialBackoff

from contracts.errors import ReleaseCorrupt, StoreUnavailable
from contracts.release import FileEntry
from stores import s3_bucket
from stores.s3_bucket import MAX_TRIES, Bucket, ObjectMissing, ObjectMoved, s3_client
from tests.stores.release_places import BucketPlace


@pytest.fixture
def place(bucket_place: BucketPlace) -> BucketPlace:
    return bucket_place


@pytest.fixture
def bucket(place: BucketPlace) -> Bucket:
    return Bucket(place.bucket, place.prefix, place.client)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


def test_boto3_is_no_part_of_importing_the_store() -> None:
    code = "import sys, stores.s3_releases; sys.exit(sorted({'boto3', 'botocore'} & sys.modules.keys()) != [])"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def a_file(folder: Path, size: int) -> tuple[Path, FileEntry]:
    path = folder / "some.file"
    path.write_bytes(np.random.default_rng(size).bytes(size))
    return path, FileEntry(size, sha256(path.read_bytes()).hexdigest())


def test_a_file_arrives_with_the_hash_of_its_manifest(place: BucketPlace, bucket: Bucket) -> None:
    path, entry = a_file(place.home, 100_000)
    bucket.upload("some.file", path, entry)
    expected = b64encode(bytes.fromhex(entry.sha256)).decode()
    assert [sent.headers["x-amz-checksum-sha256"] for sent in place.sent] == [expected]
    kept = place.client.head_object(Bucket=place.bucket, Key=f"{place.prefix}/some.file", ChecksumMode="ENABLED")
    assert kept["ChecksumSHA256"] == expected


def test_a_large_file_goes_up_in_parts_with_a_hash_each(
    place: BucketPlace, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 5 << 20  # the least that S3 takes
    monkeypatch.setattr(s3_bucket, "SINGLE_PUT_BYTES", part)
    monkeypatch.setattr(s3_bucket, "_PART_BYTES", part)
    path, entry = a_file(place.home, 2 * part + 1_000)
    bucket.upload("some.file", path, entry)
    data = path.read_bytes()
    parts = [data[first : first + part] for first in range(0, len(data), part)]
    sent = [sent.headers["x-amz-checksum-sha256"] for sent in place.sent if sent.operation == "UploadPart"]
    assert sorted(sent) == sorted(b64encode(sha256(piece).digest()).decode() for piece in parts)
    assert b"".join(bucket.stream("some.file", entry.bytes)) == data


def test_an_object_is_read_whole_or_not_at_all(
    place: BucketPlace, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("small", b"0123456789")
    assert bucket.read("small", 10).data == b"0123456789"
    assert b"".join(bucket.stream("small", 10)) == b"0123456789"
    refuse_to_read(monkeypatch)
    for read in (lambda: bucket.read("small", 9), lambda: list(bucket.stream("small", 9))):
        with pytest.raises(ReleaseCorrupt, match=r"small: has 10 bytes, expected .*9"):
            read()
    with pytest.raises(ReleaseCorrupt, match="has 10 bytes, expected 11"):
        list(bucket.stream("small", 11))


def refuse_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on reading a body fails the test."""
    from botocore.response import StreamingBody

    def fail(*_: object) -> None:
        raise AssertionError("a body was read")

    for name in ("read", "iter_chunks"):
        monkeypatch.setattr(StreamingBody, name, fail)


def test_an_object_that_is_not_there_is_said_to_be_missing(bucket: Bucket) -> None:
    for read in (lambda: bucket.read("none", 10), lambda: list(bucket.stream("none", 10))):
        with pytest.raises(ObjectMissing):
            read()
    assert bucket.etag("none") is None
    assert list(bucket.listing("none")) == []


def test_writes_hold_their_conditions(bucket: Bucket) -> None:
    bucket.create("one", b"first")
    with pytest.raises(ObjectMoved):
        bucket.create("one", b"second")
    etag = bucket.etag("one")
    newer = bucket.replace("one", b"second", etag, {"who": "me"})
    assert newer == bucket.etag("one") != etag
    for stale in (etag, None):
        with pytest.raises(ObjectMoved):
            bucket.replace("one", b"third", stale, {})
    with pytest.raises(ObjectMoved):
        bucket.replace("none", b"third", etag, {})  # nothing is there to match
    document = bucket.read("one", 100)
    assert (document.data, document.etag, document.marks) == (b"second", newer, {"who": "me"})


def test_listing_and_deleting_go_through_all_pages(place: BucketPlace, bucket: Bucket) -> None:
    def in_small_pages(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "MaxKeys": 3}

    for number in range(10):
        place.write(f"under/{number}", b"x")
    place.write("beside", b"x")
    place.when("provide-client-params.s3.ListObjectsV2", in_small_pages)
    place.sent.clear()
    keys = [key for key, _ in bucket.listing("under/")]
    assert keys == [f"under/{number}" for number in range(10)]
    assert len(place.asked("ListObjectsV2")) == 4
    bucket.delete(keys)
    assert [key for key, _ in bucket.listing("")] == ["beside"]
    bucket.delete([])


def test_more_than_one_call_takes_is_deleted_in_several(
    place: BucketPlace, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_bucket, "_DELETED_AT_ONCE", 2)
    for number in range(5):
        place.write(f"{number}", b"x")
    place.sent.clear()
    bucket.delete([f"{number}" for number in range(5)])
    assert len(place.asked("DeleteObjects")) == 3
    assert list(bucket.listing("")) == []


@pytest.mark.parametrize(
    ("denied", "act"),
    [
        ("s3:GetObject", lambda bucket: bucket.read("some", 10)),
        ("s3:GetObject", lambda bucket: list(bucket.stream("some", 4))),
        ("s3:PutObject", lambda bucket: bucket.create("some", b"data")),
        ("s3:PutObject", lambda bucket: bucket.replace("some", b"data", None, {})),
        ("s3:DeleteObject", lambda bucket: bucket.delete(["some"])),
    ],
)
def test_a_refusal_names_bucket_key_and_code(
    place: BucketPlace, bucket: Bucket, denied: str, act: Callable[[Bucket], object]
) -> None:
    place.write("some", b"data")
    statement = {"Effect": "Deny", "Principal": "*", "Action": denied, "Resource": f"arn:aws:s3:::{place.bucket}/*"}
    policy = f'{{"Version": "2012-10-17", "Statement": [{statement}]}}'.replace("'", '"')
    place.client.put_bucket_policy(Bucket=place.bucket, Policy=policy)
    with pytest.raises(StoreUnavailable, match=rf"s3://{place.bucket}/shop/a/some: \w+ fails with (403|Acc)") as caught:
        act(bucket)
    assert "role" in caught.value.fix


def test_a_bucket_that_is_not_there_is_named(place: BucketPlace) -> None:
    nowhere = Bucket("no-such-bucket-at-all", client=place.client)
    for act in (lambda: nowhere.read("k", 10), lambda: nowhere.create("k", b""), lambda: list(nowhere.listing(""))):
        with pytest.raises(StoreUnavailable, match=r"s3://no-such-bucket-at-all.*NoSuchBucket"):
            act()


def test_no_credentials_are_named(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    with pytest.raises(StoreUnavailable, match="NoCredentialsError") as caught:
        Bucket("some").read("key", 10)
    assert "AWS_PROFILE" in caught.value.fix


def test_a_client_is_made_from_the_environment_and_can_be_let_go(
    place: BucketPlace, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    place.write("some", b"data")
    bucket = Bucket(place.bucket, place.prefix)
    bucket.reconnect()
    assert bucket.read("some", 10).data == b"data"
    bucket.reconnect()


SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@pytest.mark.parametrize(("refusals", "answered"), [(MAX_TRIES - 1, True), (MAX_TRIES, False)])
def test_what_is_throttled_is_tried_again_and_then_named(
    place: BucketPlace, bucket: Bucket, refusals: int, answered: bool
) -> None:
    place.write("some", b"data")
    left = [AWSResponse("", 503, {}, Raw(SLOW_DOWN)) for _ in range(refusals)]
    place.when("before-send.s3.GetObject", lambda **_: left.pop() if left else None)
    if answered:
        assert bucket.read("some", 10).data == b"data"
    else:
        with pytest.raises(StoreUnavailable, match=r"some: GetObject fails with SlowDown"):
            bucket.read("some", 10)
    assert left == []


class Raw:
    """The body of an answer that was made up."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._data


@pytest.mark.usefixtures("moto_endpoint")
def test_no_network_is_named() -> None:
    with one_server(lambda _: None) as (endpoint, _):
        pass  # nobody listens there any more
    client = s3_client(endpoint_url=endpoint)
    with pytest.raises(StoreUnavailable, match=r"s3://b/k: GetObject fails with EndpointConnectionError"):
        Bucket("b", client=client).read("k", 10)
    client.close()


DATA = bytes(range(256)) * 100


@pytest.mark.parametrize("cuts", range(MAX_TRIES))
@pytest.mark.usefixtures("moto_endpoint")  # for its credentials
def test_a_body_that_breaks_off_is_gone_on_with(cuts: int) -> None:
    spans: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        spans.append(handler.headers.get("Range", ""))
        rest = DATA[int(re.sub(r"\D", "", spans[-1]) or 0) :]
        whole = len(spans) > cuts
        send(handler, len(rest), rest if whole else rest[: len(rest) // 2])

    with one_server(answer) as (_, bucket):
        assert b"".join(bucket.stream("k", len(DATA))) == DATA
    assert len(spans) == cuts + 1
    assert [bool(span) for span in spans] == [False] + [True] * cuts


@pytest.mark.usefixtures("moto_endpoint")
def test_a_body_that_always_breaks_off_is_named() -> None:
    with one_server(lambda handler: send(handler, len(DATA), b"")) as (_, bucket):
        with pytest.raises(StoreUnavailable, match=r"s3://b/k: GetObject fails with"):
            list(bucket.stream("k", len(DATA)))
        with pytest.raises(StoreUnavailable, match=r"s3://b/k: GetObject fails with"):
            bucket.read("k", len(DATA))


@pytest.mark.usefixtures("moto_endpoint")
def test_a_body_without_an_announced_length_is_refused() -> None:
    with one_server(lambda handler: send(handler, None, DATA)) as (_, bucket):
        for read in (lambda: bucket.read("k", 1 << 20), lambda: list(bucket.stream("k", len(DATA)))):
            with pytest.raises(ReleaseCorrupt, match="s3://b/k"):
                read()


@pytest.mark.usefixtures("moto_endpoint")
def test_bytes_beyond_the_announced_length_are_not_read() -> None:
    with one_server(lambda handler: send(handler, 10, DATA)) as (_, bucket):
        assert bucket.read("k", 10).data == DATA[:10]
        assert b"".join(bucket.stream("k", 10)) == DATA[:10]


@pytest.mark.usefixtures("moto_endpoint")
def test_connections_are_kept_until_they_are_let_go() -> None:
    connections: set[int] = set()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        connections.add(handler.client_address[1])
        send(handler, 1, b"x", keep=True)

    with one_server(answer) as (_, bucket):
        bucket.read("k", 1)
        bucket.read("k", 1)
        assert len(connections) == 1
        bucket.reconnect()
        bucket.read("k", 1)
        assert len(connections) == 2


def send(handler: BaseHTTPRequestHandler, announced: int | None, body: bytes, keep: bool = False) -> None:
    """Answer 200 with a body, whatever was announced; then the connection ends, unless it is kept."""
    handler.send_response(200)
    handler.send_header("ETag", '"1"')
    if announced is not None:
        handler.send_header("Content-Length", str(announced))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = not keep


@contextmanager
def one_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, Bucket]]:
    """A server that answers every GET so, and a bucket of it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    client = s3_client(endpoint_url=endpoint)
    try:
        yield endpoint, Bucket("b", client=client)
    finally:
        client.close()
        server.shutdown()
        server.server_close()
