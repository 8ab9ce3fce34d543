"""A folder kept in a bucket: the same files under a prefix, and a listing beside them with size and hash of each.

The listing is written last, so what does not fit it is not complete. Files that are there already are not sent again.
Datasets and the snapshots of the nights are kept so. It does not know what the files hold; the seeding of a deployment
and `batch_job/snapshot.py` call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import DatasetError, ReleaseCorrupt, naming_full_disk
from contracts.release import FileEntry
from stores.s3_bucket import Bucket, Document, ObjectMissing

_MAX_LISTING_BYTES: Final = 16 << 20
"""A hundred thousand files; a dataset has a dozen, a snapshot some 70."""

_FIX: Final = (
    "A dataset is sent again by `tandem aws seed`. Where it is the snapshot of an earlier night, restore it, or remove "
    "snapshots/current.json: the next night then starts from the dataset and the whole log."
)

Progress = Callable[[int, int, str], None]
"""done, total, what is being done."""


def mirror(
    folder: Path, bucket: Bucket, prefix: str, listing_key: str, progress: Progress | None = None
) -> dict[str, FileEntry]:
    """Make a prefix hold the files of a folder and no others; returns those that were sent. Raises StoreUnavailable.

    Killed half-way, the next call sends what is missing: of a file that no listing names yet S3 knows the hash.
    """
    document = _document(bucket, listing_key)
    before = (_parsed(document) or {}) if document else {}  # whatever else it is, it is written anew
    entries = entries_of(folder)
    there = {key.removeprefix(prefix) for key, _ in bucket.listing(prefix)}
    sent = {}
    for done, (name, entry) in enumerate(entries.items()):
        if name in there and (before.get(name) == entry or bucket.sha256(prefix + name) == entry.sha256):
            continue
        if progress is not None:
            progress(done, len(entries), f"sending {name}")
        bucket.upload(prefix + name, folder / name, entry)
        sent[name] = entry
    if document is None or before != entries:
        bucket.replace(listing_key, msgspec.json.encode(entries), document.etag if document else None, {})
    bucket.delete([prefix + name for name in sorted(there - entries.keys())])
    return sent


def entries_of(folder: Path) -> dict[str, FileEntry]:
    """The files below a folder by their names in it, in order."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: entry_of(paths[name]) for name in sorted(paths)}


def listed(bucket: Bucket, listing_key: str) -> dict[str, FileEntry]:
    """The files that a listing names. Raises DatasetError where there is none, or it is none; StoreUnavailable."""
    document = _document(bucket, listing_key)
    if document is None:
        raise DatasetError(f"{bucket.url(listing_key)}: there is no listing, so nothing complete.", fix=_FIX)
    entries = _parsed(document)
    if entries is None or not all(map(_stays_below, entries)):
        raise DatasetError(f"{bucket.url(listing_key)}: it is no listing of files.", fix=_FIX)
    return entries


def replace_entry(bucket: Bucket, listing_key: str, name: str, entry: FileEntry) -> None:
    """Let a listing say that one of its files is another now. Raises ObjectMoved where it is written meanwhile."""
    document = bucket.read(listing_key, _MAX_LISTING_BYTES)
    entries = _parsed(document) or {}
    if entries.get(name) not in (None, entry):
        bucket.replace(listing_key, msgspec.json.encode(entries | {name: entry}), document.etag, {})


def fetch(
    bucket: Bucket,
    prefix: str,
    entries: dict[str, FileEntry],
    folder: Path,
    names: Iterable[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Bring files of a listing (`entries`; of these `names`) down to a folder, each held against its size and hash.

    Raises DatasetError, naming the file, where one is missing or another; StoreUnavailable, StorageFull.
    """
    wanted = list(entries if names is None else names)
    for done, name in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted), f"fetching {name}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch_one(bucket, prefix + name, entries[name], path)


def _fetch_one(bucket: Bucket, key: str, entry: FileEntry, path: Path) -> None:
    digest = sha256()
    try:
        with naming_full_disk(path), path.open("wb") as file:
            for chunk in bucket.stream(key, entry.bytes):
                digest.update(chunk)
                file.write(chunk)
    except ObjectMissing as error:
        raise DatasetError(f"{bucket.url(key)}: the file is missing, its listing names it.", fix=_FIX) from error
    except ReleaseCorrupt as error:  # so a bucket names another length
        raise DatasetError(error.message, fix=_FIX) from error
    if digest.hexdigest() != entry.sha256:
        raise DatasetError(f"{bucket.url(key)}: its content is not what its listing says.", fix=_FIX)


def _document(bucket: Bucket, listing_key: str) -> Document | None:
    try:
        return bucket.read(listing_key, _MAX_LISTING_BYTES)
    except ObjectMissing:
        return None


def _parsed(document: Document) -> dict[str, FileEntry] | None:
    try:
        return msgspec.json.decode(document.data, type=dict[str, FileEntry])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _stays_below(name: str) -> bool:
    """Whether a name, which comes from a bucket, leads to a file below the folder that it is put into."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and "\\" not in name and "\0" not in name


def entry_of(path: Path) -> FileEntry:
    """How a listing names a file."""
    with path.open("rb") as file:
        return FileEntry(path.stat().st_size, file_digest(file, "sha256").hexdigest())
