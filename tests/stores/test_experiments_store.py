"""The envelope that runs, in a folder and in a bucket: replaced only by who has seen what it replaces."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session

import stores.experiments
from contracts.errors import EnvelopeRefused, ExperimentsUnavailable, StorageFull
from contracts.experiment import MAX_ENVELOPE_BYTES
from stores.experiments import (
    CURRENT_KEY,
    MAX_TRIES,
    ExperimentsStore,
    LocalExperiments,
    S3Experiments,
    experiments_client,
)
from tests.aws import REGION


class EnvelopePlace(Protocol):
    """A store, and the object under it."""

    def begin(self) -> ExperimentsStore:
        """The store of a process that begins now."""

    def put(self, data: bytes) -> None:
        """Whoever has the rights may write past the store."""


class Folder:
    def __init__(self, home: Path) -> None:
        self._home = home

    def begin(self) -> LocalExperiments:
        return LocalExperiments(self._home)

    def put(self, data: bytes) -> None:
        path = self._home / CURRENT_KEY
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class InS3:
    def __init__(self, client: Any) -> None:
        self.client, self.name = client, f"experiments-{uuid4().hex}"
        client.create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def begin(self) -> S3Experiments:
        return S3Experiments(self.name, self.client)

    def put(self, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=CURRENT_KEY, Body=data)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> EnvelopePlace:
    return Folder(tmp_path / "home") if request.param == "folder" else InS3(request.getfixturevalue("s3"))


@pytest.fixture
def in_s3(s3: Any) -> InS3:
    return InS3(s3)


# --- what both do ------------------------------------------------------------------------------------------------


def test_there_is_none_before_the_first(place: EnvelopePlace) -> None:
    assert place.begin().read() is None


def test_what_is_written_is_read_by_everybody_under_the_tag_that_writing_gave(place: EnvelopePlace) -> None:
    store = place.begin()
    etag = store.write(b'{"a": "\xc3\xa9"}', None)
    for reader in (store, place.begin()):
        assert reader.read() == (b'{"a": "\xc3\xa9"}', etag)
    following = store.write(b"{}", etag)
    assert following != etag
    assert place.begin().read() == (b"{}", following)


def test_who_has_not_seen_what_is_there_writes_nothing(place: EnvelopePlace) -> None:
    store = place.begin()
    with pytest.raises(ExperimentsUnavailable, match="another writer was faster"):
        store.write(b"x", '"never"')
    assert store.read() is None
    first = store.write(b"1", None)
    second = place.begin().write(b"2", first)
    for seen in (None, first):
        with pytest.raises(ExperimentsUnavailable, match="another writer was faster") as raised:
            store.write(b"3", seen)
        assert raised.value.fix == "Read what runs now and push again."
    assert store.read() == (b"2", second)


def test_of_writers_at_the_same_time_one_wins(place: EnvelopePlace) -> None:
    won: list[bytes] = []
    begun = threading.Barrier(4)

    def write(data: bytes) -> None:
        store = place.begin()
        begun.wait()
        try:
            store.write(data, None)
        except ExperimentsUnavailable:
            return
        won.append(data)

    threads = [threading.Thread(target=write, args=(str(n).encode(),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = place.begin().read()
    assert found is not None
    assert won == [found.data]


def test_one_that_is_too_large_is_refused_before_it_is_read_whole_and_can_be_removed(place: EnvelopePlace) -> None:
    store = place.begin()
    place.put(b"x" * MAX_ENVELOPE_BYTES)
    assert store.read() is not None
    place.put(b"x" * (MAX_ENVELOPE_BYTES + 1))
    with pytest.raises(EnvelopeRefused, match=r"has more than the 528,384 bytes") as raised:
        store.read()
    assert "Remove it" in raised.value.fix


# --- a folder ----------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_is_named_and_given_a_fix(tmp_path: Path) -> None:
    (tmp_path / "experiments").write_text("a file")
    store = LocalExperiments(tmp_path)
    for attempt in (store.read, lambda: store.write(b"x", None)):
        with pytest.raises(ExperimentsUnavailable, match="cannot be read or written") as raised:
            attempt()
        assert raised.value.fix.startswith("Make the folder readable")


def test_a_writer_that_hangs_is_waited_for_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(stores.experiments, "_LOCK_SECONDS", 0.05)
    (tmp_path / "experiments").mkdir()
    with (
        FileLock(tmp_path / "experiments" / ".current.lock"),
        pytest.raises(ExperimentsUnavailable, match="another process is writing it"),
    ):
        LocalExperiments(tmp_path).write(b"x", None)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalExperiments(tmp_path)
    etag = store.write(b"1", None)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            store.write(b"2", etag)
    assert store.read() == (b"1", etag)
    assert sorted(path.name for path in (tmp_path / "experiments").iterdir()) == [".current.lock", "current.json"]


WRITER = """
import sys
from pathlib import Path
from contracts.errors import ExperimentsUnavailable
from stores.experiments import LocalExperiments
store, added = LocalExperiments(Path(sys.argv[1])), 0
while added < 10:
    there = store.read()
    count = int(there.data) if there else 0
    try:
        store.write(str(count + 1).encode(), there.etag if there else None)
    except ExperimentsUnavailable:
        continue
    added += 1
