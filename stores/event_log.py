"""The event log: every event that was acknowledged, in the order of arrival, for good.

`EventLog` is the protocol, `LocalEventLog` writes files and waits for the disk, `FirehoseEventLog` hands to Amazon
Data Firehose, which delivers to S3. The log is at-least-once: what was sent again after a silence may be there twice,
and readers know an event by its id. It knows nothing of profiles, schemas and who asks. The Lambda edge writes it,
`batch_job/event_log_reading.py` reads it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

from contracts.errors import LogUnavailable, StorageFull
from contracts.event import MAX_EVENTS, Event, encode_event
from stores.release_files import sync_folder

LINES_SUFFIX: Final = ".jsonl"

MAX_CALL_BYTES: Final = 4_000_000
"""Of the records of one PutRecordBatch; AWS says 4 MB, which is meant here as the smaller of its two readings."""
MAX_TRIES: Final = 4
"""Of one PutRecordBatch: throttled records are taken again within tenths of a second, or not for a while."""
FIRST_WAIT_SECONDS: Final = 0.05
"""Doubles with each try and is as long again at random, so that throttled writers come back apart."""
LONGEST_WAIT_SECONDS: Final = 0.5
GIVE_UP_SECONDS: Final = 2.0
"""No try begins later. With the timeouts of the last one `append` ends within 5 s: a client waits for its answer."""
CONNECT_SECONDS: Final = 1.0
READ_SECONDS: Final = 2.0
"""A PutRecordBatch takes tens of milliseconds."""

_SECONDS_PER_HOUR: Final = 3_600
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_THROTTLED: Final = (
    "ServiceUnavailableException",
    "ThrottlingException",
    "LimitExceededException",
    "RequestLimitExceeded",
)
_SERVER_FAULT: Final = 500

_FIXES: Final = {
    "ResourceNotFoundException": "Deploy the stack that has the stream, or correct TANDEM_EVENTS_STREAM.",
    "AccessDeniedException": "Allow firehose:PutRecordBatch on the stream to the role that writes.",
    "ServiceUnavailableException": "Send the events again; if it lasts, ask AWS for a higher quota of the stream.",
    "NoCredentialsError": "Give the process a role or credentials.",
}
_OTHER_FIX: Final = "Send the events again; if it lasts, look at the stream and at the network between."


class EventLog(Protocol):
    """Where events are written before anything else is done with them."""

    def append(self, events: Sequence[Event]) -> list[str]:
        """Write events; [events] "" where one is written durably, else a short reason why it was not.

        What has a reason may be in the log all the same (an answer that was lost). Raises LogUnavailable where none
        could be written for a reason that is of the log, not of an event.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class LocalEventLog:
    """Files that only grow: `<folder>/<YYYY-MM-DD>/<HH>-<process>.jsonl`, day and hour (UTC) of arrival.

    A file has one writer. So a process that is killed in a write leaves an unfinished last line of its own, which
    readers drop, and damages nobody else's. Threads take turns; several processes each make their own instance.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is created before the first event."""
        self._folder = folder
        self._turn = threading.Lock()
        self._writer = _unique()
        self._file: _HourFile | None = None

    def append(self, events: Sequence[Event]) -> list[str]:
        """See `EventLog.append`; "" means that the disk has it."""
        reasons = [""] * len(events)
        with self._turn:
            for hour in sorted({event.received_at // _SECONDS_PER_HOUR for event in events}):
                places = [n for n, event in enumerate(events) if event.received_at // _SECONDS_PER_HOUR == hour]
                reason = self._append(hour, b"".join([encode_event(events[place]) + b"\n" for place in places]))
                for place in places if reason else ():
                    reasons[place] = reason
        return reasons

    def close(self) -> None:
        """Close the file; whoever still writes finishes first."""
        with self._turn:
            self._leave_file()

    def _append(self, hour: int, lines: bytes) -> str:
        """Write lines to the file of an hour; the reason where they are not on disk."""
        try:
            file = self._file_of(hour)
        except OSError as error:
            if error.errno in _FULL:
                return StorageFull.code
            raise LogUnavailable(
                f"{self._folder}: no file of events can be opened there: {error.strerror}.",
                fix="Make the folder writable for the process, or name another home.",
            ) from error
        try:
            file.append(lines)
        except OSError as error:
            if not file.take_back():
                self._leave_file()
                self._writer = _unique()  # nothing is ever appended to a line that is not whole
            return StorageFull.code if error.errno in _FULL else errno.errorcode.get(error.errno or 0, "OSError")
        return ""

    def _file_of(self, hour: int) -> _HourFile:
        if self._file is None or self._file.hour != hour:
            self._leave_file()
            self._file = _HourFile(self._folder, hour, self._writer)
        return self._file

    def _leave_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _HourFile:
    """The open file of a writer and an hour, and how much of it is acknowledged."""

    def __init__(self, folder: Path, hour: int, writer: str) -> None:
        moment = datetime.fromtimestamp(hour * _SECONDS_PER_HOUR, UTC)
        path = folder / f"{moment:%Y-%m-%d}" / f"{moment:%H}-{writer}{LINES_SUFFIX}"
        self.hour = hour
        _make_folder(path.parent)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            self._acknowledged = os.fstat(self._descriptor).st_size
            sync_folder(path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, lines: bytes) -> None:
        """Write and wait for the disk. Raises OSError; the end of the file is then unknown, see `take_back`."""
        left = memoryview(lines)
        while left:
            left = left[os.write(self._descriptor, left) :]  # a disk that fills takes a part, then says so
        os.fsync(self._descriptor)
        self._acknowledged += len(lines)

    def take_back(self) -> bool:
        """Cut what is not acknowledged; whether that worked."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._acknowledged)
            return True
        return False

    def close(self) -> None:
        os.close(self._descriptor)


def _unique() -> str:
    """A name that no other writer has, also after a restart under the same process id."""
    return f"{os.getpid()}-{uuid4().hex[:12]}"


def _make_folder(folder: Path) -> None:
    """Create a folder, and those above it, so that they survive a power cut."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


class FirehoseEventLog:
    """A delivery stream: an event is one record, a line of JSON, durable once Firehose has taken it.

    Only what failed is sent again. botocore's own tries are off: they would send whole batches, under our own.
    """

    def __init__(self, stream: str, client: Any = None) -> None:
        """`client`: of boto3 for "firehose"; None makes one at the first event, from the process's region and role."""
        self.stream = stream
        self._client = client
        self._making = threading.Lock()

    def append(self, events: Sequence[Event]) -> list[str]:
        """See `EventLog.append`; a reason is the error code that Firehose gave last."""
        lines = [encode_event(event) + b"\n" for event in events]
        reasons: list[str] = []
        for call in _calls(lines):
            try:
                reasons += self._write(lines[call])
            except LogUnavailable as error:
                if "" not in reasons:
                    raise
                return reasons + [error.code] * (len(lines) - len(reasons))
        return reasons

    def close(self) -> None:
        """Close the connections."""
        with self._making:
            if self._client is not None:
                self._client.close()

    def reconnect(self) -> None:
        """Close the connections, which outlive no snapshot; the client, a tenth of a second of CPU, stays."""
        self.close()

    def connect(self) -> None:
        """Make the client now, before an event waits for it; nothing is sent."""
        self._connected()

    def _connected(self) -> Any:
        with self._making:
            if self._client is None:
                self._client = firehose_client()
            return self._client

    def _write(self, lines: list[bytes]) -> list[str]:
        """Write the records of one call, with tries; the reason of each. Raises LogUnavailable where none is in."""
        import tenacity
        from botocore.exceptions import BotoCoreError, ClientError

        batch = _Batch(lines)
        tries = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(MAX_TRIES) | tenacity.stop_before_delay(GIVE_UP_SECONDS),
            wait=tenacity.wait_exponential_jitter(
                multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS, jitter=FIRST_WAIT_SECONDS
            ),
            retry=tenacity.retry_if_exception(_may_pass) | tenacity.retry_if_result(bool),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        try:
            tries(lambda: batch.send(self._connected(), self.stream))
        except (ClientError, BotoCoreError) as error:
            if not batch.any_written:
                raise self._unavailable(error) from error
            batch.fail_rest(_code(error))
        return batch.reasons

    def _unavailable(self, error: Exception) -> LogUnavailable:
        fix = _FIXES.get(_code(error), _OTHER_FIX)
        return LogUnavailable(f"the stream {self.stream!r} took no event: {error}.", fix=fix)


class _Batch:
    """The records of one call and what became of each."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines
        self._pending = list(range(len(lines)))
        self.reasons = [""] * len(lines)

    @property
    def any_written(self) -> bool:
        return len(self._pending) < len(self._lines)

    def send(self, client: Any, stream: str) -> list[int]:
        """One try with what is pending; what still is after it."""
        answer = client.put_record_batch(
            DeliveryStreamName=stream, Records=[{"Data": self._lines[place]} for place in self._pending]
        )
        for place, record in zip(self._pending, answer["RequestResponses"], strict=True):
            self.reasons[place] = record.get("ErrorCode", "")
        self._pending = [place for place in self._pending if self.reasons[place]]
        return self._pending

    def fail_rest(self, reason: str) -> None:
        for place in self._pending:
            self.reasons[place] = reason


def firehose_client(**options: Any) -> Any:
    """A client of Firehose that tries once and waits for seconds only; `options` go to boto3 (endpoint_url, …)."""
    from boto3.session import Session  # hundreds of milliseconds: a process without Firehose never pays them
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    return Session().client("firehose", config=config, **options)


def _calls(lines: Sequence[bytes]) -> Iterator[slice]:
    """Which lines go into one call each: MAX_EVENTS records and MAX_CALL_BYTES at most."""
    start = size = 0
    for place, line in enumerate(lines):
        if place - start == MAX_EVENTS or (size + len(line) > MAX_CALL_BYTES and place > start):
            yield slice(start, place)
            start, size = place, 0
        size += len(line)
    if len(lines) > start:
        yield slice(start, len(lines))


def _may_pass(error: BaseException) -> bool:
    """Whether the same call may work in a moment: throttled, a fault of the service, or the network."""
    from botocore import exceptions as named

    if isinstance(error, named.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _code(error) in _THROTTLED or status >= _SERVER_FAULT
    return isinstance(error, (named.ConnectionError, named.HTTPClientError))


def _code(error: Exception) -> str:
    """The code that AWS gave, or the name of what went wrong before it could."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code or type(error).__name__)
