"""A dataset in the data bucket, which the nightly run starts from: the same files as in a folder, and no others.

`datasets/<name>/` holds the files, `datasets/<name>.files.json` says which they are, with size and hash; it is written
last, so what it does not fit is not complete. Files that are there already are not sent again. `seed.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from typing import Final

import msgspec

from contracts.release import FileEntry
from stores.s3_bucket import Bucket, ObjectMissing

DATASETS: Final = "datasets/"
_MAX_LISTING_BYTES: Final = 16 << 20
"""A hundred thousand files; a dataset has a dozen."""

Progress = Callable[[int, int, str], None]


def mirror(dataset: Path, bucket: Bucket, name: str, progress: Progress | None = None) -> list[str]:
    """Make `datasets/<name>/` hold the files of a folder; returns those that were sent. Raises StoreUnavailable."""
    prefix, listing = f"{DATASETS}{name}/", f"{DATASETS}{name}.files.json"
    before, marked = _listed(bucket, listing)
    files = {path.relative_to(dataset).as_posix(): path for path in sorted(dataset.rglob("*")) if path.is_file()}
    entries = {key: _entry(path) for key, path in files.items()}
    there = {key.removeprefix(prefix) for key, _ in bucket.listing(prefix)}
    wanted = [key for key, entry in entries.items() if key not in there or before.get(key) != entry]
    for done, key in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted), f"sending {key}")
        bucket.upload(f"{prefix}{key}", files[key], entries[key])
    if before != entries:
        bucket.replace(listing, msgspec.json.encode(entries), marked, {})
    bucket.delete([f"{prefix}{key}" for key in sorted(there - entries.keys())])
    return wanted


def _listed(bucket: Bucket, listing: str) -> tuple[dict[str, FileEntry], str | None]:
    """What the listing says, and its etag; nothing where there is none."""
    try:
        document = bucket.read(listing, _MAX_LISTING_BYTES)
    except ObjectMissing:
        return {}, None
    try:
        return msgspec.json.decode(document.data, type=dict[str, FileEntry]), document.etag
    except (msgspec.MsgspecError, UnicodeDecodeError):  # whatever it is, every file is sent and it is written anew
        return {}, document.etag


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(path.stat().st_size, file_digest(file, "sha256").hexdigest())
