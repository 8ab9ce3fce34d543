"""Releases, publications and the pointer `current`, in a local folder.

    releases/<id>/manifest.json + files     immutable; without a manifest it is not a release (decision 1)
    publications/<id>.json                  immutable
    current.json                            names one publication; moved by a conditional write (decision 2)

The semantics are those of an object store with If-Match, so that the S3 class can be held to the same suite. Knows
bytes, hashes and atomicity; what the arrays mean is `contracts.fitted`'s business. Training seals here, the index
loader publishes, the Lambda edge opens.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec

from contracts.errors import (
    NothingPublished,
    PointerConflict,
    ReleaseCorrupt,
    ReleaseNotFound,
    StateBusy,
    TandemError,
    naming_full_disk,
)
from contracts.fitted import COARSE_PART, HEAD_PART, VECTORS_PART, Bundle, FittedModel, from_bundle
from contracts.release import (
    CURRENT_VERSION,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    Pointer,
    Publication,
    read_manifest,
    release_digest,
)
from stores.tensor_files import map_tensors, write_tensors

TENSOR_SUFFIX: Final = ".safetensors"
VECTORS_FILE: Final = f"{VECTORS_PART}{TENSOR_SUFFIX}"
_HEAD_FILES: Final = {f"{part}{TENSOR_SUFFIX}" for part in (HEAD_PART, COARSE_PART)}
"""What stands in for the vectors."""
TRAINING_FACTS: Final = "training.json"
"""What training says of itself (TrainingFacts), beside the bundle; sealing copies it into the manifest."""

_FACTS: Final = (MANIFEST_NAME, TRAINING_FACTS)
"""Files about the content, with clock times in them: not part of its digest."""

KEEP_PUBLICATIONS: Final = 3
"""Earlier publications whose releases a sweep keeps, for rollback."""

_MAX_DOCUMENT_BYTES: Final = 1 << 30
"""A vocabulary of a million titles is 60 MB; a document of a gigabyte is not ours."""
_LOCK_SECONDS: Final = 10.0
"""A pointer move takes milliseconds; whoever holds the lock longer is stuck."""


class TrainingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run says of the bundle that it wrote."""

    n_items: int
    dim: int
    watermark: int
    parent: str | None = None
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


class Current(msgspec.Struct, frozen=True):
    """What serves, and the tag that a conditional write must show."""

    publication: Publication
    etag: str


class Releases(Protocol):
    """Where releases and the pointer live."""

    def seal(self, folder: Path) -> Manifest: ...
    def manifest(self, release: str) -> Manifest: ...
    def open(self, release: str, *, head_only: bool = False) -> FittedModel: ...
    def current(self) -> Current | None: ...
    def publication(self, publication: str) -> Publication: ...
    def publish(self, publication: Publication, if_match: str | None) -> Current: ...


def write_bundle(folder: Path, bundle: Bundle, facts: TrainingFacts) -> None:
    """Write a bundle and its facts as files of `folder` (created), not yet a release."""
    with naming_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for stem, tensors in bundle.tensors.items():
            write_tensors(folder / f"{stem}{TENSOR_SUFFIX}", tensors)
        for name, document in bundle.documents.items():
            (folder / name).write_bytes(document)
        (folder / TRAINING_FACTS).write_bytes(msgspec.json.encode(facts))


def read_bundle(folder: Path, without: str = "") -> Bundle:
    """Map the arrays and read the documents of a folder, all but the file `without`."""
    paths = sorted(path for path in folder.glob(f"*{TENSOR_SUFFIX}") if path.name != without)
    tensors = {path.stem: map_tensors(path) for path in paths}
    documents = {path.name: _read_limited(path) for path in sorted(folder.glob("*.json")) if path.name not in _FACTS}
    return Bundle(tensors, documents)


