"""The first release of a deployment, trained on this machine: dataset → check → train → gate → S3 → publish → profiles.

The steps are those of `retrain`, in the stores of AWS. What is done is noted in the home folder, so that a run that was
killed goes on where it stopped, and one that has ended does nothing again. Its last step leaves the dataset in the data
bucket, where the nightly run begins. `tandem aws seed` prints what this returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.errors import DatasetError
from contracts.fitted import HEAD_ITEMS
from contracts.night import dataset_listing, dataset_prefix
from contracts.release import GateReport, Publication
from local_mode.aws.stores import AwsStores
from local_mode.publishing import Place, Progress, follow_up, publish_candidate
from local_mode.retrain import Night, start_night, train_candidate
from stores.mirrored_folder import mirror
from stores.release_files import write_atomically
from stores.releases import LocalReleases
from training_job.settings import TrainingSettings


@dataclass(frozen=True)
class Seeded:
    """What a run found and did."""

    release: str
    publication: Publication
    gate: GateReport
    done_before: bool
    """An earlier run on this very input had ended: nothing was done."""
    seconds: dict[str, float]
    """Wall time by step."""


class _Note(msgspec.Struct, frozen=True):
    """What is known of a run on the same input."""

    gate: GateReport
    """Names the release, which is sealed in the home folder."""
    finished: bool = False


def seed(
    dataset: Path,
    stores: AwsStores,
    settings: TrainingSettings,
    *,
    name: str = "",
    engine_above: int = HEAD_ITEMS,
    progress: Progress | None = None,
) -> Seeded:
    """Train on a dataset and make a deployment serve it.

    `name`: of the dataset in the data bucket, by default its folder's; `engine_above`: of more items than this, the
    search domain searches. Raises what `retrain` raises, StoreUnavailable, ProfilesUnavailable, and ServerUnavailable
    where a catalogue is too large and no search domain can be reached.
    """
    called = _dataset_name(dataset, name)
    before = stores.releases.current()  # a bucket that is not there is said before the hours of training
    night = start_night(dataset, stores.home, settings, progress=progress)
    note_path = stores.folder / "seeds" / f"{night.run.name}-{called}.json"
    note = _usable(_read_note(note_path), stores)
    if note is not None and note.finished and before is not None:
        return Seeded(note.gate.release, before.publication, note.gate, True, night.clock.seconds)
    stores.needs_engine(len(night.indexed.item_ids), engine_above)  # so is a domain that is out of reach
    with night.alone():
        gate = note.gate if note is not None else _trained(night, stores, note_path)
        publication = _published(night, stores, gate, engine_above)
        with night.clock("dataset"):
            mirror(dataset, stores.data, dataset_prefix(called), dataset_listing(called), progress)
        _write_note(note_path, _Note(gate, finished=True))
    return Seeded(gate.release, publication, gate, False, night.clock.seconds)


def _dataset_name(dataset: Path, name: str) -> str:
    """A name that is one part of a key."""
    chosen = name or dataset.resolve().name
    if not chosen or "/" in chosen or chosen.startswith("."):
        raise DatasetError(f"{chosen!r} cannot be the name of a dataset in a bucket.", fix="Give another --name.")
    return chosen


def _trained(night: Night, stores: AwsStores, note_path: Path) -> GateReport:
    """The gate's verdict on a new release, against what serves in AWS."""
    gate = train_candidate(night, serving=stores.releases).gate
    _write_note(note_path, _Note(gate))
    return gate


def _published(night: Night, stores: AwsStores, gate: GateReport, engine_above: int) -> Publication:
    """Copied, loaded, published and followed up: in AWS, and as far as it is not done yet."""
    with night.clock("copy"):
        manifest = night.store.manifest(gate.release)
        if not gate.blocked:
            _tell(night, f"copying {gate.release} to {stores.releases.place}")
            stores.releases.copy_in(night.store, gate.release)
    engine = stores.engine_for(manifest.n_items, engine_above)
    place = Place(stores.releases, stores.profiles, stores.fresh_items, engine, night.clock, night.progress)
    try:
        current = stores.releases.current()
        if current is not None and current.publication.release == gate.release:
            publication = current.publication
        else:
            publication = publish_candidate(place, gate, current.etag if current else None)
        follow_up(place, night.indexed)
    finally:
        if engine is not None:
            engine.close()
    return publication


def _tell(night: Night, text: str) -> None:
    if night.progress is not None:
        night.progress(0, 1, text)


def _usable(note: _Note | None, stores: AwsStores) -> _Note | None:
    """A note whose release is still here, and was judged against what serves (or serves itself, or is done)."""
    if note is None:
        return None
    current = stores.releases.current()
    serving = current.publication.release if current else None
    if note.finished and serving is not None:
        return note
    local = note.gate.release in LocalReleases(stores.home).ids()
    fits = serving in (note.gate.release, note.gate.compared_with)
    return _Note(note.gate) if local and fits else None  # a bucket that was emptied is filled again


def _read_note(path: Path) -> _Note | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Note)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _write_note(path: Path, note: _Note) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.encode(note))
