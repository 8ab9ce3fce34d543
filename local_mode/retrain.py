"""One night on one machine: dataset → check → train → seal → gate → publish → profiles → sweep.

The local twin of the state machine: the same steps in the same order, each leaving named artifacts in the home folder.
It trains on the dataset as of now: with the items that were told, without who left.
Killed at any point it leaves what served before; run again on the same data it goes on from its last checkpoint. The
steps after the gate are in `publishing.py`. `tandem train` and `tandem demo` call `retrain`, `aws/seed` its first half.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path

import msgspec

from contracts.errors import DatasetError, StateBusy
from contracts.fitted import HEAD_ITEMS
from contracts.live import BUCKET_SECONDS, COUNTS_KEPT_SECONDS
from contracts.release import GateReport, Manifest, Publication
from data_sources.checks import Status
from data_sources.doctor import Diagnosis, diagnose
from data_sources.indexed import IndexedDataset
from local_mode.dataset_now import indexed_now
from local_mode.engine import Index, engine_client, engine_for
from local_mode.publishing import Place, Progress, StepClock, follow_up, publish_candidate
from stores.fresh_items import SqliteFreshItems
from stores.live_counts import SqliteLiveCounts
from stores.live_file import LIVE_FILE
from stores.profiles import SqliteProfiles
from stores.release_files import write_atomically
from stores.releases import Current, LocalReleases, Releases
from training_job.export import export
from training_job.fit import Fitted, fit
from training_job.gate import judge_candidate
from training_job.settings import TrainingSettings


@dataclass
class Retrained:
    """What a night did."""

    manifest: Manifest
    gate: GateReport
    publication: Publication | None
    """None where publishing was not asked for."""
    fitted: Fitted
    etag: str | None
    """Of what served when the gate judged; None where nothing did."""
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
    if index is Index.OPENSEARCH:
        engine_client(home)  # a missing server is said before the hours of training
    night = start_night(dataset, home, settings, warm_start=warm_start, progress=progress)
    with night.alone():
        done = train_candidate(night)
        if publish_it:
            tell = progress or (lambda _done, _total, _text: None)
            engine = engine_for(home, index, done.manifest.n_items, engine_above, lambda text: tell(0, 1, text))
            with SqliteProfiles(home / "profiles.sqlite") as profiles, SqliteFreshItems(home / LIVE_FILE) as items:
                place = Place(night.store, profiles, items, engine, night.clock, progress)
                done.publication = publish_candidate(place, done.gate, done.etag)
                follow_up(place, night.indexed)
            _forget_old_counts(home)
    return done


def _forget_old_counts(home: Path) -> None:
    """What is popular now is read of two days; in AWS the table forgets by itself."""
    with SqliteLiveCounts(home / LIVE_FILE) as counts:
        counts.sweep((int(time.time()) - COUNTS_KEPT_SECONDS) // BUCKET_SECONDS)


@dataclass(frozen=True)
class Night:
    """A training about to begin: the data that passed its checks, and the folder in which its run can go on."""

    store: LocalReleases
    indexed: IndexedDataset
    settings: TrainingSettings
    run: Path
    """Checkpoints and the bundle before it is sealed; the same input has the same folder."""
    warm_start: str | None = None
    progress: Progress | None = None
    clock: StepClock = field(default_factory=StepClock)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the run's folder against a second run of the same input (StateBusy); done, it is removed."""
        with _only_one(self.run):
            yield
            shutil.rmtree(self.run, ignore_errors=True)


def start_night(
    dataset: Path,
    home: Path,
    settings: TrainingSettings,
    *,
    warm_start: str | None = None,
    progress: Progress | None = None,
) -> Night:
    """Check and read a dataset, as of now. Raises DatasetError, LiveDataUnavailable."""
    clock = StepClock()
    with clock("check"):
        refuse_failures(diagnose(dataset))
    with clock("read"):
        indexed, live = indexed_now(dataset, home)
    run = home / "runs" / _run_key(dataset, settings, warm_start, live)
    return Night(LocalReleases(home), indexed, settings, run, warm_start, progress, clock)


def train_candidate(night: Night, serving: Releases | None = None) -> Retrained:
    """The first half of a night: a sealed release in the home folder, and the gate's verdict on it.

    `serving`: whose publication it is judged against; default: the home's own. Raises NotEnoughData, TrainingDiverged,
    StorageFull, and whatever opening the releases to start from and to compare with raises.
    """
    store, clock, indexed = night.store, night.clock, night.indexed
    judged_against = serving or store
    with clock("train"):
        earlier = store.open(night.warm_start) if night.warm_start else None
        fitted = fit(
            indexed,
            indexed.interactions,
            night.settings,
            progress=night.progress,
            checkpoints=night.run / "checkpoints",
            warm_start=earlier,
        )
    with clock("seal"):
        manifest = _seal(store, fitted, night.run / "model", night.warm_start)
    current = judged_against.current()
    with clock("gate"):
        gate = _judge(judged_against, fitted, indexed, manifest, current)
        _keep_report(store, gate)
    return Retrained(manifest, gate, None, fitted, current.etag if current else None, clock.seconds)


def _seal(store: LocalReleases, fitted: Fitted, folder: Path, parent: str | None) -> Manifest:
    """Write the bundle into `folder` and make it a release."""
    shutil.rmtree(folder, ignore_errors=True)
    export(fitted, folder, parent=parent)
    return store.seal(folder)


def _judge(
    store: Releases, fitted: Fitted, indexed: IndexedDataset, manifest: Manifest, current: Current | None
) -> GateReport:
    """The gate's verdict against what serves."""
    serving = current.publication if current else None
    return judge_candidate(
        fitted.model,
        fitted.validation.judging,
        store.open(serving.release) if serving else None,
        indexed,
        release=manifest.id,
        serving_release=serving.release if serving else None,
        serving_model=serving.served_model if serving else "two_tower",
    )


def refuse_failures(diagnosis: Diagnosis) -> None:
    """Raise DatasetError with the first failure that the data doctor found."""
    failed = [check for check in diagnosis.checks if check.status is Status.FAIL]
    if failed:
        others = f" ({len(failed) - 1} more checks fail)" if len(failed) > 1 else ""
        raise DatasetError(
            f"{diagnosis.dataset}: {failed[0].name}: {failed[0].found}{others}",
            fix=f"{failed[0].fix} `tandem check {diagnosis.dataset}` shows everything.",
        )


def _keep_report(store: LocalReleases, gate: GateReport) -> None:
    """Verdicts outlive a blocked candidate."""
    folder = store.home / "gate"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{gate.release}.json", msgspec.json.encode(gate))


def _run_key(dataset: Path, settings: TrainingSettings, warm_start: str | None, live: str) -> str:
    """A run is known by its input: started again on the same one, it finds its checkpoints."""
    seen = sha256(f"{settings}\0{warm_start}\0{live}".encode())
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
