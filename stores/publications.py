"""Publications and the pointer as documents: written, read back, and named where they do not parse.

Knows no folder and no bucket; the classes of `stores/releases.py` and `stores/s3_releases.py` keep what it writes.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from contracts.errors import PointerConflict, ReleaseCorrupt
from contracts.release import Pointer, Publication


def now_text() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def pointer_to(publication: Publication) -> bytes:
    """The pointer that makes a publication serve from now on."""
    return msgspec.json.encode(Pointer(publication=publication.id, moved_at=now_text()))


def read_pointer(data: bytes, source: str) -> Pointer:
    """Raises ReleaseCorrupt, naming the `source`, where it does not parse."""
    try:
        return msgspec.json.decode(data, type=Pointer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # bytes that are no UTF-8 raise the latter
        raise ReleaseCorrupt(
            f"{source}: not a pointer: {error}.", fix="Restore what it was, or remove it and publish a release by hand."
        ) from error


def read_publication(data: bytes, source: str) -> Publication:
    """Raises ReleaseCorrupt, naming the `source`, where it does not parse."""
    try:
        return msgspec.json.decode(data, type=Publication)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReleaseCorrupt(f"{source}: not a publication: {error}.") from error


def pointer_conflict(source: str) -> PointerConflict:
    """What a publisher is told whose decision was made on an older state."""
    return PointerConflict(
        f"{source}: moved by somebody else since it was read.",
        fix="Compare with what serves now (`tandem releases`) and publish again.",
    )