"""


def test_processes_that_write_lose_none_of_their_writes(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = LocalExperiments(tmp_path).read()
    assert found is not None
    assert found.data == b"20"


# --- a bucket ----------------------------------------------------------------------------------------------------


@pytest.fixture
def losing(in_s3: InS3, s3: Any) -> Iterator[Any]:
    """Cuts the connection under writes: `losing(lost, arrives)`, so many answers, so many of whose writes arrive."""
    hooks: list[Any] = []
    line = URLLib3Session()

    def begin(lost: int, arrives: int) -> None:
        left = [lost, arrives]

        def cut(request: Any, **_: Any) -> Any:
            if request.method != "PUT" or not left[0]:
                return None
            left[0] -= 1
            if left[1]:
                left[1] -= 1
                assert line.send(request).status_code == 200
                line.close()
            raise ConnectionClosedError(endpoint_url=request.url)

        s3.meta.events.register("before-send.s3.PutObject", cut)
        hooks.append(cut)

    yield begin
    for hook in hooks:
        s3.meta.events.unregister("before-send.s3.PutObject", hook)


@pytest.mark.parametrize("lost", [1, 4])
def test_a_write_whose_answer_got_lost_is_written(in_s3: InS3, losing: Any, lost: int) -> None:
    store = in_s3.begin()
    losing(lost, arrives=1)
    etag = store.write(b"x", None)
    assert store.read() == (b"x", etag)


def test_a_write_that_never_arrived_says_so(in_s3: InS3, losing: Any) -> None:
    store = in_s3.begin()
    losing(4, arrives=0)
    with pytest.raises(ExperimentsUnavailable, match=f"s3://{in_s3.name}/{CURRENT_KEY}: PutObject fails with"):
        store.write(b"x", None)
    assert store.read() is None


def test_a_bucket_that_is_not_there_is_named_and_given_a_fix(s3: Any) -> None:
    store = S3Experiments("no-such-bucket-of-experiments", s3)
    for attempt in (store.read, lambda: store.write(b"x", None)):
        with pytest.raises(ExperimentsUnavailable, match="NoSuchBucket") as raised:
            attempt()
        assert raised.value.fix.startswith("Deploy the stack")


def test_its_own_client_gives_up_soon(moto_endpoint: str) -> None:
    client = experiments_client(endpoint_url="http://127.0.0.1:9")
    try:
        with pytest.raises(ExperimentsUnavailable, match="EndpointConnectionError"):
            S3Experiments("b", client).read()
        assert client.meta.config.retries["total_max_attempts"] == MAX_TRIES
    finally:
        client.close()


def test_a_snapshot_keeps_the_client(moto_endpoint: str, in_s3: InS3, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(experiments_client(endpoint_url=moto_endpoint))
        return made[-1]

    monkeypatch.setattr(stores.experiments, "experiments_client", make)
    store = S3Experiments(in_s3.name)
    store.reconnect()
    assert made == []
    store.connect()
    for _ in range(2):
        assert store.read() is None
        store.reconnect()
    assert len(made) == 1
