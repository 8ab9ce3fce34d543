"""The first step of a night: log and catalogue become the dataset that the night trains on.

It grows from the last snapshot that passed its check, or from the seeded dataset where there is none or its events
changed: what is there stays, what the log brought since is added, each event once. Nothing goes to the bucket before
the verdict says so, and equal input gives equal bytes: killed, it is run again and sends what is missing. It does not
judge the data (the check does) and moves nothing that others see. `python -m batch_job snapshot` calls it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from batch_job.log_sources import LogSource
from batch_job.snapshot_ground import ground_of
from batch_job.snapshot_log import Told
from batch_job.snapshot_parts import Rules, Tally, shaped, write_parts
from batch_job.snapshot_verdict import compared, hour_text, verdict_on
from batch_job.stored_dataset import StoredDataset
from batch_job.user_buckets import UserBuckets
from contracts.errors import NotEnoughData
from contracts.night import (
    Decision,
    NightFacts,
    SnapshotReport,
    StepVerdict,
    dataset_listing,
    dataset_prefix,
    snapshot_listing,
    snapshot_prefix,
)
from contracts.night_settings import NightSettings
from contracts.release import FileEntry
from contracts.schema import DatasetSchema
from stores.mirrored_folder import Progress, entries_of, mirror
from stores.nights import Nights

KEPT_HOURS: Final = 15 * 24
"""Of arrivals: the day that is judged, the seven before it, and a week without nights."""

_HOUR: Final = 3_600
_DAY: Final = 86_400


@dataclass(frozen=True)
class Snapshot:
    """What a run found and did."""

    report: SnapshotReport
    verdict: StepVerdict
    sent: dict[str, FileEntry]
    """Files that were not in the bucket yet; none where the night is not to go on."""


def take_snapshot(
    nights: Nights, log: LogSource, settings: NightSettings, night: str, token: int, progress: Progress | None = None
) -> Snapshot:
    """Make the snapshot of a night, and say what the night is to do with it.

    Raises LeaseLost, NightIncomplete, DatasetError and SchemaError (file, column, rows), NotEnoughData where no event
    is left, LogUnavailable, StoreUnavailable, StorageFull; what other nights see is then as it was.
    """
    nights.check_lease(token)
    facts = nights.read(night, NightFacts)
    with tempfile.TemporaryDirectory(prefix="tandem-snapshot-") as scratch:
        made = _Making(nights, facts, settings, Path(scratch), progress)
        report = made.report(log)
        verdict = verdict_on(report, facts, settings.few_events_percent)
        nights.check_lease(token)
        sent = made.send() if verdict.decision is Decision.GO else {}
    nights.check_lease(token)
    nights.write(night, report)
    nights.write_verdict(night, verdict)
    return Snapshot(report, verdict, sent)


class _Making:
    """One snapshot on its way, in a folder of its own."""

    def __init__(
        self, nights: Nights, facts: NightFacts, settings: NightSettings, scratch: Path, progress: Progress | None
    ) -> None:
        self._nights, self._facts, self._settings, self._progress = nights, facts, settings, progress
        self._scratch, self._folder = scratch, scratch / "dataset"
        name = facts.dataset
        self._dataset = StoredDataset.open(nights.bucket, dataset_prefix(name), dataset_listing(name))
        self._schema = self._dataset.bring_catalogue(self._folder, progress)
        self._ground = ground_of(nights, facts, self._dataset, self._schema)

    def report(self, log: LogSource) -> SnapshotReport:
        """Write the dataset into the folder, and say what is in it."""
        told = Told(self._ground.since, self._ground.report.position if self._ground.report else "")
        tally = self._write(told.frames(log, self._progress))
        if not tally.events:
            raise NotEnoughData(
                f"no event is left: {tally.too_old} are older than {self._settings.history_days} days.",
                fix="Keep a longer history (TANDEM_HISTORY_DAYS, 0: all of it), or train on a younger dataset.",
            )
        return self._report(told, tally)

    def send(self) -> dict[str, FileEntry]:
        """Put the dataset into the bucket."""
        night = self._facts.night
        return mirror(
            self._folder, self._nights.bucket, snapshot_prefix(night), snapshot_listing(night), self._progress
        )

    def _write(self, log_frames: Iterator[pl.DataFrame]) -> Tally:
        schema, (incoming, source) = self._schema, (self._scratch / name for name in ("buckets", "source"))
        incoming.mkdir()
        source.mkdir()
        buckets = UserBuckets(incoming)
        for frame in self._ground.stored.events(schema, source, self._progress):
            buckets.add(shaped(frame, schema))
        for frame in log_frames:
            buckets.add(shaped(frame, schema))
        return write_parts(buckets, self._folder, Rules(schema, self._oldest(schema)))

    def _oldest(self, schema: DatasetSchema) -> int | None:
        days = self._settings.history_days
        return self._facts.begun_at - days * _DAY if days and schema.timed else None

    def _report(self, told: Told, tally: Tally) -> SnapshotReport:
        facts, ground, dataset = self._facts, self._ground, self._dataset
        log_events = ground.log_events + tally.log_events
        digests = facts.dataset, dataset.events_digest(self._schema), dataset.catalogue_digest()
        serving = facts.serving.night if facts.serving else None
        served = self._nights.find(serving, SnapshotReport) if serving else None
        new_events, unchanged = compared(log_events, digests, facts, served)
        return SnapshotReport(
            night=facts.night,
            dataset=facts.dataset,
            base=ground.report.night if ground.report else None,
            base_events=digests[1],
            catalogue=digests[2],
            events=tally.events,
            users=tally.users,
            items=len(tally.items),
            log_events=log_events,
            new_events=new_events,
            repeated=tally.repeated,
            too_old=tally.too_old,
            newest_event=tally.newest_event,
            unchanged=unchanged,
            arrivals=_arrivals(ground.arrivals, tally.arrivals, facts.begun_at),
            files=entries_of(self._folder),
            **told.figures(facts.begun_at),
        )


def _arrivals(before: dict[str, int], new: Counter[int], begun_at: int) -> dict[str, int]:
    """By hour, those of the earlier nights and the new ones."""
    counts = Counter(before)
    for hour, count in new.items():
        counts[hour_text(hour)] += count
    oldest = hour_text(begun_at // _HOUR - KEPT_HOURS)
    return {hour: counts[hour] for hour in sorted(counts) if hour >= oldest}
