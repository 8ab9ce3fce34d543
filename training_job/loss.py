"""Softmax over candidates that a whole batch shares, with the sampling corrected exactly.

A candidate stands for all items that might have been drawn in its place, so its logit is lowered by the log of the
probability that it is in the batch at all (Yi et al. 2019, "Sampling-bias-corrected neural modeling"; Bengio and
Senecal 2008). A user's own targets are there with certainty, so theirs is not. One query a user scores every
candidate, and all targets of the user share that one sum.

The gradient of a softmax is the softmax itself, so it is written out instead of traced: one buffer [b, c] instead of
five, which is the difference between living in cache and not. It knows nothing of items; `loop.py` calls it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

OUT_OF_THE_RACE = -1e9
"""Logit of what does not compete: its exponential is zero, and no infinity is subtracted from another."""


@dataclass(frozen=True)
class Targets:
    """What the users of a batch took, as places among its candidates. t targets of b users."""

    owners: Tensor
    """[t] which user of the batch."""
    places: Tensor
    """[t] which candidate; a pair (owner, place) occurs once."""
    weights: Tensor
    """[t] how much the target counts; positive."""
    known_owners: Tensor
    """[k] users with a candidate that they already have, which does not compete: serving never repeats it."""
    known_places: Tensor
    """[k] which candidate."""


def log_inclusion(item_events: NDArray[np.int64], drawn_share: float, uniform_share: float) -> NDArray[np.float32]:
    """Log of the probability [n] that an item is among the candidates of a batch.

    `item_events` [n] events of an item, of which a batch holds `drawn_share`; `uniform_share` uniform draws an item.
    An item is missed by a Poisson process of that rate, so it is present with 1 - exp(-rate).
    """
    rate = item_events * drawn_share + uniform_share
    logs: NDArray[np.float32] = np.log(-np.expm1(-np.maximum(rate, 1e-12))).astype(np.float32)
    return logs


class _SharedSoftmax(torch.autograd.Function):
    """Σ_t w_t (logsumexp_c s[owner_t, c] - s[owner_t, place_t])."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, candidates: Tensor, log_q: Tensor, targets: Targets, sharpness: float
    ) -> Tensor:
        logits = torch.addmm(-log_q, queries, candidates.T, alpha=sharpness)
        owners, places, weights = targets.owners, targets.places, targets.weights
        own = logits[owners, places] + log_q[places]
        logits[targets.known_owners, targets.known_places] = OUT_OF_THE_RACE
        logits[owners, places] = own
        logits.sub_(logits.amax(dim=1, keepdim=True))  # the largest is 0, so that nothing overflows
        own = logits[owners, places]
        softmax = logits.exp_()
        total = softmax.sum(dim=1)
        per_user = torch.zeros_like(total).index_add_(0, owners, weights)
        ctx.save_for_backward(queries, candidates, softmax, per_user / total, owners, places, weights)
        ctx.sharpness = sharpness
        return per_user @ total.log() - weights @ own

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, candidates, softmax, scale, owners, places, weights = ctx.saved_tensors
        pull = softmax.mul_(scale.unsqueeze(1))
        pull.index_put_((owners, places), -weights, accumulate=True)
        factor = gradient * ctx.sharpness
        return (pull @ candidates) * factor, (pull.T @ queries) * factor, None, None, None


def shared_softmax(queries: Tensor, candidates: Tensor, log_q: Tensor, targets: Targets, temperature: float) -> Tensor:
    """Summed loss of a batch (a scalar, differentiable once in queries and candidates).

    `queries` [b, d] unit vectors, `candidates` [c, d] item vectors, `log_q` [c] from `log_inclusion` (zeros where the
    candidates are the whole catalogue).
    """
    if not math.isfinite(temperature) or temperature <= 0:
        raise ValueError(f"temperature must be positive, found {temperature}")
    arguments = (queries, candidates, log_q, targets, 1.0 / temperature)
    loss: Tensor = _SharedSoftmax.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return loss
