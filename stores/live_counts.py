"""What is popular now, counted where events come in: one small record a process and ten minutes.

`LiveCounts` is the protocol, `SqliteLiveCounts` the local class; the one in AWS is `dynamodb_live_counts.py`. A process
writes its own record over as its counts grow, so writers never meet and a write that is repeated changes nothing. What
a process had not written yet when it ended is lost: seconds of events, of a figure that the log sets right at night.
"""

from __future__ import annotations

from typing import Final, Protocol

from contracts.live import Counts
from stores.live_file import InLiveFile
from stores.live_records import pack, unpack

_WRITE: Final = "INSERT OR REPLACE INTO counts (bucket, writer, weights) VALUES (?, ?, ?)"
_SINCE: Final = "SELECT bucket, writer, weights FROM counts WHERE bucket >= ? ORDER BY bucket, writer"


class LiveCounts(Protocol):
    """Where counts are kept. Every method raises LiveDataUnavailable where the store cannot answer."""

    def write(self, counts: Counts) -> None:
        """Write one process's counts of one bucket over those that it wrote before."""
        ...

    def since(self, bucket: int) -> list[Counts]:
        """The counts of this bucket and all later ones, by bucket."""
        ...

    def sweep(self, before: int) -> int:
        """Remove the counts of earlier buckets, where the store does not do so by itself; returns how many."""
        ...

    def connect(self) -> None:
        """Make ready what a request would wait for; nothing is sent."""
        ...

    def reconnect(self) -> None:
        """Let go of connections that a snapshot has cut."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class SqliteLiveCounts(InLiveFile, LiveCounts):
    """Counts in one SQLite file, for threads and processes of one machine."""

    def write(self, counts: Counts) -> None:
        """See `LiveCounts.write`."""
        with self._file.writing() as connection:
            connection.execute(_WRITE, (counts.bucket, counts.writer, pack(counts.weights)))

    def since(self, bucket: int) -> list[Counts]:
        """See `LiveCounts.since`."""
        rows = self._file.rows(_SINCE, (bucket,))
        with self._file.naming_failures():
            return [Counts(bucket, writer, unpack(weights, dict[str, float])) for bucket, writer, weights in rows]

    def sweep(self, before: int) -> int:
        """See `LiveCounts.sweep`."""
        with self._file.writing() as connection:
            return connection.execute("DELETE FROM counts WHERE bucket < ?", (before,)).rowcount
