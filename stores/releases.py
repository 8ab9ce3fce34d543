"""Releases, publications and the pointer `current`: what every store of them promises, and the one in a local folder.

    releases/<id>/manifest.json + files     immutable; without a manifest it is not a release (decision 1)
    publications/<id>.json                  immutable
    current.json                            names one publication; moved by a conditional write (decision 2)

The semantics are those of an object store with If-Match; `stores/s3_releases.py` is held to the same suite. Knows
nothing of what is in the files (`stores/release_files.py`). Training seals here, the index loader publishes, the Lambda
edge opens.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import (
    NothingPublished,
    ReleaseNotFound,
    StateBusy,
    naming_full_disk,
)
from contracts.fitted import ITEMS_PART, VOCABULARY, Catalogue, FittedModel, catalogue_from_bundle, from_bundle
from contracts.release import MANIFEST_NAME, FileEntry, Manifest, Publication, read_manifest
from stores.publications import pointer_conflict, pointer_to, read_pointer, read_publication
from stores.release_files import (
    TENSOR_SUFFIX,
    check_files,
    describe_bundle,
    files_to_open,
    plain_name,
    read_bundle,
    read_limited,
    sync_folder,
    write_atomically,
)

KEEP_PUBLICATIONS: Final = 3
"""Earlier publications whose releases a sweep keeps, for rollback."""

_CATALOGUE_FILES: Final = (VOCABULARY, f"{ITEMS_PART}{TENSOR_SUFFIX}")
_LOCK_SECONDS: Final = 10.0
"""A pointer move takes milliseconds; whoever holds the lock longer is stuck."""


class Current(msgspec.Struct, frozen=True):
    """What serves, and the tag that a conditional write must show."""

    publication: Publication
    etag: str


class Releases(ABC):
    """Where releases and the pointer live.

    A class says how objects are kept; what follows from that (which publications a rollback reaches, what a sweep
    removes) is the same for all of them and stands here.
    """

    place: str
    """For people: the folder or the bucket."""

    @abstractmethod
    def seal(self, folder: Path) -> Manifest:
        """Hash every file of a trained bundle and make it a release; the manifest is written last.

        Returns the manifest of the release as it is kept. Idempotent: a folder that was sealed, but for a crash is no
        release yet, keeps its id. Afterwards the folder is the store's and may be gone. Raises ReleaseCorrupt where the
        bundle does not open.
        """

    @abstractmethod
    def ids(self) -> list[str]:
        """Sealed releases, oldest first (ids begin with their time)."""

    @abstractmethod
    def manifest(self, release: str) -> Manifest:
        """The manifest of a release. Raises ReleaseNotFound, ReleaseCorrupt, ReleaseUnreadable."""

    @abstractmethod
    def current(self) -> Current | None:
        """What serves, or None before the first publication.

        Raises ReleaseCorrupt where the pointer does not parse, NothingPublished where what it names is gone.
        """

    @abstractmethod
    def etag(self) -> str | None:
        """The tag of `current`, or None where there is none: for who decides to publish now, whatever serves."""

    @abstractmethod
    def publication(self, publication: str) -> Publication:
        """A publication by id. Raises NothingPublished where there is none, ReleaseCorrupt where it does not parse."""

    @abstractmethod
    def publications(self) -> list[Publication]:
        """Every publication, in order of sequence."""

    @abstractmethod
    def publish(self, publication: Publication, if_match: str | None) -> Current:
        """Write a publication (or find it written) and move the pointer to it.

        `if_match`: the etag of `current()` that the decision was made on; None means "there was none". Raises
        PointerConflict where the pointer has moved since; what serves is not changed then.
        """

    @abstractmethod
    def reconnect(self) -> None:
        """Let go of connections that may have been cut: the next call opens new ones."""

    @abstractmethod
    def _verified(self, release: str, files: dict[str, FileEntry]) -> Path:
        """A folder in which these files of a release lie, each of them held against its entry."""

    @abstractmethod
    def _remove(self, release: str) -> None:
        """First it stops being a release, then its files go."""

    def open(self, release: str, *, head_only: bool = False) -> FittedModel:
        """Verify the files of a release against its manifest and map them.

        `head_only` leaves out the exact vectors of all items where the release has those of its head, and all in eight
        bits, apart. Raises ReleaseNotFound, ReleaseCorrupt (naming the file), ReleaseUnreadable.
        """
        files = files_to_open(self.manifest(release), head_only=head_only)
        return from_bundle(read_bundle(self._verified(release, files), files))

    def open_catalogue(self, release: str) -> Catalogue:
        """Verify and map what an event is held against, and no other file. Raises as `open`."""
        files = {name: entry for name, entry in self.manifest(release).files.items() if name in _CATALOGUE_FILES}
        return catalogue_from_bundle(read_bundle(self._verified(release, files), files))

    def serving(self) -> Current:
        """What serves; raises NothingPublished where nothing does."""
        if (current := self.current()) is None:
            raise NothingPublished(f"{self.place}: nothing is published yet.", fix="Run `tandem train DATASET` first.")
        return current

    def next_sequence(self) -> int:
        """One more than the highest so far."""
        return max((publication.sequence for publication in self.publications()), default=0) + 1

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
            self._remove(release)
        return doomed


class LocalReleases(Releases):
    """Releases in the folder `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.place = str(home)
        self._releases = home / "releases"
        self._publications = home / "publications"
        self._pointer = home / "current.json"

    def seal(self, folder: Path) -> Manifest:
        """See `Releases.seal`. `folder` must lie on the same file system as the home; it is moved, and thereby gone."""
        manifest = describe_bundle(folder)
        with naming_full_disk(folder):
            return self._adopt(folder, manifest)

    def ids(self) -> list[str]:
        """See `Releases.ids`."""
        return sorted(path.parent.name for path in self._releases.glob(f"*/{MANIFEST_NAME}"))

    def folder(self, release: str) -> Path:
        """Where the files of a release lie."""
        return self._releases / plain_name(release)

    def manifest(self, release: str) -> Manifest:
        """See `Releases.manifest`."""
        path = self.folder(release) / MANIFEST_NAME
        if not path.is_file():
            raise ReleaseNotFound(f"{path.parent}: no release of that id.", fix="`tandem releases` lists them.")
        return read_manifest(read_limited(path), str(path))

    def current(self) -> Current | None:
        """See `Releases.current`."""
        try:
            data = read_limited(self._pointer)
        except FileNotFoundError:
            return None
        return Current(self.publication(read_pointer(data, str(self._pointer)).publication), _etag(data))

    def etag(self) -> str | None:
        """See `Releases.etag`."""
        return _etag(self._pointer.read_bytes()) if self._pointer.exists() else None

    def publication(self, publication: str) -> Publication:
        """See `Releases.publication`."""
        path = self._publications / f"{plain_name(publication)}.json"
        try:
            return read_publication(read_limited(path), str(path))
        except FileNotFoundError as error:
            raise NothingPublished(f"{path}: no such publication.") from error

    def publications(self) -> list[Publication]:
        """See `Releases.publications`."""
        found = [self.publication(path.stem) for path in self._publications.glob("*.json")]
        return sorted(found, key=attrgetter("sequence"))

    def publish(self, publication: Publication, if_match: str | None) -> Current:
        """See `Releases.publish`. Raises StateBusy where another process holds the lock of the pointer."""
        data = pointer_to(publication)
        with naming_full_disk(self._pointer), self._locked():
            if self.etag() != if_match:
                raise pointer_conflict(str(self._pointer))
            self._publications.mkdir(parents=True, exist_ok=True)
            path = self._publications / f"{plain_name(publication.id)}.json"
            if not path.exists():
                write_atomically(path, msgspec.json.encode(publication))
            write_atomically(self._pointer, data)
        return Current(publication, _etag(data))

    def reconnect(self) -> None:
        """A folder has no connections."""

    def _verified(self, release: str, files: dict[str, FileEntry]) -> Path:
        check_files(self.folder(release), files)
        return self.folder(release)

    def _remove(self, release: str) -> None:
        (self.folder(release) / MANIFEST_NAME).unlink()
        shutil.rmtree(self.folder(release), ignore_errors=True)

    def _adopt(self, folder: Path, manifest: Manifest) -> Manifest:
        """Move a sealed folder among the releases; the same content sealed in the same second is there already."""
        target = self._releases / manifest.id
        if target.exists() and (there := self.manifest(manifest.id)).digest == manifest.digest:
            shutil.rmtree(folder)
            return there
        self._releases.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        sync_folder(self._releases)
        return manifest

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


def _etag(data: bytes) -> str:
    return sha256(data).hexdigest()
