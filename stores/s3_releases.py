"""Releases, publications and the pointer `current` in an S3 bucket; the layout is that of `stores/releases.py`.

What is sealed goes up with checksums, the manifest last; the pointer moves under If-Match, as do all of S3's conditions
on one key. Files come down into a cache folder, where they are verified and mapped. The bucket has versioning: an
overwritten pointer can be looked up. Publishers in AWS and the deployed functions use it, the CLI for `tandem aws`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from contracts.errors import NothingPublished, ReleaseCorrupt, ReleaseNotFound, StoreUnavailable
from contracts.release import MANIFEST_NAME, FileEntry, Manifest, Publication, read_manifest
from stores.publications import pointer_conflict, pointer_to, read_pointer, read_publication
from stores.release_cache import ReleaseCache, run_all
from stores.release_files import describe_bundle, plain_name
from stores.releases import KEEP_PUBLICATIONS, Current, LocalReleases, Releases
from stores.s3_bucket import CONNECTIONS, Bucket, ObjectMissing, ObjectMoved

_RELEASES: Final = "releases/"
_PUBLICATIONS: Final = "publications/"
_POINTER: Final = "current.json"

MAX_DOCUMENT_BYTES: Final = 4 << 20
"""A manifest or a publication with all its figures is 20 KB."""
UPLOAD_SECONDS: Final = 86_400.0
"""No upload takes a day: files that old without a manifest were given up."""
_MOVE: Final = "move"
"""What the pointer's writer marks it with, so that it knows its own write again."""


