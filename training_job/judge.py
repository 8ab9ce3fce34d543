"""The step between sealing and loading: the gate, on artifacts alone.

The sealed release is opened as it would be served, and the validation slice cut again from the dataset, by the same
rule and seed. That it is the slice which training held out is proven by a digest that training left in its report;
what was trained on would flatter the candidate. The verdict is that of `gate.py`, whoever calls it. `__main__.py` does.
"""

from __future__ import annotations

from contracts.errors import GateBlocked, ReleaseCorrupt, SliceChanged
from contracts.night import SealedRelease, Step
from contracts.release import GateReport, Manifest
from data_sources.indexed import IndexedDataset
from data_sources.streamed import index_folder
from training_job.gate import judge_candidate
from training_job.night_job import NightJob, go, refuse
from training_job.validation import Validation, hold_out


def judge(job: NightJob) -> GateReport:
    """Judge the release of the night against what served when it began; write the report and the verdict.

    Raises NightIncomplete without a sealed release, SliceChanged, LeaseLost, PointerConflict, StoreUnavailable, and
    whatever opening the releases and the dataset raises.
    """
    sealed = job.nights.read(job.facts.night, SealedRelease)
    manifest = job.releases.manifest(sealed.release)
    if manifest.digest != sealed.digest:
        raise ReleaseCorrupt(
            f"{job.releases.place}: {sealed.release} is not what {job.facts.night} sealed.", fix="Begin from `seal`."
        )
    indexed = index_folder(job.dataset)
    validation = slice_of(manifest, indexed)
    served = job.served()
    report = judge_candidate(
        job.releases.open(sealed.release),
        validation.judging,
        job.releases.open(served.release) if served else None,
        indexed,
        release=sealed.release,
        serving_release=served.release if served else None,
        serving_model=served.served_model if served else "two_tower",
    )
    _write(job, report)
    return report


def slice_of(manifest: Manifest, indexed: IndexedDataset) -> Validation:
    """The slice that the training of a release held out. Raises SliceChanged where this dataset gives another one."""
    told = manifest.training
    fix = "Begin from `train`, so that one version of the code cuts both."
    if not isinstance(seed := told.get("seed"), int) or not isinstance(wanted := told.get("slice"), str):
        raise SliceChanged(f"{manifest.id}: its training left no digest of the slice that it held out.", fix=fix)
    validation = hold_out(indexed.interactions, indexed.schema, indexed.user_ids, seed)
    if (found := validation.digest(indexed.item_ids)) != wanted:
        raise SliceChanged(
            f"{manifest.id} held out the slice {wanted[:12]}, this dataset gives {found[:12]}: "
            "not the events that it was trained on, or cut by other code.",
            fix=fix,
        )
    return validation


def _write(job: NightJob, report: GateReport) -> None:
    job.nights.check_lease(job.token)
    job.nights.write(job.facts.night, report)
    if report.blocked:
        blocked = GateBlocked(report.reasons, fix="What served before goes on serving; see the checks of the gate.")
        job.decide(refuse(Step.GATE, blocked))
    else:
        job.decide(go(Step.GATE, f"{report.release} passes; {report.served_model} is served."))
