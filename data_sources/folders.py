"""Folders that appear whole or not at all: written beside their place, flushed to disk, then renamed into it.

Knows nothing of what is in them. `dataset`, `generator` and the importers write through it.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError, StorageFull

_PARTIAL: Final = ".partial"
_ABANDONED_SECONDS: Final = 86_400

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS: Final = tuple(f"(os error {number})" for number in _FULL)
"""polars wraps the error of the operating system into a text of its own."""


@contextmanager
def replace_folder(path: Path, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it becomes `path`, on failure nothing is left of it.

    An existing `path` is replaced only if it is an empty folder or `may_replace(path)`: it is moved aside first and
    removed last, so a process killed between the two renames loses nothing (`living_folder` finds it).
    Raises DatasetError where `path` may not be replaced or cannot be written, StorageFull where the disk is full.
    """
    path = path.resolve()
    _check_replaceable(path, may_replace)
    staging: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent))
        yield staging
        staging.chmod(0o755)  # mkdtemp makes it private
        _flush(staging)
        _swap(staging, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _named(error, path) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def living_folder(path: Path) -> Path:
    """`path`, or the folder that a `replace_folder` which was killed had moved aside from there."""
    aside = _aside(path.resolve())
    return aside if aside.is_dir() and not path.exists() else path


def _sweep(path: Path) -> None:
    """Put back what a killed writer had moved aside, and remove what it had begun a day ago: nobody writes it now."""
    if (aside := living_folder(path)) != path:
        aside.rename(path)
    for begun in path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL}"):
        if time.time() - begun.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(begun, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _check_replaceable(path: Path, may_replace: Callable[[Path], bool]) -> None:
    if not path.exists() or (path.is_dir() and (may_replace(path) or not any(path.iterdir()))):
        return
    raise DatasetError(
        f"{path} exists and is not a dataset: it is not overwritten.", fix="Name another folder, or remove that one."
    )


def _swap(staging: Path, path: Path) -> None:
    aside = _aside(path)
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    staging.rename(path)
    _flush_one(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _flush_one(path)


def _flush_one(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _named(error: Exception, path: Path) -> DatasetError | StorageFull:
    full = isinstance(error, OSError) and error.errno in _FULL
    if full or any(text in str(error) for text in _FULL_TEXTS):
        return StorageFull(f"the disk is full; {path} was not written.", fix="Free some room and run it again.")
    return DatasetError(f"{path} cannot be written: {error}.", fix="Choose a folder that can be written to.")
