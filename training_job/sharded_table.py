"""A LazyTable whose rows are dealt out over the ranks, for catalogues of which one device holds no whole table.

All ranks ask for the same rows of a step and move them by the same sums, so nothing has to be sought: rank r of N owns
the rows r, r + N, …, with their moments; what a step asks for is added up from what each rank owns, among zeros, which
is exact. The price is that a step sends its rows once more. Every method but `step` is called by all ranks together.
It knows no model and no files; `shares.py` deals it, `loop.py` makes it whole to score, to save and to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from training_job.lazy_adam import LazyTable

WHOLE_ITEMS = 2_000_000
"""Items up to which every rank holds all vectors. At 64 dimensions an item takes 780 bytes (its vector, the kept one
and the first moment at 256 each, two numbers of Adam), so these are 1.6 GB, a tenth of the smallest GPU; sharing fewer
would send the rows of every step once more and spare nothing that is scarce."""
BLOCK = 65_536
"""Rows made whole at once: 17 MB at 64 dimensions."""


class Sums(Protocol):
    """What a table needs of the ranks; `training_job.ranks.Ranks` is one."""

    rank: int
    size: int

    def add_up(self, tensors: list[Tensor], /) -> None:
        """Replace tensors by their sums over the ranks."""


def is_sharded(n_items: int, size: int) -> bool:
    """Whether `size` ranks share the vectors of a catalogue."""
    return size > 1 and n_items > WHOLE_ITEMS


class ShardedTable:
    """Vectors [n, d] with their moments, of which this rank owns every N-th."""

    def __init__(self, values: Tensor, n: int, ranks: Sums) -> None:
        """`values` are those that this rank owns [ceil((n - rank) / N), d]."""
        self.own, self.n, self.ranks = LazyTable(values), n, ranks
        self._whole: Tensor | None = None

    def __len__(self) -> int:
        return self.n

    @property
    def values(self) -> Tensor:
        """The owned vectors."""
        return self.own.values

    def tensors(self) -> dict[str, Tensor]:
        """The owned part of everything that a checkpoint must hold, by name; `all_of` makes one whole."""
        return self.own.tensors()

    def to(self, device: torch.device) -> ShardedTable:
        """The owned vectors on a device, with fresh moments."""
        return ShardedTable(self.values.to(device), self.n, self.ranks)

    def forget_moments(self) -> None:
        """Those of the owned part, which moves no further."""
        self.own.forget_moments()

    def leaf(self, rows: Tensor) -> Tensor:
        """A copy of some rows [c, d] that collects their gradient. `rows` are distinct, and the same on all ranks."""
        return self._summed(self.values, rows).requires_grad_()

    def step(self, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Move those of `rows` [c] that are owned by `gradient` [c, d], the sum over the ranks."""
        mine = self._owned(rows)
        self.own.step(rows[mine] // self.ranks.size, gradient[mine], learning_rate)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, rank 0 has the `whole`, and the others none."""
        self._whole = self.all_of(self.values, self.values.device)
        try:
            yield
        finally:
            self._whole = None

    @property
    def whole(self) -> Tensor:
        """All vectors [n, d], where they are gathered: on rank 0."""
        if self._whole is None or len(self._whole) < self.n:
            raise RuntimeError(f"rank {self.ranks.rank} has a part of the table only; gather it on all ranks first")
        return self._whole

    def all_of(self, part: Tensor, device: torch.device) -> Tensor:
        """On rank 0 the n entries [n, …] of which each rank has its `part`, on a device; on the others none [0, …]."""
        first = self.ranks.rank == 0
        found = torch.empty((self.n if first else 0, *part.shape[1:]), device=device)
        for start in range(0, self.n, BLOCK):
            block = self._summed(part, torch.arange(start, min(start + BLOCK, self.n), device=part.device))
            if first:
                found[start : start + len(block)] = block
        return found

    def joined(self) -> LazyTable:
        """On rank 0 a table of all vectors, with fresh moments; on the others an empty one."""
        return LazyTable(self.all_of(self.values, self.values.device))

    def _owned(self, rows: Tensor) -> Tensor:
        """Which of `rows` are owned [number of them]."""
        return torch.nonzero(rows % self.ranks.size == self.ranks.rank).squeeze(1)

    def _summed(self, part: Tensor, rows: Tensor) -> Tensor:
        """Entries of `rows` from the parts of all ranks [c, …]."""
        mine = self._owned(rows)
        found = part.new_zeros((len(rows), *part.shape[1:]))
        found[mine] = part[rows[mine] // self.ranks.size]
        self.ranks.add_up([found])
        return found


Table = LazyTable | ShardedTable
