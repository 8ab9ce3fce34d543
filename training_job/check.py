"""The step between snapshot and training: may a model be trained on this dataset, and may the next one grow from it?

The data doctor's failures refuse it, and so does a schema that is not that of the release that serves, unless an
operator lets that pass. Its warnings are told and block nothing. What passes becomes the base of the next snapshot. It
imports no torch: it begins in a second. `__main__.py` calls it.
"""

from __future__ import annotations

from typing import Final

from contracts.errors import DatasetError, SchemaChanged
from contracts.night import Accept, Decision, Step, StepVerdict
from data_sources.checks import Status
from data_sources.dataset import read_schema
from data_sources.doctor import CheckResult, Diagnosis, diagnose
from data_sources.folders import living_folder
from training_job.night_job import NightJob, go, refuse
from training_job.schema_changes import schema_changes

GROWS: Final = ("users-known", "items-known")
"""What the log of a living deployment brings every day: users and items that the tables do not have yet. The doctor
fails where most are missing, for then ids are written in two ways; a dataset that was seeded has passed that."""
TOLD: Final = 5
"""Failures or warnings that a verdict spells out; who has more sees a pattern in these."""


def check(job: NightJob) -> StepVerdict:
    """Write the verdict on a dataset, and adopt it where it passes.

    Raises LeaseLost, PointerConflict, ReleaseNotFound, ReleaseCorrupt, StorageFull, StoreUnavailable.
    """
    diagnosis = diagnose(job.dataset)
    if failed := _failed(diagnosis):
        verdict = refuse(Step.CHECK, _failures(failed))
    elif changed := _schema_changed(job):
        verdict = refuse(Step.CHECK, changed)
    else:
        verdict = go(Step.CHECK, _summary(diagnosis))
    job.nights.check_lease(job.token)
    if verdict.decision is Decision.GO:
        job.nights.adopt(job.facts.night)
    job.decide(verdict)
    return verdict


def _schema_changed(job: NightJob) -> SchemaChanged | None:
    if Accept.SCHEMA in job.facts.accept or (served := job.served()) is None:
        return None
    before = job.releases.open_catalogue(served.release).schema
    if not (changes := schema_changes(before, read_schema(living_folder(job.dataset)))):
        return None
    return SchemaChanged(
        f"the schema is not that of {served.release}, which serves: {'; '.join(changes)}.",
        fix="Correct schema.toml of the dataset, or let it pass this once: `tandem aws run-nightly --accept schema`.",
    )


def _failures(found: list[CheckResult]) -> DatasetError:
    return DatasetError(
        f"{len(found)} {_checks(found)} of the dataset failed. {_listed(found)}",
        fix="Correct the dataset in its bucket and run the night again; `tandem check` on a copy shows everything.",
    )


def _summary(diagnosis: Diagnosis) -> str:
    size = f"{diagnosis.events:,} events, {diagnosis.users:,} users, {diagnosis.items:,} items."
    found = [result for result in diagnosis.checks if result.status in (Status.WARN, Status.FAIL)]
    return f"{size} {len(found)} {_checks(found)} warned. {_listed(found)}" if found else size


def _failed(diagnosis: Diagnosis) -> list[CheckResult]:
    return [result for result in diagnosis.checks if result.status is Status.FAIL and result.name not in GROWS]


def _checks(found: list[CheckResult]) -> str:
    return "check" if len(found) == 1 else "checks"


def _listed(found: list[CheckResult]) -> str:
    """Each with what was found, where, and what to do."""
    told = [f"{result.name}: {result.found} {_where(result)}{result.fix}" for result in found[:TOLD]]
    return " ".join([*told, f"And {len(found) - TOLD} more." if len(found) > TOLD else ""]).rstrip()


def _where(result: CheckResult) -> str:
    places = "; ".join(map(str, result.where[:TOLD]))
    return f"({places}). " if places else ""
