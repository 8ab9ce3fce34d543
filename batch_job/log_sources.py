"""Where a log of events lies: a folder, or a prefix of S3. Lists its objects and brings each to a file.

It does not know what is in an object; the day in its path tells which ones a date needs. `event_log_reading.py` reads
through it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from contracts.errors import LogUnavailable, naming_full_disk

S3_SCHEME: Final = "s3"

_DAY: Final = re.compile(r"(?<!\d)(\d{4})[-/](\d{2})[-/](\d{2})(?!\d)")
"""In `2026-11-20/…`, `dt=2026-11-20/…` and `2026/11/20/…`."""

_SLACK: Final = timedelta(days=1)
"""A path says when an object was begun, an event when it arrived: a day covers buffers, clocks and midnight."""


class LogObject(NamedTuple):
    """One file of a log."""

    name: str
    """Below the source."""
    size: int
    """Bytes."""


class LogSource(Protocol):
    """A log that can be read."""

    def objects(self, since: date | None = None) -> list[LogObject]:
        """What there is, by name, without what ends before `since`. Raises LogUnavailable."""
        ...

    def fetch(self, name: str) -> AbstractContextManager[Path]:
        """A file with the content of an object, for as long as it is needed. Raises LogUnavailable."""
        ...


def open_source(place: str | Path) -> LogSource:
    """The log at a path, or at `s3://bucket/prefix`."""
    return S3Source(place) if isinstance(place, str) and place.startswith(f"{S3_SCHEME}://") else FolderSource(place)


class FolderSource:
    """The files below a folder; where there is no folder yet, no event has come yet."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def __str__(self) -> str:
        return str(self._folder)

    def objects(self, since: date | None = None) -> list[LogObject]:
        """See `LogSource.objects`."""
        paths = (path for path in self._folder.rglob("*") if path.is_file())
        found = [LogObject(path.relative_to(self._folder).as_posix(), path.stat().st_size) for path in paths]
        return _wanted(found, since)

    @contextmanager
    def fetch(self, name: str) -> Iterator[Path]:
        """See `LogSource.fetch`."""
        yield self._folder / name


class S3Source:
    """The objects below a prefix; one at a time is on this machine's disk."""

    def __init__(self, uri: str, client: Any = None) -> None:
        """`client`: of boto3 for "s3"; None makes one from the process's region and role."""
        parts = urlsplit(uri)
        self._bucket, prefix = parts.netloc, parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""  # `events` is not `events-errors`
        self._client = client or _s3_client()

    def __str__(self) -> str:
        return f"{S3_SCHEME}://{self._bucket}/{self._prefix}"

    def objects(self, since: date | None = None) -> list[LogObject]:
        """See `LogSource.objects`."""
        with self._naming_failures():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            rows = [row for page in pages for row in page.get("Contents", [])]
        return _wanted([LogObject(row["Key"].removeprefix(self._prefix), row["Size"]) for row in rows], since)

    @contextmanager
    def fetch(self, name: str) -> Iterator[Path]:
        """See `LogSource.fetch`."""
        from boto3.s3.transfer import TransferConfig  # it goes on where a connection breaks

        with tempfile.NamedTemporaryFile(prefix="tandem-log-") as file:
            with self._naming_failures(), naming_full_disk(Path(file.name)):
                self._client.download_fileobj(
                    self._bucket, f"{self._prefix}{name}", file, Config=TransferConfig(use_threads=False)
                )
                file.flush()
            yield Path(file.name)

    @contextmanager
    def _naming_failures(self) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (ClientError, BotoCoreError, Boto3Error) as error:
            raise LogUnavailable(
                f"{self}: it cannot be read: {error}.",
                fix="Correct the bucket and the prefix, or allow s3:ListBucket and s3:GetObject; then run it again.",
            ) from error


def _s3_client() -> Any:
    from boto3.session import Session

    return Session().client("s3")


def _wanted(objects: list[LogObject], since: date | None) -> list[LogObject]:
    """The objects that hold something and do not end before a date, by name."""
    return sorted(one for one in objects if one.size and (since is None or not _ends_before(one.name, since)))


def _ends_before(name: str, since: date) -> bool:
    """Whether the path of an object says that it is of an earlier day; one that says nothing may be of any."""
    if (found := _DAY.search(name)) is None:
        return False
    try:
        return date(*map(int, found.groups())) < since - _SLACK
    except ValueError:  # digits that are no date
        return False
