"""A delivery stream of Amazon Data Firehose: a line of JSON is one record, durable once Firehose has taken it.

Only what failed is sent again. botocore's own tries are off: they would send whole batches, under our own. What was
sent again after a silence may be there twice. It knows bytes, no rows; `event_log.py` and `served_log.py` write
through it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from contracts.errors import LogUnavailable

MAX_CALL_RECORDS: Final = 500
"""Of one PutRecordBatch, as AWS says."""
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

_THROTTLED: Final = (
    "ServiceUnavailableException",
    "ThrottlingException",
    "LimitExceededException",
    "RequestLimitExceeded",
)
_SERVER_FAULT: Final = 500

_FIXES: Final = {
    "ResourceNotFoundException": "Deploy the stack that has the stream, or correct {setting}.",
    "AccessDeniedException": "Allow firehose:PutRecordBatch on the stream to the role that writes.",
    "ServiceUnavailableException": "Send the {row}s again; if it lasts, ask AWS for a higher quota of the stream.",
    "NoCredentialsError": "Give the process a role or credentials.",
}
_OTHER_FIX: Final = "Send the {row}s again; if it lasts, look at the stream and at the network between."


class Words(NamedTuple):
    """What a message says of a stream."""

    row: str
    """What a line is, e.g. "event"."""
    setting: str
    """Environment variable that names the stream."""


class DeliveryStream:
    """One stream, for one process."""

    def __init__(self, stream: str, words: Words, client: Any = None) -> None:
        """`client`: of boto3 for "firehose"; None makes one at the first line, from the process's region and role."""
        self.name, self._words = stream, words
        self._client = client
        self._making = threading.Lock()

    def append(self, lines: Sequence[bytes]) -> list[str]:
        """Send lines; [lines] "" where Firehose has taken one, else the error code that it gave last.

        Raises LogUnavailable where it took none for a reason that is of the stream, not of a line.
        """
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
        """Close the connections, which outlive no snapshot; the client, a tenth of a second of CPU, stays."""
        with self._making:
            if self._client is not None:
                self._client.close()

    def connected(self) -> Any:
        """The client, made where there is none yet; nothing is sent."""
        with self._making:
            if self._client is None:
                self._client = firehose_client()
            return self._client

    def _write(self, lines: Sequence[bytes]) -> list[str]:
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
            tries(lambda: batch.send(self.connected(), self.name))
        except (ClientError, BotoCoreError) as error:
            if not batch.any_written:
                raise self._unavailable(error) from error
            batch.fail_rest(_code(error))
        return batch.reasons

    def _unavailable(self, error: Exception) -> LogUnavailable:
        fix = _FIXES.get(_code(error), _OTHER_FIX).format_map(self._words._asdict())
        return LogUnavailable(f"the stream {self.name!r} took no {self._words.row}: {error}.", fix=fix)


class StreamLog:
    """What every log over a delivery stream does beside writing its rows."""

    words: ClassVar[Words]

    def __init__(self, stream: str, client: Any = None) -> None:
        """`client`: of boto3 for "firehose"; None makes one at the first row, from the process's region and role."""
        self.stream = stream
        self._stream = DeliveryStream(stream, self.words, client)

    def close(self) -> None:
        """Close the connections."""
        self._stream.close()

    def reconnect(self) -> None:
        """Close the connections, which outlive no snapshot."""
        self._stream.close()

    def connect(self) -> None:
        """Make the client now, before a row waits for it; nothing is sent."""
        self._stream.connected()


class _Batch:
    """The records of one call and what became of each."""

    def __init__(self, lines: Sequence[bytes]) -> None:
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
    """Which lines go into one call each: MAX_CALL_RECORDS records and MAX_CALL_BYTES at most."""
    start = size = 0
    for place, line in enumerate(lines):
        if place - start == MAX_CALL_RECORDS or (size + len(line) > MAX_CALL_BYTES and place > start):
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
