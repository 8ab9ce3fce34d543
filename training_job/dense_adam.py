"""Adam for the few dense arrays, by torch's functional form.

`torch.optim.Adam` does the same sums, but constructing one loads torch's compiler, sympy and triton: five CPU seconds
at the start of every training, which is most of a small one. State is kept as torch keeps it. `step.py` calls it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Kingma and Ba 2015, and torch's defaults."""


class DenseAdam:
    """Adam over some tensors. `state`: tensor → step [], exp_avg and exp_avg_sq of its shape."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = [tensor.requires_grad_() for tensor in tensors]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self.tensors:
            tensor.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every tensor that has a gradient, at a learning rate."""
        moved = [tensor for tensor in self.tensors if tensor.grad is not None]
        states = [self.state.setdefault(tensor, _fresh(tensor)) for tensor in moved]
        adam(
            moved,
            [tensor.grad for tensor in moved if tensor.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=False,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=rate,
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )


def _fresh(tensor: Tensor) -> dict[str, Tensor]:
    return {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(tensor), "exp_avg_sq": torch.zeros_like(tensor)}
