"""What makes files a release, and a release a publication.

A release is an immutable bundle with a manifest that names every file with its size and sha256 (decision 1). A
publication says what serves: a release, the verdict that let it through, the index and the model. `current` is a
pointer to one publication, moved by a conditional write (decision 2). Training and sealing write these, stores keep
them, serving reads them.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import msgspec

from contracts.errors import ReleaseCorrupt, ReleaseUnreadable

CURRENT_VERSION: Final = 3
"""2: vectors in a file of their own, the head of a large catalogue, probes per filter and for ALS.
3: heads and a crowd in the user tower."""
OLDEST_READABLE_VERSION: Final = 1

MANIFEST_NAME: Final = "manifest.json"
MODELS: Final = ("two_tower", "als")


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a release."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The table of contents of a release; what has none is not a release."""

    format_version: int
    id: str
    created_at: str
    """ISO 8601, UTC."""
    files: dict[str, FileEntry]
    digest: str
    """sha256 over the names and hashes of all files: equal content, equal digest."""
    n_items: int
    dim: int
    watermark: int
    parent: str | None = None
    """The release that training started from, when it was a warm start."""
    training: dict[str, Any] = {}
    """Seed, effort, derived numbers, counts, seconds, library versions: for people and for the gate."""
    metrics: dict[str, Any] = {}
    """Model → metric → value on the validation slice that training kept."""


class Verdict(StrEnum):
    """What a check of the gate says."""

    PASS = "pass"
    WARN = "warn"
    BLOCK = "block"


class GateCheck(msgspec.Struct, frozen=True):
    """One check of a candidate release."""

    name: str
    verdict: Verdict
    detail: str
    figures: dict[str, Any] = {}


class GateReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every verdict on one candidate."""

    release: str
    compared_with: str | None
    """The release that was serving, if any."""
    checks: list[GateCheck]
    served_model: str
    """`two_tower`, or `als` where the towers lost to it."""

    @property
    def blocked(self) -> bool:
        return any(check.verdict is Verdict.BLOCK for check in self.checks)

    @property
    def reasons(self) -> str:
        """Why it is blocked, for people."""
        found = [f"{check.name}: {check.detail}" for check in self.checks if check.verdict is Verdict.BLOCK]
        return f"{self.release} is blocked. " + " ".join(found)


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What serves. Immutable; `current` names one."""

    id: str
    sequence: int
    """Higher than that of every publication before it; a rollback moves the pointer to an older one."""
    release: str
    served_model: str
    gate: GateReport | None
    """None where an operator published by hand past the gate."""
    index: str | None = None
    """Physical index of a search engine; None: the release itself is searched."""
    ef_search: dict[str, int] | None = None
    """Model, or `filtered` → what a search must look at, as verification found; None without an index."""
    verification: dict[str, Any] = {}
    previous: str | None = None
    night: str | None = None
    """Which night made it; None: somebody did by hand."""
    created_at: str


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """The one mutable object: which publication serves."""

    publication: str
    moved_at: str
    """ISO 8601, UTC."""


def release_digest(files: dict[str, FileEntry]) -> str:
    """sha256 over the sorted file names, sizes and hashes."""
    lines = (f"{name}\0{entry.bytes}\0{entry.sha256}\n" for name, entry in sorted(files.items()))
    return sha256("".join(lines).encode()).hexdigest()


def read_manifest(data: bytes, source: str) -> Manifest:
    """Parse a manifest and hold it against itself.

    Raises ReleaseCorrupt where it does not parse or its digest does not fit its files, ReleaseUnreadable where its
    version is outside the readable range.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # bytes that are no UTF-8 raise the latter
        raise ReleaseCorrupt(f"{source}: not a manifest: {error}.", fix="Publish another release.") from error
    if not OLDEST_READABLE_VERSION <= manifest.format_version <= CURRENT_VERSION:
        raise ReleaseUnreadable(
            f"{source}: format version {manifest.format_version} is outside the readable range "
            f"{OLDEST_READABLE_VERSION} to {CURRENT_VERSION}.",
            fix="Serve it with the Tandem that wrote it, or train again.",
        )
    if release_digest(manifest.files) != manifest.digest:
        raise ReleaseCorrupt(f"{source}: the digest does not fit the files it lists.")
    return manifest
