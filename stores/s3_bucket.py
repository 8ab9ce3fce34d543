"""Objects of one S3 bucket: read within limits, written under conditions, every failure named.

Knows keys, bytes and S3's answers, nothing of releases. boto3 is imported when the first call is made. Retries are
botocore's, but for a body that breaks off, which it cannot go on with. `s3_releases.py`, `nights.py` and
`mirrored_folder.py` call it.
"""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from contracts.errors import ReleaseCorrupt, StoreUnavailable, naming_full_disk
from contracts.release import FileEntry

CONNECT_SECONDS: Final = 2.0
"""Within a region a connection takes milliseconds, from a laptop two tenths of a second."""
READ_SECONDS: Final = 10.0
"""Silence on the line: S3 begins to answer within 0.2 s, and takes seconds only to check the hash of a large upload."""
MAX_TRIES: Final = 4
"""botocore waits up to 1, 2 and 4 s between them: longer than S3 throttles who has just begun."""
CONNECTIONS: Final = 16
"""Of the pool: at least as many as threads that read at once."""

SINGLE_PUT_BYTES: Final = 64 << 20
"""Larger files go up in parts, so that a connection that breaks costs one part. The whole file's hash is checked by S3
only of what is put at once; of a part S3 checks the part's."""

_PART_BYTES: Final = 16 << 20
"""A second of a slow uplink; S3 takes 10,000 parts, 160 GB."""
_DELETED_AT_ONCE: Final = 1_000
"""All that one call takes."""
_CHUNK_BYTES: Final = 1 << 20
"""Read from the network at a time: hashing and writing it takes a millisecond."""

_MISSING: Final = ("NoSuchKey", "404")
_OUTRUN: Final = ("PreconditionFailed", "412", "ConditionalRequestConflict", "OperationAborted", "409")
"""The condition of a write did not hold, or another write was under way."""
_REFUSED: Final = ("AccessDenied", "403", "AllAccessDisabled")

_FIXES: Final = {
    **dict.fromkeys(
        _REFUSED,
        "Let this role do that, and list the bucket: who may not is refused what is not there, too.",
    ),
    "NoSuchBucket": "Deploy the stack that has it, or name the bucket that there is.",
    "NoCredentialsError": "Give the process a role, or set AWS_PROFILE.",
    "ExpiredToken": "Sign in again.",
    "NoRegionError": "Set AWS_REGION.",
}
_OTHERWISE: Final = "Try again; where it stays so, look at the status of S3 in this region and at the network."


class _BrokenOff(StoreUnavailable):
    """A body ended before its end."""


class ObjectMissing(Exception):
    """There is no object of that key."""


class ObjectMoved(Exception):
    """The condition of a write does not hold: the object is there already, or is another one by now."""


@dataclass(frozen=True)
class Document:
    """A small object, whole."""

    data: bytes
    etag: str
    marks: dict[str, str]
    """What its writer set beside it."""


def s3_client(**options: Any) -> Any:
    """A client of S3; nothing is sent yet. `options` go to boto3 (`endpoint_url`, …)."""
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": MAX_TRIES},
        max_pool_connections=CONNECTIONS,
        response_checksum_validation="when_required",  # every file is held against its manifest: once is enough
    )
    return Session().client("s3", config=config, **options)


