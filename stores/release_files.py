"""A release as files of one folder: written by training, hashed into a manifest, held against it before they are read.

Knows bytes, hashes and atomic writes; what the arrays mean is `contracts.fitted`'s business, where a folder lies and
what serves that of `stores/releases.py`, which calls it. Training writes a bundle through it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgspec

from contracts.errors import ReleaseCorrupt, ReleaseNotFound, naming_full_disk
from contracts.fitted import COARSE_PART, HEAD_PART, VECTORS_PART, Bundle, from_bundle
from contracts.release import CURRENT_VERSION, MANIFEST_NAME, FileEntry, Manifest, read_manifest, release_digest
from stores.tensor_files import map_tensors, write_tensors

TENSOR_SUFFIX: Final = ".safetensors"
VECTORS_FILE: Final = f"{VECTORS_PART}{TENSOR_SUFFIX}"
_HEAD_FILES: Final = {f"{part}{TENSOR_SUFFIX}" for part in (HEAD_PART, COARSE_PART)}
"""What stands in for the vectors."""
TRAINING_FACTS: Final = "training.json"
"""What training says of itself (TrainingFacts), beside the bundle; sealing copies it into the manifest."""

_FACTS: Final = (MANIFEST_NAME, TRAINING_FACTS)
"""Files about the content, with clock times in them: not part of its digest."""

MAX_DOCUMENT_BYTES: Final = 1 << 30
"""A vocabulary of a million titles is 60 MB; a document of a gigabyte is not ours."""


class TrainingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run says of the bundle that it wrote."""

    n_items: int
    dim: int
    watermark: int
    parent: str | None = None
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


def write_bundle(folder: Path, bundle: Bundle, facts: TrainingFacts) -> None:
    """Write a bundle and its facts as files of `folder` (created), not yet a release."""
    with naming_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for stem, tensors in bundle.tensors.items():
            write_tensors(folder / f"{stem}{TENSOR_SUFFIX}", tensors)
        for name, document in bundle.documents.items():
            (folder / name).write_bytes(document)
        (folder / TRAINING_FACTS).write_bytes(msgspec.json.encode(facts))


def read_bundle(folder: Path, names: Iterable[str] | None = None) -> Bundle:
    """Map the arrays and read the documents of a folder: the files `names`, or all of its bundle."""
    chosen = _content(folder) if names is None else sorted(names)
    tensors = {
        name.removesuffix(TENSOR_SUFFIX): map_tensors(folder / name) for name in chosen if name.endswith(TENSOR_SUFFIX)
    }
    documents = {name: read_limited(folder / name) for name in chosen if name.endswith(".json")}
    return Bundle(tensors, documents)


def describe_bundle(folder: Path) -> Manifest:
    """Open a trained bundle, hash its files and write the manifest beside them, or check the one that is there.

    Raises ReleaseCorrupt where the bundle does not open or is no longer what its manifest says.
    """
    from_bundle(read_bundle(folder))
    with naming_full_disk(folder):
        path = folder / MANIFEST_NAME
        if path.exists():
            manifest = read_manifest(read_limited(path), str(folder))
            check_files(folder, manifest.files)
        else:
            manifest = _manifest_of(folder)
            write_atomically(path, msgspec.json.encode(manifest))
    return manifest


def files_to_open(manifest: Manifest, *, head_only: bool) -> dict[str, FileEntry]:
    """The files that opening takes: all of them, or all but the exact vectors where others stand in."""
    without = VECTORS_FILE if head_only and manifest.files.keys() >= _HEAD_FILES else ""
    return {name: entry for name, entry in manifest.files.items() if name != without}


def check_files(folder: Path, files: dict[str, FileEntry]) -> None:
    """Raise ReleaseCorrupt, naming the file, where one is missing or is not what its entry says."""
    for name, expected in files.items():
        path = folder / plain_name(name)
        if problem := file_problem(path, expected):
            raise ReleaseCorrupt(f"{path}: {problem}.", fix="`tandem rollback` serves the release before it.")


def file_problem(path: Path, expected: FileEntry) -> str:
    """What is wrong with a file of a release; empty where nothing is."""
    try:
        if (size := path.stat().st_size) != expected.bytes:
            return f"has {size} bytes, the manifest says {expected.bytes}"
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if found == expected.sha256 else hash_problem(found, expected)


def hash_problem(found: str, expected: FileEntry) -> str:
    """Says of a file that its content is another."""
    return f"has the sha256 {found[:12]}…, the manifest says {expected.sha256[:12]}…"


def plain_name(name: str) -> str:
    """A name that is one path component, so that no id of a manifest or a client leaves the folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ReleaseNotFound(f"{name!r} is not a name of a release, a publication or one of their files.")
    return name


def read_limited(path: Path) -> bytes:
    """A document. Raises ReleaseCorrupt where it is larger than any of ours, FileNotFoundError."""
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise ReleaseCorrupt(f"{path}: larger than a document of a release can be.")
    return path.read_bytes()


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
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(name for name in names if name not in _FACTS)


def _manifest_of(folder: Path) -> Manifest:
    facts = msgspec.json.decode(read_limited(folder / TRAINING_FACTS), type=TrainingFacts)
    files = {name: _entry(folder / name) for name in _content(folder)}
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
