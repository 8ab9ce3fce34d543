"""Which of a hundred million things were there before: 8 bytes of hash for each, compared a part of them at a time.

Hashes that end in the same bits are compared together, so that memory is that of two million, whatever the number and
however often one comes. Two different things of a hundred million have one hash in one of 3,000 datasets. Knows no
events; `event_figures` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import DTypeLike, NDArray

from contracts.large_arrays import blocks
from data_sources.findings import SHOWN

COMPARED: Final = 2_000_000
"""Hashes at a time, some 100 MB; a hundred million are gone over 64 times, a tenth of a second each."""


class Room(Protocol):
    """Zeros: `np.zeros`, or `contracts.large_arrays.mapped`."""

    def __call__(self, length: int, kind: DTypeLike, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Repeated:
    """How many came again, and the first of them, SHOWN at most, counted from 1."""

    count: int
    first: tuple[int, ...]


class Repeats:
    """Hashes of things in their order."""

    def __init__(self, length: int, room: Room) -> None:
        """Room for `length` of them. Raises StorageFull."""
        self._hashes = room(length, np.uint64)
        self._end = 0

    def add(self, hashes: pl.Series) -> None:
        """The next [n]; null is nothing, and like nothing."""
        values = hashes.replace(0, 1).fill_null(0).to_numpy()
        self._hashes[self._end : self._end + len(values)] = values
        self._end += len(values)

    def found(self) -> Repeated:
        """What was there before."""
        parts = 1 << (max(self._end - 1, 0) // COMPARED).bit_length()
        count, first = 0, list[int]()
        for part in range(parts):
            for again in self._again(part, parts):
                count += len(again)
                first = sorted(first + again[:SHOWN].tolist())[:SHOWN]
        return Repeated(count, tuple(row + 1 for row in first))

    def _again(self, part: int, parts: int) -> Iterator[NDArray[np.int64]]:
        """Places, ascending in each array, of what came before among the hashes that end in `part`.

        Those of a block are compared first: what comes very often is kept once for each block.
        """
        kept_hashes, kept_places = [], []
        for block in blocks(self._end):
            some = self._hashes[block]
            places = np.flatnonzero(((some & np.uint64(parts - 1)) == part) & (some != 0))
            new = _first_of_each(some[places])
            yield places[~new] + block.start
            kept_hashes.append(some[places[new]])
            kept_places.append(places[new] + block.start)
        if len(kept_places) > 1:
            yield np.concatenate(kept_places)[~_first_of_each(np.concatenate(kept_hashes))]


def _first_of_each(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return pl.Series(np.asarray(hashes)).is_first_distinct().to_numpy()
