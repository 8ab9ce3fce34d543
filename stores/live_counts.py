"""What is popular now, counted where events come in: one small record a process and ten minutes.

`LiveCounts` is the protocol, `SqliteLiveCounts` the local class; the one in AWS is `dynamodb_live_counts.py`. A process
writes its own record over as its counts grow, so writers never meet and a write that is repeated changes nothing. What
a process had not written yet when it ended is lost: seconds of events, of a figure that the log sets right at night.
"""

from __future__ import annotations

from typing import Protocol

from contracts.live import Counts


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
