"""The event log: every event that was acknowledged, in the order of arrival, for good.

`EventLog` is the protocol, `LocalEventLog` writes files and waits for the disk, `FirehoseEventLog` hands to Amazon
Data Firehose, which delivers to S3. The log is at-least-once: what was sent again after a silence may be there twice,
and readers know an event by its id. It knows nothing of profiles, schemas and who asks. The Lambda edge writes it,
`batch_job/event_log_reading.py` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from contracts.event import Event, encode_event
from stores.delivery_stream import StreamLog, Words
from stores.line_log import LineFiles


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
    """Files by the hour of arrival, see `line_log.py`; each process has its own instance, which threads may share."""

    def __init__(self, folder: Path) -> None:
        """Nothing is created before the first event."""
        self._files = LineFiles(folder, "events")

    def append(self, events: Sequence[Event]) -> list[str]:
        """See `EventLog.append`; "" means that the disk has it."""
        return self._files.append(_lines(events), [event.received_at for event in events])

    def close(self) -> None:
        """Close the file; whoever still writes finishes first."""
        self._files.close()


class FirehoseEventLog(StreamLog):
    """A delivery stream, see `delivery_stream.py`."""

    words = Words("event", "TANDEM_EVENTS_STREAM")

    def append(self, events: Sequence[Event]) -> list[str]:
        """See `EventLog.append`; a reason is the error code that Firehose gave last."""
        return self._stream.append(_lines(events))


def _lines(events: Sequence[Event]) -> list[bytes]:
    return [encode_event(event) + b"\n" for event in events]
