"""The first step of a night: log and catalogue become the dataset that the night trains on.

It grows from the last snapshot that passed its check, or from the seeded dataset where there is none or its events
changed: what is there stays, what the log brought since is added, each event once. Sessions are those of the users that
they merged into, users who left are in nothing of it, and the items that clients told are in its catalogue. Features
that clients told of users are not: they live in the profiles, which serving reads at once, and training takes its table
of users from the dataset. Nothing goes to the bucket before the verdict says so, and equal input gives equal bytes:
killed, it is run again and sends what is missing. It does not judge the data (the check does) and moves nothing that
others see. `python -m batch_job snapshot` calls it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl

from batch_job.log_sources import LogSource
from batch_job.snapshot_catalogue import Folded, fold_catalogue
from batch_job.snapshot_ground import ground_of
from batch_job.snapshot_log import Told
from batch_job.snapshot_parts import Rules, Tally, shaped, write_parts
from batch_job.snapshot_people import People
from batch_job.snapshot_verdict import Now, compared, hour_text, verdict_on
from batch_job.stored_dataset import StoredDataset, catalogue_of
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
from contracts.release import FileEntry, release_digest
from contracts.schema import DatasetSchema
from stores.fresh_items import FreshItems
from stores.identities import Identities
from stores.mirrored_folder import Progress, entries_of, mirror
from stores.nights import Nights

KEPT_HOURS: Final = 15 * 24
"""Of arrivals: the day that is judged, the seven before it, and a week without nights."""

CLOCK_SECONDS: Final = 300
"""Between the clock of who wrote that somebody left, and ours."""

_HOUR: Final = 3_600
_DAY: Final = 86_400


@dataclass(frozen=True)
class Sources:
    """What came since the dataset was written."""

    log: LogSource
    items: FreshItems
    identities: Identities


@dataclass(frozen=True)
class Snapshot:
    """What a run found and did."""

    report: SnapshotReport
    verdict: StepVerdict
    sent: dict[str, FileEntry]
    """Files that were not in the bucket yet; none where the night is not to go on."""


def take_snapshot(
    nights: Nights, sources: Sources, settings: NightSettings, night: str, token: int, progress: Progress | None = None
) -> Snapshot:
    """Make the snapshot of a night, and say what the night is to do with it.

    Raises LeaseLost, NightIncomplete, DatasetError and SchemaError (file, column, rows), NotEnoughData where no event
    is left, LogUnavailable, LiveDataUnavailable, StoreUnavailable, StorageFull; what other nights see is then as it
    was.
    """
    nights.check_lease(token)
    facts = nights.read(night, NightFacts)
    with tempfile.TemporaryDirectory(prefix="tandem-snapshot-") as scratch:
        made = _Making(nights, facts, settings, Path(scratch), progress)
        report = made.report(sources)
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
        self._sessions: set[str] = set()

    def report(self, sources: Sources) -> SnapshotReport:
        """Write the dataset into the folder, and say what is in it."""
        people = People.of(sources.identities)
        told = Told(self._ground.since, self._ground.report.position if self._ground.report else "")
        folded = self._fold(sources.items, people)
        tally = self._write(told.frames(sources.log, self._progress), people)
        if not tally.events:
            raise NotEnoughData(
                f"no event is left: {tally.too_old} are older than {self._settings.history_days} days, "
                f"{tally.forgotten} are of users who left.",
                fix="Keep a longer history (TANDEM_HISTORY_DAYS, 0: all of it), or train on a younger dataset.",
            )
        return self._report(told, tally, folded, people)

    def send(self) -> dict[str, FileEntry]:
        """Put the dataset into the bucket."""
        night = self._facts.night
        return mirror(
            self._folder, self._nights.bucket, snapshot_prefix(night), snapshot_listing(night), self._progress
        )

    def _fold(self, items: FreshItems, people: People) -> Folded:
        folding = self._scratch / "catalogue"
        folding.mkdir()
        return fold_catalogue(self._folder, self._schema, items.all(), people, folding)

    def _write(self, log_frames: Iterator[pl.DataFrame], people: People) -> Tally:
        schema, (incoming, source) = self._schema, (self._scratch / name for name in ("buckets", "source"))
        incoming.mkdir()
        source.mkdir()
        buckets = UserBuckets(incoming)
        for frame in chain(self._ground.stored.events(schema, source, self._progress), log_frames):
            self._sessions |= set(people.sessions_in(frame["user_id"]))
            buckets.add(shaped(people.renamed(frame), schema))
        left_since = self._ground.people_as_of
        return write_parts(buckets, self._folder, Rules(schema, self._oldest(schema), people, left_since))

    def _oldest(self, schema: DatasetSchema) -> int | None:
        days = self._settings.history_days
        return self._facts.begun_at - days * _DAY if days and schema.timed else None

    def _report(self, told: Told, tally: Tally, folded: Folded, people: People) -> SnapshotReport:
        facts, ground, files = self._facts, self._ground, entries_of(self._folder)
        now = Now(
            log_events=ground.log_events + tally.log_events,
            dataset=facts.dataset,
            base_events=self._dataset.events_digest(self._schema),
            catalogue=release_digest(catalogue_of(files)),
            people=people.digest(),
            live_items=folded.items,
        )
        serving = facts.serving.night if facts.serving else None
        served = self._nights.find(serving, SnapshotReport) if serving else None
        new_events, unchanged = compared(now, facts, served)
        return SnapshotReport(
            night=facts.night,
            base=ground.report.night if ground.report else None,
            events=tally.events,
            users=tally.users,
            items=len(tally.items),
            new_events=new_events,
            repeated=tally.repeated,
            too_old=tally.too_old,
            newest_event=tally.newest_event,
            unchanged=unchanged,
            arrivals=_arrivals(ground.arrivals, tally.arrivals, facts.begun_at),
            files=files,
            live_features_dropped=folded.features_dropped,
            forgotten_events=tally.forgotten,
            forgotten_users=tally.forgotten_users,
            forgotten_rows=folded.users,
            merged_sessions=len(self._sessions),
            people_as_of=facts.begun_at - CLOCK_SECONDS,
            **now._asdict(),
            **told.figures(facts.begun_at),
        )


def _arrivals(before: dict[str, int], new: Counter[int], begun_at: int) -> dict[str, int]:
    """By hour, those of the earlier nights and the new ones."""
    counts = Counter(before)
    for hour, count in new.items():
        counts[hour_text(hour)] += count
    oldest = hour_text(begun_at // _HOUR - KEPT_HOURS)
    return {hour: counts[hour] for hour in sorted(counts) if hour >= oldest}