class Bucket:
    """The objects of a bucket under a prefix; keys are given without it.

    Every method raises StoreUnavailable where S3 refuses, throttles or cannot be reached.
    """

    def __init__(self, name: str, prefix: str = "", client: Any = None) -> None:
        """Sends nothing yet. `client`: of boto3, where it is not to be made from the environment."""
        self.name, self._prefix = name, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.place = f"s3://{name}/{self._prefix}".rstrip("/")
        self._made, self._making = client, threading.Lock()

    def reconnect(self) -> None:
        """Close the connections; the next call opens new ones (a new client would cost a tenth of a second of CPU)."""
        with self._making:
            if self._made is not None:
                self._made.close()

    def url(self, key: str) -> str:
        """For people."""
        return f"s3://{self.name}/{self._prefix}{key}"

    def read(self, key: str, limit: int) -> Document:
        """An object of at most `limit` bytes. Raises ObjectMissing, and ReleaseCorrupt before reading a larger one."""
        with self._naming(key, "GetObject"):
            answer = self._client.get_object(Bucket=self.name, Key=self._prefix + key)
            with closing(answer["Body"]) as body:
                self._check_length(key, answer, 0, limit)
                return Document(body.read(), answer["ETag"], answer.get("Metadata", {}))

    def stream(self, key: str, size: int) -> Iterator[bytes]:
        """The bytes of an object of exactly `size`, chunk by chunk; one that breaks off is gone on with.

        Raises ReleaseCorrupt, before it reads any, where it has another size; ObjectMissing.
        """
        done = 0
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                for chunk in self._rest(key, done, size):
                    done += len(chunk)
                    yield chunk
            except _BrokenOff:
                if not tries_left:
                    raise
            else:
                return

    def _rest(self, key: str, first: int, size: int) -> Iterator[bytes]:
        span = {"Range": f"bytes={first}-"} if first else {}
        with self._naming(key, "GetObject"):
            answer = self._client.get_object(Bucket=self.name, Key=self._prefix + key, **span)
        with closing(answer["Body"]) as body:
            self._check_length(key, answer, size - first, size - first)
            with self._naming(key, "GetObject", _BrokenOff):
                yield from body.iter_chunks(_CHUNK_BYTES)

    def download(self, key: str, path: Path) -> str:
        """Bring an object of whatever size to a file; the tag of what lies there now, or of what lay there before it.

        So a write under this tag never covers what was not read. Raises ObjectMissing, ReleaseCorrupt where it changes
        its size meanwhile, StorageFull.
        """
        with self._naming(key, "HeadObject"):
            found = self._client.head_object(Bucket=self.name, Key=self._prefix + key)
        with naming_full_disk(path), path.open("wb") as file:
            for chunk in self.stream(key, found["ContentLength"]):
                file.write(chunk)
        return str(found["ETag"])

    def overwrite(self, key: str, path: Path, expected: FileEntry, etag: str) -> None:
        """Write a file, with a checksum that S3 verifies, over an object whose tag is still `etag`; 5 GB at most.

        Raises ObjectMoved where it is another one by now.
        """
        checksum = b64encode(bytes.fromhex(expected.sha256)).decode()
        with path.open("rb") as file:
            self._put(key, file, ChecksumSHA256=checksum, IfMatch=etag)

    def etag(self, key: str) -> str | None:
        """The tag of an object, None where there is none."""
        try:
            with self._naming(key, "HeadObject"):
                return str(self._client.head_object(Bucket=self.name, Key=self._prefix + key)["ETag"])
        except ObjectMissing:
            return None

    def sha256(self, key: str) -> str | None:
        """The hash that S3 has verified of a whole object, None where there is none, or no object."""
        try:
            with self._naming(key, "HeadObject"):
                found = self._client.head_object(Bucket=self.name, Key=self._prefix + key, ChecksumMode="ENABLED")
        except ObjectMissing:
            return None
        checksum = str(found.get("ChecksumSHA256", ""))
        return None if not checksum or "-" in checksum else b64decode(checksum).hex()  # `…-3`: of its three parts

    def listing(self, under: str) -> Iterator[tuple[str, datetime]]:
        """All keys that begin with `under`, in order, and when each was written."""
        for entry in self._entries(under):
            yield entry["Key"].removeprefix(self._prefix), entry["LastModified"]

    def sizes(self, under: str) -> Iterator[tuple[str, int]]:
        """All keys that begin with `under`, in order, and how many bytes each has."""
        for entry in self._entries(under):
            yield entry["Key"].removeprefix(self._prefix), entry["Size"]

    def _entries(self, under: str) -> Iterator[dict[str, Any]]:
        with self._naming(under, "ListObjectsV2"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.name, Prefix=self._prefix + under):
                yield from page.get("Contents", ())

    def create(self, key: str, data: bytes) -> None:
        """Write an object that is not there yet. Raises ObjectMoved where it is (by this very call, it may be)."""
        self._put(key, data, IfNoneMatch="*")

    def replace(self, key: str, data: bytes, etag: str | None, marks: dict[str, str]) -> str:
        """Write an object while its tag is `etag` (None: while there is none); the new tag. Raises ObjectMoved."""
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        return self._put(key, data, Metadata=marks, **condition)

    def upload(self, key: str, path: Path, expected: FileEntry) -> None:
        """Write a file with checksums that S3 verifies: its own where it goes up at once, else those of its parts."""
        with self._naming(key, "PutObject"), path.open("rb") as file:
            if expected.bytes > SINGLE_PUT_BYTES:
                self._upload_parts(key, file)
            else:
                checksum = b64encode(bytes.fromhex(expected.sha256)).decode()
                self._client.put_object(
                    Bucket=self.name,
                    Key=self._prefix + key,
                    Body=file,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                )

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those that are gone already do no harm."""
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            batch = keys[first : first + _DELETED_AT_ONCE]
            with self._naming(batch[0], "DeleteObjects"):
                named = {"Objects": [{"Key": self._prefix + key} for key in batch], "Quiet": True}
                failed = self._client.delete_objects(Bucket=self.name, Delete=named).get("Errors", [])
            if failed:
                raise self._failed(failed[0]["Key"].removeprefix(self._prefix), "DeleteObjects", failed[0]["Code"])

    @property
    def _client(self) -> Any:
        with self._making:
            if self._made is None:
                self._made = s3_client()
            return self._made

    def _put(self, key: str, data: bytes | IO[bytes], **how: Any) -> str:
        try:
            with self._naming(key, "PutObject"):
                answer = self._client.put_object(
                    Bucket=self.name, Key=self._prefix + key, Body=data, ChecksumAlgorithm="SHA256", **how
                )
        except ObjectMissing as error:  # so S3 says that there is nothing to match
            raise ObjectMoved(key) from error
        return str(answer["ETag"])

    def _upload_parts(self, key: str, file: Any) -> None:
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=SINGLE_PUT_BYTES, multipart_chunksize=_PART_BYTES)
        self._client.upload_fileobj(
            file, self.name, self._prefix + key, ExtraArgs={"ChecksumAlgorithm": "SHA256"}, Config=parts
        )

    def _check_length(self, key: str, answer: dict[str, Any], least: int, most: int) -> None:
        """Raise ReleaseCorrupt where the announced length is not between the two; no more than it is ever read."""
        announced = answer.get("ContentLength", -1)
        if not least <= announced <= most:
            wanted = f"{most}" if least == most else f"at most {most}"
            raise ReleaseCorrupt(
                f"{self.url(key)}: has {announced} bytes, expected {wanted}.",
                fix="`tandem aws rollback` serves the release before it.",
            )

    @contextmanager
    def _naming(self, key: str, action: str, failure: type[StoreUnavailable] = StoreUnavailable) -> Iterator[None]:
        """Turn what botocore raises into failures of ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _MISSING:
                raise ObjectMissing(key) from error
            if code in _OUTRUN:
                raise ObjectMoved(key) from error
            raise self._failed(key, action, code, failure) from error
        except BotoCoreError as error:
            raise self._failed(key, action, type(error).__name__, failure) from error

    def _failed(
        self, key: str, action: str, code: str, failure: type[StoreUnavailable] = StoreUnavailable
    ) -> StoreUnavailable:
        return failure(f"{self.url(key)}: {action} fails with {code}.", fix=_FIXES.get(code, _OTHERWISE))