class LocalReleases:
    """Releases in the folder `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._releases = home / "releases"
        self._publications = home / "publications"
        self._pointer = home / "current.json"

    def seal(self, folder: Path) -> Manifest:
        """Hash every file of a trained bundle, write the manifest last and make it a release.

        Idempotent: a folder that was sealed but not yet moved keeps its id. `folder` must lie on the same file system
        as the home; it is moved, and thereby gone. Raises ReleaseCorrupt where the bundle does not open.
        """
        from_bundle(read_bundle(folder))
        with naming_full_disk(folder):
            if (folder / MANIFEST_NAME).exists():
                manifest = read_manifest(_read_limited(folder / MANIFEST_NAME), str(folder))
                _check_files(folder, manifest)
            else:
                manifest = _describe(folder)
                write_atomically(folder / MANIFEST_NAME, msgspec.json.encode(manifest))
            self._adopt(folder, manifest)
        return manifest

    def ids(self) -> list[str]:
        """Sealed releases, oldest first (ids begin with their time)."""
        return sorted(path.parent.name for path in self._releases.glob(f"*/{MANIFEST_NAME}"))

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release. Raises ReleaseNotFound, ReleaseCorrupt, ReleaseUnreadable."""
        path = self._folder(release) / MANIFEST_NAME
        if not path.is_file():
            raise ReleaseNotFound(f"{path.parent}: no release of that id.", fix="`tandem releases` lists them.")
        return read_manifest(_read_limited(path), str(path))

    def open(self, release: str, *, head_only: bool = False) -> FittedModel:
        """Verify every file of a release against its manifest and map it.

        `head_only` leaves out the exact vectors of all items where the release has those of its head, and all in eight
        bits, apart. Raises ReleaseNotFound, ReleaseCorrupt (naming the file), ReleaseUnreadable.
        """
        manifest = self.manifest(release)
        folder = self._folder(release)
        without = VECTORS_FILE if head_only and manifest.files.keys() >= _HEAD_FILES else ""
        _check_files(folder, manifest, without)
        return from_bundle(read_bundle(folder, without))

    def current(self) -> Current | None:
        """What serves, or None before the first publication."""
        try:
            data = _read_limited(self._pointer)
        except FileNotFoundError:
            return None
        try:
            pointer = msgspec.json.decode(data, type=Pointer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ReleaseCorrupt(
                f"{self._pointer}: not a pointer: {error}.", fix="`tandem publish RELEASE` writes a new one."
            ) from error
        return Current(self.publication(pointer.publication), _etag(data))

    def serving(self) -> Current:
        """What serves; raises NothingPublished where nothing does."""
        if (current := self.current()) is None:
            raise NothingPublished(f"{self.home}: nothing is published yet.", fix="Run `tandem train DATASET` first.")
        return current

    def publication(self, publication: str) -> Publication:
        """A publication by id. Raises NothingPublished where there is none, ReleaseCorrupt where it does not parse."""
        path = self._publications / f"{_plain(publication)}.json"
        try:
            return msgspec.json.decode(_read_limited(path), type=Publication)
        except FileNotFoundError as error:
            raise NothingPublished(f"{path}: no such publication.") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ReleaseCorrupt(f"{path}: not a publication: {error}.") from error

    def publications(self) -> list[Publication]:
        """Every publication, in order of sequence."""
        found = [self.publication(path.stem) for path in self._publications.glob("*.json")]
        return sorted(found, key=lambda publication: publication.sequence)

    def next_sequence(self) -> int:
        """One more than the highest so far."""
        return max((publication.sequence for publication in self.publications()), default=0) + 1

    def publish(self, publication: Publication, if_match: str | None) -> Current:
        """Write a publication (or find it written) and move the pointer to it.

        `if_match`: the etag of `current()` that the decision was made on; None means "there was none". Raises
        PointerConflict where the pointer has moved since; nothing is changed then.
        """
        pointer = Pointer(publication=publication.id, moved_at=now_text())
        data = msgspec.json.encode(pointer)
        with naming_full_disk(self._pointer), self._locked():
            if self._etag_now() != if_match:
                raise PointerConflict(
                    f"{self._pointer}: moved by somebody else since it was read.",
                    fix="Compare with what serves now (`tandem releases`) and publish again.",
                )
            self._publications.mkdir(parents=True, exist_ok=True)
            path = self._publications / f"{_plain(publication.id)}.json"
            if not path.exists():
                write_atomically(path, msgspec.json.encode(publication))
            write_atomically(self._pointer, data)
        return Current(publication, _etag(data))

    def kept(self, keep: int = KEEP_PUBLICATIONS) -> list[Publication]:
        """The publication that serves and the `keep` before it: what a rollback can reach. Nothing published: none."""
        current = self.current()
        if current is None:
            return []
        chain = [current.publication]
        while len(chain) <= keep and (previous := chain[-1].previous) is not None:
            chain.append(self.publication(previous))
        return chain

    def sweep(self, keep: int = KEEP_PUBLICATIONS) -> list[str]:
        """Remove releases that neither the pointer nor the `keep` publications before it name; returns their ids.

        Processes that have one of them mapped keep their pages.
        """
        kept = {publication.release for publication in self.kept(keep)}
        if not kept:
            return []
        newest = max(publication.release for publication in self.publications())
        # a release newer than every published one is still on its way to the gate
        doomed = [release for release in self.ids() if release not in kept and release < newest]
        for release in doomed:
            (self._folder(release) / MANIFEST_NAME).unlink()  # first it stops being a release, then it goes
            shutil.rmtree(self._folder(release), ignore_errors=True)
        return doomed

    def _adopt(self, folder: Path, manifest: Manifest) -> None:
        """Move a sealed folder among the releases; the same content sealed in the same second is there already."""
        target = self._releases / manifest.id
        if target.exists() and self.manifest(manifest.id).digest == manifest.digest:
            shutil.rmtree(folder)
            return
        self._releases.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        _sync_folder(self._releases)

    def _folder(self, release: str) -> Path:
        return self._releases / _plain(release)

    def _etag_now(self) -> str | None:
        return _etag(self._pointer.read_bytes()) if self._pointer.exists() else None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout  # only writers need it; serving does not carry it

        self.home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.home / ".current.lock", timeout=_LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout as error:
            raise StateBusy(f"{self.home}: another process is publishing.", fix="Wait for it and try again.") from error
        try:
            yield
        finally:
            lock.release()


def now_text() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _describe(folder: Path) -> Manifest:
    facts = msgspec.json.decode(_read_limited(folder / TRAINING_FACTS), type=TrainingFacts)
    files = {path.name: _entry(path) for path in sorted(folder.iterdir()) if path.name not in _FACTS}
    digest = release_digest(files)
    moment = datetime.now(UTC)
    return Manifest(
        format_version=CURRENT_VERSION,
        id=f"r{moment:%Y%m%dT%H%M%S}-{digest[:8]}",
        created_at=moment.isoformat(timespec="seconds"),
        files=files,
        digest=digest,
        n_items=facts.n_items,
        dim=facts.dim,
        watermark=facts.watermark,
        parent=facts.parent,
        training=facts.training,
        metrics=facts.metrics,
    )


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        entry = FileEntry(path.stat().st_size, file_digest(file, "sha256").hexdigest())
        os.fsync(file.fileno())
    return entry


def _check_files(folder: Path, manifest: Manifest, without: str = "") -> None:
    for name, expected in manifest.files.items():
        if name == without:
            continue
        path = folder / _plain(name)
        try:
            size = path.stat().st_size
            if size != expected.bytes:
                raise _corrupt(path, f"has {size} bytes, the manifest says {expected.bytes}")
            with path.open("rb") as file:
                found = file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _corrupt(path, f"cannot be read: {error.strerror}") from error
        if found != expected.sha256:
            raise _corrupt(path, f"has the sha256 {found[:12]}…, the manifest says {expected.sha256[:12]}…")


def _corrupt(path: Path, what: str) -> TandemError:
    return ReleaseCorrupt(f"{path}: {what}.", fix="`tandem rollback` serves the release before it.")


def _plain(name: str) -> str:
    """A name that is one path component, so that no id of a manifest or a client leaves the folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ReleaseNotFound(f"{name!r} is not a name of a release, a publication or one of their files.")
    return name


def _read_limited(path: Path) -> bytes:
    if path.stat().st_size > _MAX_DOCUMENT_BYTES:
        raise ReleaseCorrupt(f"{path}: larger than a document of a release can be.")
    return path.read_bytes()


def _etag(data: bytes) -> str:
    return sha256(data).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
