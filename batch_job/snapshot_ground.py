"""What the snapshot of a night grows from: an earlier night's, or the seeded dataset where that one does not fit it.

It fits while the dataset's own event files, and what its schema says of events, are what they were. `snapshot.py` asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from batch_job.stored_dataset import StoredDataset
from contracts.errors import NightIncomplete
from contracts.night import BASE_KEY, NightFacts, SnapshotReport, snapshot_listing, snapshot_prefix
from contracts.schema import DatasetSchema
from stores.nights import Nights

_LATE: Final = timedelta(days=1)
"""How much later than it says an object of the log may come: Firehose tries for a day."""


@dataclass(frozen=True)
class Ground:
    """Whose events are kept, and from where on the log is read."""

    stored: StoredDataset
    report: SnapshotReport | None = None
    """Of the night that left them; None: they are the seeded dataset's own."""

    @property
    def log_events(self) -> int:
        """Events of the log that are in it, or were."""
        return self.report.log_events if self.report else 0

    @property
    def arrivals(self) -> dict[str, int]:
        """Of these, by hour."""
        return self.report.arrivals if self.report else {}

    @property
    def people_as_of(self) -> int:
        """Unix seconds: what is of users who left before is not in it."""
        return self.report.people_as_of if self.report else 0

    @property
    def since(self) -> date | None:
        """Day of arrival of the first events that it may lack; None: it has none of the log."""
        return date.fromisoformat(self.report.position) - _LATE if self.report and self.report.position else None


def ground_of(nights: Nights, facts: NightFacts, dataset: StoredDataset, schema: DatasetSchema) -> Ground:
    """What the snapshot of a night grows from.

    Raises NightIncomplete and DatasetError where the snapshot that it should grow from is not whole: to go on without
    it would drop what the log no longer has. Raises StoreUnavailable.
    """
    base = _base(nights, facts.night)
    if base is None:
        return Ground(dataset)
    if (report := nights.find(base, SnapshotReport)) is None:
        raise NightIncomplete(
            f"{nights.bucket.url(BASE_KEY)}: it names {base}, which has no report.",
            fix="Restore that, or remove the key: the next night then starts from the dataset and the whole log.",
        )
    if (report.dataset, report.base_events) != (facts.dataset, dataset.events_digest(schema)):
        return Ground(dataset)
    return Ground(StoredDataset.open(nights.bucket, snapshot_prefix(base), snapshot_listing(base)), report)


def _base(nights: Nights, night: str) -> str | None:
    """The night to grow from; one that is run again after its check grows from what it grew from before."""
    base = nights.base()
    if base != night:
        return base
    own = nights.find(night, SnapshotReport)
    return own.base if own else None
