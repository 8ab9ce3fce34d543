"""What a night would do if it began now, without beginning it: what it starts from, its steps, and what it lacks.

Only reads. `tandem aws run-nightly --dry-run` prints what this returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from batch_job.log_sources import S3Source
from contracts.night import EVENT_LOG, Lease, NightInput, Serving, SnapshotReport, Step
from index_loader.night.needs import missing
from local_mode.aws.night_machine import Execution, NightMachine
from local_mode.aws.night_run import as_left, whose
from local_mode.aws.stores import AwsStores
from stores.nights import Nights

DATASET_VARIABLE: Final = "TANDEM_DATASET"
"""Where the jobs are told which of several datasets they train on."""

_ORDER: Final = tuple(Step)
_DOES: Final = {
    Step.SNAPSHOT: "takes what the log has since the base snapshot, and the catalogue as it is",
    Step.CHECK: "looks for what is wrong with the dataset, and lets the next snapshot grow from it",
    Step.TRAIN: "trains a release on it",
    Step.SEAL: "checks every hash and seals it",
    Step.GATE: "judges it against what served when the night began",
    Step.INDEX: "loads it into an index of the search domain, where its catalogue is that large",
    Step.VERIFY: "asks it, and the index, the probe queries",
    Step.PUBLISH: "moves the pointer: it serves",
    Step.BACKFILL: "adds to the profiles what the log has and they lack",
    Step.SWEEP: "deletes releases, indexes and snapshots that nothing needs any more",
}
"""For people."""


@dataclass(frozen=True)
class LogSince:
    """What the snapshot would read of the event log."""

    day: str | None
    """From the day before this one on; None: all of it."""
    objects: int
    bytes: int


@dataclass(frozen=True)
class PlannedStep:
    """One step, in order."""

    step: Step
    runs: bool
    does: str


@dataclass(frozen=True)
class Plan:
    """A night before it begins."""

    night: str
    """Whose artifacts it goes on with; empty: a new one."""
    running: list[Execution]
    lease: Lease | None
    serving: Serving | None
    datasets: list[str]
    """Those it would take: more than one, or none, is an error of the night."""
    base: str | None
    """Night of the snapshot that the next one grows from."""
    log: LogSince
    training: dict[str, Any]
    """Image, instance, instances, spot, max_seconds: as deployed."""
    steps: list[PlannedStep]
    lacks: list[str]
    """Why it could not go on from where it is to begin."""

    @property
    def can_begin(self) -> bool:
        """Whether starting it now would work as far as can be seen."""
        return not self.running and not self.lacks and len(self.datasets) == 1


def plan(stores: AwsStores, machine: NightMachine, wanted: NightInput) -> Plan:
    """What a night would do. Raises RequestInvalid, NightIncomplete, StoreUnavailable, AwsCallFailed."""
    nights = Nights(stores.data)
    night, base = whose(nights, wanted), nights.base()
    definition = machine.definition()
    indexed = bool(stores.deployment.search_endpoint)
    left = as_left(stores, night)
    named = definition.variable(DATASET_VARIABLE)
    return Plan(
        night=night,
        running=machine.running(),
        lease=nights.lease(),
        serving=left.serving,
        datasets=[name for name in nights.datasets() if not named or name == named],
        base=base,
        log=_log_since(stores, nights.find(base, SnapshotReport) if base else None),
        training=definition.facts,
        steps=[_planned(step, wanted.begin, indexed) for step in Step],
        lacks=[f"{need.what}, which {need.by} writes" for need in missing(left, wanted.begin)] if night else [],
    )


def _planned(step: Step, begin: Step, indexed: bool) -> PlannedStep:
    if step is Step.INDEX and not indexed:
        return PlannedStep(step, False, "left out: this deployment has no search domain")
    runs = _ORDER.index(step) >= _ORDER.index(begin)
    return PlannedStep(step, runs, _DOES[step] if runs else "is not run again")


def _log_since(stores: AwsStores, base: SnapshotReport | None) -> LogSince:
    """Objects of the log that the snapshot would open; what they have of the base is dropped then."""
    day = _day(base.position) if base else None
    source = S3Source(f"s3://{stores.deployment.data_bucket}/{EVENT_LOG}", client=stores.account.client("s3"))
    found = source.objects(day)
    return LogSince(f"{day}" if day else None, len(found), sum(one.size for one in found))


def _day(position: str) -> date | None:
    """The day of a snapshot's position; None where it has read no log yet."""
    try:
        return datetime.strptime(position[:10], "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
