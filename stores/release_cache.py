"""Files of releases that are kept elsewhere, in a folder of this machine: fetched once, verified at every use.

Knows no S3: who owns one says how a file is read. Only the newest few releases stay; a process that has an older one
mapped keeps its pages. One process at a time fills a folder. `stores/s3_releases.py` calls it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from contracts.errors import ReleaseCorrupt, StorageFull, naming_full_disk
from contracts.release import MANIFEST_NAME, FileEntry
from stores.release_files import file_problem, hash_problem, plain_name

KEEP_RELEASES: Final = 2
"""The one that serves and the one that takes over from it."""
AT_ONCE: Final = 4
"""Files in flight, up or down: one stream from S3 is 0.1 GB a second, and a small function has the network for few."""

Result = TypeVar("Result")
ReadFile = Callable[[str, FileEntry], Iterator[bytes]]
"""Name and entry of a file → its bytes, chunk by chunk, no more than its entry says."""


class ReleaseCache:
    """The folder `releases/` under `home`, one folder for each release."""

    def __init__(self, home: Path, place: str) -> None:
        """`place`: where the files come from, for people."""
        self._home, self._place = home / "releases", place
        self._filling = threading.Lock()

    def fill(self, release: str, files: dict[str, FileEntry], read: ReadFile) -> Path:
        """The folder of a release in which `files` lie, verified; what is missing or damaged there is read anew.

        Raises StorageFull before it begins where they do not fit, ReleaseCorrupt where what was read is not what the
        entry says, and what `read` raises.
        """
        folder = self._home / plain_name(release)
        paths = {folder / plain_name(name): entry for name, entry in files.items()}
        with self._filling, naming_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)  # the newest by use
            self._forget_older()
            problems = run_all(partial(file_problem, path, entry) for path, entry in paths.items())
            wanted = [path for path, problem in zip(paths, problems, strict=True) if problem]
            check_room(folder, sum(paths[path].bytes for path in wanted))
            run_all(partial(self._fetch, path, paths[path], read) for path in wanted)
        return folder

    def _forget_older(self) -> None:
        """Releases that are sealed here, where somebody keeps theirs in the same folder, are not the cache's."""
        own = [folder for folder in self._home.iterdir() if not (folder / MANIFEST_NAME).exists()]
        for folder in sorted(own, key=lambda folder: folder.stat().st_mtime_ns)[:-KEEP_RELEASES]:
            shutil.rmtree(folder, ignore_errors=True)

    def _fetch(self, path: Path, expected: FileEntry, read: ReadFile) -> None:
        """Write a file under another name while hashing it, and give it its own once it is what its entry says."""
        temporary, seen = path.with_name(f".{path.name}.{uuid4().hex}"), sha256()
        try:
            with temporary.open("wb") as file:
                for chunk in read(path.name, expected):
                    seen.update(chunk)
                    file.write(chunk)
            if (found := seen.hexdigest()) != expected.sha256:
                raise ReleaseCorrupt(
                    f"{self._place}: {path.parent.name}/{path.name} {hash_problem(found, expected)}.",
                    fix="`tandem aws rollback` serves the release before it.",
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def run_all(works: Iterable[Callable[[], Result]], at_once: int = AT_ONCE) -> list[Result]:
    """What each of them returns, so many at a time; after the first failure no other one is begun."""
    with ThreadPoolExecutor(at_once) as pool:
        flying = [pool.submit(work) for work in works]
        try:
            return [future.result() for future in flying]
        finally:
            for future in flying:
                future.cancel()


def check_room(folder: Path, needed_bytes: int) -> None:
    """Raise StorageFull where so many bytes do not fit into a folder's disk."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise StorageFull(
            f"{folder}: {needed_bytes / 1e6:.0f} MB are to come, {free / 1e6:.0f} MB are free.",
            fix="Give the process more room (a function: ephemeral storage), or open it elsewhere.",
        )
