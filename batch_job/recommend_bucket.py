"""The folder of a batch that is kept in the data bucket while a job fills it, so that what is done outlives the job.

    recommendations/NAME/              manifest, parts and marker, as `contracts/batch.py` has them
    asked/recommend/NAME/lists/        the users, until the batch is finished: a batch that broke off goes on with them

The lists go up first and the marker last, so at any moment the bucket holds a batch that can be gone on with, or a
finished one. It does not know how parts are made; `python -m batch_job recommend` calls it around `recommend.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from batch_job.recommend_folder import LISTS
from contracts.batch import BATCH_MANIFEST, BATCH_SUCCESS
from contracts.errors import naming_full_disk
from contracts.processing_job import ASKED, RECOMMENDATIONS
from stores.mirrored_folder import entry_of
from stores.s3_bucket import Bucket

SEND_SECONDS: Final = 30.0
"""Between two looks at what is new: what a kill loses, beside the part that is being made."""


class _Seen(NamedTuple):
    """A file as it was sent or brought; parts are replaced whole."""

    size: int
    written: int
    """Nanoseconds."""


class KeptBatch:
    """One folder and its place in the bucket."""

    def __init__(self, folder: Path, bucket: Bucket, name: str) -> None:
        """Sends nothing yet."""
        self._folder, self._bucket = folder, bucket
        self._kept, self._lists = f"{RECOMMENDATIONS}{name}/", f"{ASKED}recommend/{name}/lists/"
        self._seen: dict[str, _Seen] = {}

    def bring(self) -> int:
        """Have in the folder what an earlier job left; returns how many files. Raises StoreUnavailable, StorageFull."""
        brought = 0
        for prefix, folder in ((self._lists, self._folder / LISTS), (self._kept, self._folder)):
            for key, size in list(self._bucket.sizes(prefix)):
                name = PurePosixPath(key).name
                folder.mkdir(parents=True, exist_ok=True)
                with naming_full_disk(folder), (folder / name).open("wb") as file:
                    file.writelines(self._bucket.stream(key, size))
                self._seen[key] = _seen(folder / name)
                brought += 1
        return brought

    def clear(self) -> None:
        """Take away what the bucket holds of an earlier batch, the marker first."""
        self._bucket.delete([f"{self._kept}{BATCH_SUCCESS}"])
        for prefix in (self._kept, self._lists):
            self._bucket.delete([key for key, _ in self._bucket.sizes(prefix)])

    def send(self) -> None:
        """Send what is new or other than it was, the marker excepted. Raises StoreUnavailable."""
        for key, path in list(self._files()):
            if self._seen.get(key) != _seen(path):
                self._send(key, path)

    def finish(self) -> None:
        """Send what is left, then the marker; the lists go."""
        self.send()
        self._send(f"{self._kept}{BATCH_SUCCESS}", self._folder / BATCH_SUCCESS)
        self._bucket.delete([key for key, _ in self._bucket.sizes(self._lists)])

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Key → file, in the order in which they are of use; whatever else lies there is being written."""
        if (manifest := self._folder / BATCH_MANIFEST).exists():  # written after the lists
            yield from ((self._lists + path.name, path) for path in sorted((self._folder / LISTS).glob("[!.]*.arrow")))
            yield self._kept + BATCH_MANIFEST, manifest
            yield from ((self._kept + path.name, path) for path in sorted(self._folder.glob("part-*.parquet")))

    def _send(self, key: str, path: Path) -> None:
        seen = _seen(path)
        self._bucket.upload(key, path, entry_of(path))
        self._seen[key] = seen


def _seen(path: Path) -> _Seen:
    found = path.stat()
    return _Seen(found.st_size, found.st_mtime_ns)
