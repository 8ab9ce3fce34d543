"""The datasets and snapshots of the data bucket as places of a user's rows, and all such places of a deployment.

A file of these is known by size and hash in a listing, so the listing follows each file at once; in between the dataset
is not whole, and a night that reads it then fails by name. The nights tell a dataset by the digest of its event files:
that they have one user fewer must not look like another dataset, for the next night would start anew from it and lose
what the log no longer has. So the reports of the nights that grew from it get its new digest. `python -m batch_job
forget` calls it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from batch_job.forget_journal import Taken
from batch_job.forget_places import ARRIVED, HAPPENED, BucketFiles, Place
from batch_job.stored_dataset import StoredDataset, names_users
from contracts.errors import NightRunning
from contracts.night import (
    EVENT_LOG,
    SNAPSHOTS,
    SnapshotReport,
    dataset_listing,
    dataset_prefix,
    snapshot_listing,
    snapshot_prefix,
)
from contracts.processing_job import RECOMMENDATIONS
from stores.mirrored_folder import replace_entry
from stores.nights import Nights
from stores.s3_bucket import Bucket

EXPOSURES: Final = "exposures/"
"""Who was served which variant, beside the log."""
SLATES: Final = "slates/"
"""What was served to whom, likewise."""


class ListedFiles(BucketFiles):
    """The files of one dataset or snapshot that may name users."""

    def __init__(self, kind: str, bucket: Bucket, prefix: str, listing_key: str) -> None:
        """Raises DatasetError where the dataset is not whole, SchemaError."""
        self._listing = listing_key
        self._schema = StoredDataset.open(bucket, prefix, listing_key).schema()
        super().__init__(kind, bucket, prefix, HAPPENED if self._schema.timed else None)

    def names(self) -> list[str]:
        """See `Place.names`."""
        return [name for name in self._stored().entries if names_users(name)]

    def mend(self, name: str, taken: Taken) -> None:
        """See `Place.mend`: the listing says what the file is now, where that is what it was to become."""
        if taken.becomes is not None and self._bucket.sha256(self._prefix + name) == taken.becomes.sha256:
            replace_entry(self._bucket, self._listing, name, taken.becomes)

    def _stored(self) -> StoredDataset:
        return StoredDataset.open(self._bucket, self._prefix, self._listing)


class SeededDataset(ListedFiles):
    """A dataset that nights grow from."""

    def __init__(self, nights: Nights, name: str) -> None:
        """Raises as `ListedFiles`."""
        super().__init__("dataset", nights.bucket, dataset_prefix(name), dataset_listing(name))
        self._nights, self._name = nights, name

    def mend(self, name: str, taken: Taken) -> None:
        """See `Place.mend`; the nights that grew from it before, did from what it is now."""
        super().mend(name, taken)
        stored = self._stored()
        if taken.was is None or stored.entries.get(name) != taken.becomes:
            return
        before = replace(stored, entries=stored.entries | {name: taken.was}).events_digest(self._schema)
        after = stored.events_digest(self._schema)
        for night in _grown(self._nights):
            report = self._nights.find(night, SnapshotReport)
            if report is not None and (report.dataset, report.base_events) == (self._name, before) and before != after:
                self._nights.write(night, msgspec.structs.replace(report, base_events=after))


def places_of(nights: Nights) -> list[Place]:
    """Everything of a data bucket that knows users by their ids and does not expire within a month.

    Raises NightRunning where a night reads these files now, DatasetError for a dataset that is not whole.
    """
    if (lease := nights.lease()) is not None and not lease.released:
        raise NightRunning(
            f"{lease.night} has been running since {lease.taken_at}: its dataset must not change under it.",
            fix="Wait for its end (`tandem aws status`), or stop its execution and start another.",
        )
    bucket = nights.bucket
    logs: list[Place] = [
        BucketFiles("event log", bucket, EVENT_LOG, ARRIVED),
        BucketFiles("exposures", bucket, EXPOSURES, HAPPENED),
        BucketFiles("slates", bucket, SLATES, HAPPENED),
        BucketFiles("recommendations", bucket, RECOMMENDATIONS, None),
    ]
    seeded = [SeededDataset(nights, name) for name in nights.datasets()]
    snapshots = [
        ListedFiles("snapshot", bucket, snapshot_prefix(night), snapshot_listing(night)) for night in _snapshots(nights)
    ]
    return [*logs, *seeded, *snapshots]


def _snapshots(nights: Nights) -> list[str]:
    """Nights whose snapshot is there, whole."""
    end = snapshot_listing("n000000-00000000").removeprefix(f"{SNAPSHOTS}n000000-00000000")
    keys = (key.removeprefix(SNAPSHOTS) for key, _ in nights.bucket.listing(SNAPSHOTS))
    return sorted(key.removesuffix(end) for key in keys if key.endswith(end) and "/" not in key)


def _grown(nights: Nights) -> list[str]:
    """Nights whose report a later one looks at: its base, and what serves or can come back to serve."""
    base = nights.base()
    return sorted({*_snapshots(nights), *([base] if base else [])})
