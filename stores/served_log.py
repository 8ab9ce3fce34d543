"""Logs of what was served, one of exposures and one of slates: durable when they say so, at-least-once.

`ServedLog` is the protocol, `LocalServedLog` writes files and waits for the disk, `FirehoseServedLog` hands to Amazon
Data Firehose, which delivers to S3. Readers know an exposure by its `exposure_key` and a slate by its recommendation
id. It does not know who is in which experiment, nor what a slate is made of. The Lambda edge writes both logs;
`experiments/analysis` and the queries of `docs/growthbook/` read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from contracts.served import Exposure, ServedSlate, encode_served
from stores.delivery_stream import StreamLog, Words
from stores.line_log import LineFiles

EXPOSURES_FOLDER: Final = "exposures"
SLATES_FOLDER: Final = "slates"
"""Of the local logs, in the home; the prefixes of the data bucket are the same."""

Rows = Sequence[Exposure] | Sequence[ServedSlate]


class ServedLog(Protocol):
    """The log of one kind of row."""

    def append(self, rows: Rows) -> list[str]:
        """Write rows; [rows] "" where one is written durably, else a short reason why it was not.

        What has a reason may be in the log all the same. Raises LogUnavailable where none could be written for a
        reason that is of the log, not of a row.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class LocalServedLog:
    """Files by the hour of serving, see `line_log.py`; each process has its own instance, which threads may share."""

    def __init__(self, folder: Path) -> None:
        """Nothing is created before the first row; a message names the rows as the folder is named."""
        self._files = LineFiles(folder, folder.name)

    def append(self, rows: Rows) -> list[str]:
        """See `ServedLog.append`; "" means that the disk has it."""
        return self._files.append(_lines(rows), [row.timestamp for row in rows])

    def close(self) -> None:
        """Close the file; whoever still writes finishes first."""
        self._files.close()


class FirehoseServedLog(StreamLog):
    """A delivery stream, see `delivery_stream.py`."""

    words = Words("row", "TANDEM_EXPOSURES_STREAM or TANDEM_SLATES_STREAM")

    def append(self, rows: Rows) -> list[str]:
        """See `ServedLog.append`; a reason is the error code that Firehose gave last."""
        return self._stream.append(_lines(rows))


def _lines(rows: Rows) -> list[bytes]:
    return [encode_served(row) + b"\n" for row in rows]
