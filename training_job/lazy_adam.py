"""Row-wise lazy Adam: a table of vectors of which a step moves only the rows that it touched.

Dense Adam reads and writes the whole table and both moments at every step, which for a catalogue is most of the work
of training. Here a step costs what its batch holds. Each row counts its own steps, so a rare item's first update is
corrected for bias as if its own training had just begun. It knows no model; `towers.py` keeps its tables in it.

Kingma and Ba 2015 (Adam); the second moment is one number a row (the mean over its coordinates, as in row-wise
Adagrad), which takes a third off the memory and keeps the direction of a gradient.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

FIRST_DECAY = 0.9
SECOND_DECAY = 0.999
"""The paper's defaults: nothing here is special to them."""
EPSILON = 1e-8


class LazyTable:
    """Vectors [n, d] with their moments."""

    def __init__(self, values: Tensor) -> None:
        self.values = values.contiguous()
        self.first = torch.zeros_like(self.values)
        self.second = torch.zeros(len(values), device=values.device)
        self.steps = torch.zeros(len(values), device=values.device)

    def __len__(self) -> int:
        return len(self.values)

    def leaf(self, rows: Tensor) -> Tensor:
        """A copy of some rows [c, d] that collects their gradient. `rows` are distinct."""
        return self.values[rows].requires_grad_()

    def step(self, rows: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Move `rows` [c], which are distinct, by `gradient` [c, d]."""
        steps = self.steps[rows] + 1
        first = self.first[rows].lerp_(gradient, 1 - FIRST_DECAY)
        second = self.second[rows].lerp_(gradient.square().mean(dim=1), 1 - SECOND_DECAY)
        self.steps[rows], self.first[rows], self.second[rows] = steps, first, second
        scale = (second / (1 - SECOND_DECAY**steps)).sqrt_().add_(EPSILON).mul_(1 - FIRST_DECAY**steps)
        self.values.index_add_(0, rows, first.mul_((-learning_rate / scale).unsqueeze(1)))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold, by name."""
        return {"values": self.values, "first": self.first, "second": self.second, "steps": self.steps}

    def to(self, device: torch.device) -> LazyTable:
        """The same vectors on a device, with fresh moments."""
        return LazyTable(self.values.to(device))

    def forget_moments(self) -> None:
        """Half of what a table holds, of one that moves no further."""
        self.first, self.second, self.steps = (moment[:0].clone() for moment in (self.first, self.second, self.steps))

    @property
    def whole(self) -> Tensor:
        """All vectors [n, d]: here the values, while a table that ranks share must first be `gathered`."""
        return self.values

    def gathered(self) -> AbstractContextManager[None]:
        """Nothing to do: every rank has the whole."""
        return nullcontext()

    def joined(self) -> LazyTable:
        """This table."""
        return self
