"""One night on one machine: dataset → check → train → seal → gate → publish → profiles → sweep.

The local twin of the state machine: the same steps in the same order, each leaving named artifacts in the home folder.
Killed at any point it leaves what served before; run again on the same data it goes on from its last checkpoint.
`tandem train` and `tandem demo` call it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path

import msgspec

from batch_job.backfill import backfill_profiles
from contracts.errors import DatasetError, StateBusy
from contracts.fitted import HEAD_ITEMS
from contracts.release import GateReport, Manifest, Publication
from data_sources.checks import Status
from data_sources.dataset import TRAINING_COLUMNS, open_dataset
from data_sources.doctor import Diagnosis, diagnose
from data_sources.indexed import IndexedDataset, index_dataset
from index_loader.publish import publish
from index_loader.run import publish_or_load_again
from index_loader.run import run as run_loading
from index_loader.sweep import sweep as sweep_indexes
from local_mode.engine import Index, engine_client, engine_for
from stores.profiles import SqliteProfiles
from stores.releases import Current, LocalReleases, write_atomically
from training_job.export import export
from training_job.fit import Fitted, fit
from training_job.gate import judge_candidate
from training_job.settings import TrainingSettings

Progress = Callable[[int, int, str], None]


@dataclass
class Retrained:
    """What a night did."""

    manifest: Manifest
    gate: GateReport
    publication: Publication | None
    """None where publishing was not asked for."""
    fitted: Fitted
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by step."""


def retrain(
    dataset: Path,
    home: Path,
    settings: TrainingSettings,
    *,
    warm_start: str | None = None,
    publish_it: bool = True,
    index: Index = Index.EMBEDDED,
    engine_above: int = HEAD_ITEMS,
    progress: Progress | None = None,
) -> Retrained:
    """Train on a dataset, seal, gate, and publish where the gate lets it through.

    `warm_start`: id of the release to continue from. `index`: where it is searched; `engine_above`: of more items than
    this only an engine, where that is left open. Raises DatasetError, NotEnoughData, TrainingDiverged, GateBlocked
    (the sealed candidate and its verdicts stay for inspection), ServerUnavailable, IndexLoadFailed, VerificationFailed,
    StorageFull, StateBusy, PointerConflict.
    """
    store, clock = LocalReleases(home), StepClock()
    if index is Index.OPENSEARCH:
        engine_client(home)  # a missing server is said before the hours of training
    with clock("check"):
        refuse_failures(diagnose(dataset))
    with clock("read"):
        indexed = index_dataset(open_dataset(dataset, event_columns=TRAINING_COLUMNS))
    tell = progress or (lambda _done, _total, _text: None)
    run = home / "runs" / _run_key(dataset, settings, warm_start)
    with _only_one(run):
        with clock("train"):
            earlier = store.open(warm_start) if warm_start else None
            fitted = fit(
                indexed,
                indexed.interactions,
                settings,
                progress=progress,
                checkpoints=run / "checkpoints",
                warm_start=earlier,
            )
        with clock("seal"):
            manifest = _seal(store, fitted, run / "model", warm_start)
        current = store.current()
        with clock("gate"):
            gate = _judge(store, fitted, indexed, manifest, current)
        done = Retrained(manifest, gate, None, fitted, clock.seconds)
        if publish_it:
            client = engine_for(home, index, manifest.n_items, engine_above, lambda text: tell(0, 1, text))
            with clock("index"):  # what the gate blocks is not loaded
                loaded = (
                    run_loading(store, client, manifest.id, progress=progress) if client and not gate.blocked else None
                )
            with clock("publish"):
                etag = current.etag if current else None
                published = (
                    publish_or_load_again(store, manifest.id, gate, etag, loaded)
                    if loaded
                    else publish(store, manifest.id, gate, etag)
                )
                done.publication = published.publication
            with clock("profiles"):
                backfill(home, indexed)
            with clock("sweep"):
                if client is not None:
                    sweep_indexes(store, client, delete=True)  # first: it knows its indexes by the releases
                store.sweep()
        shutil.rmtree(run, ignore_errors=True)
    return done


def _seal(store: LocalReleases, fitted: Fitted, folder: Path, parent: str | None) -> Manifest:
    """Write the bundle into `folder` and make it a release."""
    shutil.rmtree(folder, ignore_errors=True)
    export(fitted, folder, parent=parent)
    return store.seal(folder)


def _judge(
    store: LocalReleases, fitted: Fitted, indexed: IndexedDataset, manifest: Manifest, current: Current | None
) -> GateReport:
    """The gate's verdict against what serves, kept beside the releases."""
    serving = current.publication if current else None
    gate = judge_candidate(
        fitted,
        store.open(serving.release) if serving else None,
        indexed,
        release=manifest.id,
        serving_release=serving.release if serving else None,
        serving_model=serving.served_model if serving else "two_tower",
    )
    _keep_report(store, gate)
    return gate


def refuse_failures(diagnosis: Diagnosis) -> None:
    """Raise DatasetError with the first failure that the data doctor found."""
    failed = [check for check in diagnosis.checks if check.status is Status.FAIL]
    if failed:
        others = f" ({len(failed) - 1} more checks fail)" if len(failed) > 1 else ""
        raise DatasetError(
            f"{diagnosis.dataset}: {failed[0].name}: {failed[0].found}{others}",
            fix=f"{failed[0].fix} `tandem check {diagnosis.dataset}` shows everything.",
        )


def backfill(home: Path, indexed: IndexedDataset) -> None:
    """Write every user's profile from the events of a dataset."""
    with SqliteProfiles(home / "profiles.sqlite") as profiles:
        backfill_profiles(indexed, profiles)


class StepClock:
    """Wall seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = round(time.perf_counter() - begun, 3)


def _keep_report(store: LocalReleases, gate: GateReport) -> None:
    """Verdicts outlive a blocked candidate."""
    folder = store.home / "gate"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{gate.release}.json", msgspec.json.encode(gate))


def _run_key(dataset: Path, settings: TrainingSettings, warm_start: str | None) -> str:
    """A run is known by its input: started again on the same one, it finds its checkpoints."""
    seen = sha256(f"{settings}\0{warm_start}".encode())
    for path in sorted(path for path in dataset.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            seen.update(f"{path.relative_to(dataset)}\0{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return seen.hexdigest()[:16]


@contextmanager
def _only_one(run: Path) -> Iterator[None]:
    """Two runs of the same input would write into one folder; the second is told so."""
    from filelock import FileLock, Timeout

    run.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise StateBusy(
            f"{run}: a training on this very data and settings is running.", fix="Wait for it, or use another --home."
        ) from error
    try:
        yield
    finally:
        lock.release()
