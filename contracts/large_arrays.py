"""Arrays with a place for every event: in memory, or mapped onto files where there are too many events for it.

A mapped array is a view of a temporary file without a name. The system reads and writes its pages as they are touched
and takes them back when memory is short; the disk is free again when the last view is gone, also after a kill. Of a
mapped array all that has a place for every event is mapped, too (`room`), and computed a block at a time (`blocks`), so
that the memory of a process does not grow with the events. TMPDIR says on which disk. It knows no events;
`interactions` and whoever computes over all of them call it.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from contracts.errors import StorageFull

BLOCK: Final = 1_000_000
"""Places gone over at a time: keys, order and sums of so many are some 50 MB."""
MAPPED_BYTES: Final = 1 << 20
"""A smaller array is not worth a file, of which every mapped one holds one open."""


def mapped(length: int, kind: DTypeLike) -> NDArray[Any]:
    """Zeros [length] on disk; none at all are in memory. Raises StorageFull where they do not fit."""
    size = length * np.dtype(kind).itemsize
    if size == 0:
        return np.zeros(0, kind)
    try:
        with tempfile.TemporaryFile(prefix="tandem-") as file:
            _reserve(file.fileno(), size)
            return np.memmap(file, kind, "r+", shape=(length,))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StorageFull(
            f"{tempfile.gettempdir()} has no room for {size / 1e6:,.0f} MB of arrays.",
            fix="Free some space there, or name a larger disk in TMPDIR.",
        ) from error


def _reserve(file: int, size: int) -> None:
    """Make a file of `size` bytes that are there: a page that finds no room later would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    if shutil.disk_usage(tempfile.gettempdir()).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.truncate(file, size)


def room(length: int, kind: DTypeLike, like: NDArray[Any]) -> NDArray[Any]:
    """Zeros [length], mapped where `like` is and they are worth a file. Raises StorageFull."""
    if isinstance(like, np.memmap) and length * np.dtype(kind).itemsize >= MAPPED_BYTES:
        return mapped(length, kind)
    return np.zeros(length, kind)


def blocks(length: int) -> Iterator[slice]:
    """Where the blocks of an array begin and end."""
    return (slice(first, min(first + BLOCK, length)) for first in range(0, length, BLOCK))


def kept(values: NDArray[Any], flags: NDArray[np.bool_], number: int) -> NDArray[Any]:
    """values[flags], of which there are `number`."""
    found, end = room(number, values.dtype, values), 0
    for block in blocks(len(values)):
        some = values[block][flags[block]]
        found[end : end + len(some)] = some
        end += len(some)
    return found


def places(flags: NDArray[np.bool_], number: int) -> NDArray[np.int64]:
    """Where the `number` true ones of flags are, ascending."""
    found, end = room(number, np.int64, flags), 0
    for block in blocks(len(flags)):
        some = np.flatnonzero(flags[block])
        found[end : end + len(some)] = some + block.start
        end += len(some)
    return found


def true_before(flags: NDArray[np.bool_], ends: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many of flags [n] are true before each of some ascending places [m], which go up to n."""
    counts, done, before = np.empty(len(ends), np.int64), 0, 0
    for block in blocks(len(flags)):
        up_to = int(np.searchsorted(ends, block.stop))
        sums = np.cumsum(flags[block])
        counts[done:up_to] = before + np.append(0, sums)[ends[done:up_to] - block.start]
        done, before = up_to, before + int(sums[-1])
    counts[done:] = before
    return counts
