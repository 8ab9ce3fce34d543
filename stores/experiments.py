"""The envelope of the experiments that run: kept as bytes under a tag, replaced only by who has seen what it replaces.

`ExperimentsStore` is the protocol, `LocalExperiments` a file of the home, `S3Experiments` an object beside the
releases, under S3's conditions. What is in an envelope, and whether to trust it, is the business of
`experiments/envelope.py`. The Lambda edge reads, `tandem experiments push` and the function that fetches from
GrowthBook write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

from contracts.errors import EnvelopeRefused, ExperimentsUnavailable, ReleaseCorrupt, StoreUnavailable, naming_full_disk
from contracts.experiment import MAX_ENVELOPE_BYTES
from stores.release_files import write_atomically
from stores.s3_bucket import Bucket, ObjectMissing, ObjectMoved

EXPERIMENTS_FOLDER: Final = "experiments"
CURRENT_KEY: Final = f"{EXPERIMENTS_FOLDER}/current.json"

CONNECT_SECONDS: Final = 1.0
READ_SECONDS: Final = 1.0
"""A small object comes within 0.1 s. Whoever waits longer serves by the envelope that it has, and asks again later."""
MAX_TRIES: Final = 2

_LOCK_SECONDS: Final = 10.0
"""A write takes milliseconds; whoever holds the lock longer is stuck."""
_WRITE: Final = "write"
"""What an object's writer marks it with, so that it knows its own write again."""


class KeptEnvelope(NamedTuple):
    """An envelope as it is kept."""

    data: bytes
    etag: str
    """That a write must show; the same as long as nobody has written."""


class ExperimentsStore(Protocol):
    """Where the envelope is."""

    def read(self) -> KeptEnvelope | None:
        """The envelope, None before the first.

        Raises ExperimentsUnavailable, and EnvelopeRefused, unread, where it is larger than one can be.
        """
        ...

    def write(self, data: bytes, if_match: str | None) -> str:
        """Replace the envelope while its tag is `if_match` (None: while there is none); the new tag.

        Raises ExperimentsUnavailable, also where another writer was faster: what is there is theirs then.
        """
        ...


class LocalExperiments:
    """`experiments/current.json` of a home."""

    def __init__(self, home: Path) -> None:
        """Nothing is created before the first write."""
        self._path = home / CURRENT_KEY

    def read(self) -> KeptEnvelope | None:
        """See `ExperimentsStore.read`."""
        with self._naming():
            try:
                with self._path.open("rb") as file:
                    data = file.read(MAX_ENVELOPE_BYTES + 1)
            except FileNotFoundError:
                return None
        if len(data) > MAX_ENVELOPE_BYTES:
            raise _too_large(str(self._path))
        return KeptEnvelope(data, _tag(data))

    def write(self, data: bytes, if_match: str | None) -> str:
        """See `ExperimentsStore.write`. Raises StorageFull."""
        with self._naming(), naming_full_disk(self._path), self._locked():
            if (_tag(self._path.read_bytes()) if self._path.exists() else None) != if_match:
                raise _outrun(str(self._path))
            write_atomically(self._path, data)
        return _tag(data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # only writers need it; serving does not carry it

        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_name(".current.lock"), timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            message = f"{self._path}: another process is writing it."
            raise ExperimentsUnavailable(message, fix="Wait for it and try again.") from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ExperimentsUnavailable(
                f"{self._path}: cannot be read or written: {error.strerror or error}.",
                fix="Make the folder readable and writable for the process, or name another home.",
            ) from error


class S3Experiments:
    """`experiments/current.json` of the bucket of the releases."""

    def __init__(self, bucket: str, client: Any = None) -> None:
        """Sends nothing yet. `client`: of boto3 for "s3"; None makes one at the first call, of little patience."""
        self._name, self._making = bucket, threading.Lock()
        self._made = None if client is None else Bucket(bucket, client=client)

    def read(self) -> KeptEnvelope | None:
        """See `ExperimentsStore.read`."""
        bucket = self._objects()
        with _as_ours():
            try:
                found = bucket.read(CURRENT_KEY, MAX_ENVELOPE_BYTES)
            except ObjectMissing:
                return None
            except ReleaseCorrupt as error:  # so a bucket says that it did not read what is too large
                raise _too_large(bucket.url(CURRENT_KEY)) from error
        return KeptEnvelope(found.data, found.etag)

    def write(self, data: bytes, if_match: str | None) -> str:
        """See `ExperimentsStore.write`.

        A write whose answer got lost was sent again by botocore, and then its own first half stood in its way; or
        nobody knows whether it arrived. What is there now tells.
        """
        bucket, write = self._objects(), uuid4().hex
        with _as_ours():
            try:
                return bucket.replace(CURRENT_KEY, data, if_match, {_WRITE: write})
            except (ObjectMoved, StoreUnavailable) as error:
                if (etag := _written_by(bucket, write)) is not None:
                    return etag
                if isinstance(error, StoreUnavailable):
                    raise
                raise _outrun(bucket.url(CURRENT_KEY)) from error

    def reconnect(self) -> None:
        """Close the connections, which outlive no snapshot; the client stays."""
        with self._making:
            if self._made is not None:
                self._made.reconnect()

    def connect(self) -> None:
        """Make the client now, before a request waits for it; nothing is sent."""
        self._objects()

    def _objects(self) -> Bucket:
        with self._making:
            if self._made is None:
                self._made = Bucket(self._name, client=experiments_client())
            return self._made


def experiments_client(**options: Any) -> Any:
    """A client of S3 that gives up within seconds; `options` go to boto3 (endpoint_url, …)."""
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": MAX_TRIES},
    )
    return Session().client("s3", config=config, **options)


def _written_by(bucket: Bucket, write: str) -> str | None:
    """The tag of the envelope where that write made it."""
    try:
        there = bucket.read(CURRENT_KEY, MAX_ENVELOPE_BYTES)
    except (ObjectMissing, ReleaseCorrupt):
        return None
    return there.etag if there.marks.get(_WRITE) == write else None


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise ExperimentsUnavailable(error.message, fix=error.fix) from error


def _outrun(where: str) -> ExperimentsUnavailable:
    return ExperimentsUnavailable(
        f"{where}: another writer was faster; nothing was written.", fix="Read what runs now and push again."
    )


def _too_large(where: str) -> EnvelopeRefused:
    return EnvelopeRefused(
        f"{where}: has more than the {MAX_ENVELOPE_BYTES:,} bytes that an envelope can have.",
        fix="Remove it and push the experiments again.",
    )


def _tag(data: bytes) -> str:
    return sha256(data).hexdigest()