class S3Releases(Releases):
    """Releases in a bucket, opened in the folder `cache`."""

    def __init__(self, bucket: str, cache: Path, prefix: str = "", client: Any = None) -> None:
        """Sends nothing yet. `client`: of boto3, where it is not to be made from the environment."""
        self._bucket = Bucket(bucket, prefix, client)
        self.place = self._bucket.place
        self._cache = ReleaseCache(cache, self.place)
        self._seen: Current | None = None

    def seal(self, folder: Path) -> Manifest:
        """See `Releases.seal`. The folder stays; sealed again it is the same release. Raises StoreUnavailable."""
        return self._upload(folder, describe_bundle(folder))

    def copy_in(self, store: LocalReleases, release: str) -> Manifest:
        """Copy a release that is sealed in a folder, under its own id, once it has been opened whole there.

        Raises ReleaseNotFound, ReleaseCorrupt, ReleaseUnreadable, StoreUnavailable.
        """
        store.open(release)
        return self._upload(store.folder(release), store.manifest(release))

    def ids(self) -> list[str]:
        """See `Releases.ids`."""
        parts = (key.removeprefix(_RELEASES).split("/") for key, _ in self._bucket.listing(_RELEASES))
        return sorted(folder for folder, *names in parts if names == [MANIFEST_NAME])

    def manifest(self, release: str) -> Manifest:
        """See `Releases.manifest`. Raises StoreUnavailable."""
        key = _file_key(release, MANIFEST_NAME)
        try:
            data = self._bucket.read(key, MAX_DOCUMENT_BYTES).data
        except ObjectMissing as error:
            fix = "`tandem aws status` lists them."
            raise ReleaseNotFound(f"{self._bucket.url(key)}: no release of that id.", fix=fix) from error
        return read_manifest(data, self._bucket.url(key))

    def current(self) -> Current | None:
        """See `Releases.current`; one read as long as the pointer stays. Raises StoreUnavailable."""
        try:
            document = self._bucket.read(_POINTER, MAX_DOCUMENT_BYTES)
        except ObjectMissing:
            return None
        if self._seen is None or self._seen.etag != document.etag:
            pointer = read_pointer(document.data, self._bucket.url(_POINTER))
            self._seen = Current(self.publication(pointer.publication), document.etag)
        return self._seen

    def etag(self) -> str | None:
        """See `Releases.etag`. Raises StoreUnavailable."""
        return self._bucket.etag(_POINTER)

    def publication(self, publication: str) -> Publication:
        """See `Releases.publication`. Raises StoreUnavailable."""
        key = _publication_key(publication)
        try:
            return read_publication(self._bucket.read(key, MAX_DOCUMENT_BYTES).data, self._bucket.url(key))
        except ObjectMissing as error:
            raise NothingPublished(f"{self._bucket.url(key)}: no such publication.") from error

    def publications(self) -> list[Publication]:
        """See `Releases.publications`; a night adds one, and a year of them takes a second. Raises StoreUnavailable."""
        keys = (key for key, _ in self._bucket.listing(_PUBLICATIONS))
        ids = [key.removeprefix(_PUBLICATIONS).removesuffix(".json") for key in keys]
        found = run_all((partial(self.publication, publication) for publication in ids), at_once=CONNECTIONS)
        return sorted(found, key=attrgetter("sequence"))

    def publish(self, publication: Publication, if_match: str | None) -> Current:
        """See `Releases.publish`. Raises StoreUnavailable.

        Who loses a race leaves a publication behind that nothing names.
        """
        if self._bucket.etag(_POINTER) != if_match:
            raise pointer_conflict(self._bucket.url(_POINTER))
        key = _publication_key(publication.id)
        try:
            self._bucket.create(key, msgspec.json.encode(publication))
        except ObjectMoved:
            self.publication(publication.id)  # it is there, or the pointer must not name it
        return Current(publication, self._move_pointer(publication, if_match))

    def sweep(self, keep: int = KEEP_PUBLICATIONS) -> list[str]:
        """See `Releases.sweep`; what uploads have left behind goes too. Raises StoreUnavailable."""
        doomed = super().sweep(keep)
        self._bucket.delete(self._left_behind())
        return doomed

    def reconnect(self) -> None:
        """See `Releases.reconnect`."""
        self._bucket.reconnect()

    def _move_pointer(self, publication: Publication, if_match: str | None) -> str:
        """The pointer's new tag.

        A write whose answer got lost was sent again by botocore, and then its own first half stood in its way; or
        nobody knows whether it arrived. What is there now tells.
        """
        move = uuid4().hex
        try:
            return self._bucket.replace(_POINTER, pointer_to(publication), if_match, {_MOVE: move})
        except (ObjectMoved, StoreUnavailable) as error:
            if (etag := self._written_by(move)) is not None:
                return etag
            if isinstance(error, StoreUnavailable):
                raise
            raise pointer_conflict(self._bucket.url(_POINTER)) from error

    def _written_by(self, move: str) -> str | None:
        """The tag of the pointer where that write made it."""
        try:
            there = self._bucket.read(_POINTER, MAX_DOCUMENT_BYTES)
        except ObjectMissing:
            return None
        return there.etag if there.marks.get(_MOVE) == move else None

    def _upload(self, folder: Path, manifest: Manifest) -> Manifest:
        """Files first, the manifest last, which is returned; what is a release already is not touched."""
        if (there := self._sealed(manifest)) is not None:
            return there
        run_all(
            partial(self._bucket.upload, _file_key(manifest.id, name), folder / plain_name(name), entry)
            for name, entry in manifest.files.items()
        )
        key = _file_key(manifest.id, MANIFEST_NAME)
        try:
            self._bucket.create(key, msgspec.json.encode(manifest))
        except ObjectMoved as error:
            if (there := self._sealed(manifest)) is None:
                raise StoreUnavailable(f"{self._bucket.url(key)}: is being written.", fix="Try again.") from error
            return there
        return manifest

    def _sealed(self, manifest: Manifest) -> Manifest | None:
        """What is sealed under the id of a manifest. Raises ReleaseCorrupt where that is of other content."""
        try:
            there = self.manifest(manifest.id)
        except ReleaseNotFound:
            return None
        if there.digest != manifest.digest:
            raise ReleaseCorrupt(f"{self.place}: another release has the id {manifest.id}.", fix="Seal it again.")
        return there

    def _left_behind(self) -> list[str]:
        """Files of uploads that were given up before they became a release."""
        since = datetime.now(UTC) - timedelta(seconds=UPLOAD_SECONDS)
        found = list(self._bucket.listing(_RELEASES))
        sealed = {key.rpartition("/")[0] for key, _ in found if key.endswith(f"/{MANIFEST_NAME}")}
        return [key for key, written in found if written < since and key.rpartition("/")[0] not in sealed]

    def _verified(self, release: str, files: dict[str, FileEntry]) -> Path:
        return self._cache.fill(release, files, partial(self._read, release))

    def _read(self, release: str, name: str, expected: FileEntry) -> Iterator[bytes]:
        key = _file_key(release, name)
        try:
            yield from self._bucket.stream(key, expected.bytes)
        except ObjectMissing as error:
            fix = "`tandem aws rollback` serves the release before it."
            raise ReleaseCorrupt(f"{self._bucket.url(key)}: is gone.", fix=fix) from error

    def _remove(self, release: str) -> None:
        self._bucket.delete([_file_key(release, MANIFEST_NAME)])
        self._bucket.delete([key for key, _ in self._bucket.listing(f"{_RELEASES}{plain_name(release)}/")])


def _file_key(release: str, name: str) -> str:
    return f"{_RELEASES}{plain_name(release)}/{plain_name(name)}"


def _publication_key(publication: str) -> str:
    return f"{_PUBLICATIONS}{plain_name(publication)}.json"
