"""The user tower of histories in order, in torch: every asked moment of a window at once → queries.

Mirrors `retrieval/user_tower.py` (parity is tested, and replayed from golden cases at every open). There one user is
encoded, from the newest event back; here windows are padded to rectangles, and each moment looks at what came before
it, so that one pass over a window teaches all of its moments. It knows no sampling and no loss; `step.py` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contracts.fitted import depths
from training_job.batches import Examples
from training_job.towers import POOL_EPSILON, residual, unit

UNSEEN = -1e9
"""Logit of an event that comes later, or that is only there to fill a rectangle."""
STEEPNESS = 8.0
"""Factor of `match` and `value`, which stay small so that steps of the common rate are large for them: directions in 64
dimensions agree by an eighth on average."""


@dataclass(frozen=True)
class Windows:
    """b windows of at most l events, oldest first, in each of which at most m moments are asked."""

    places: Tensor
    """[b, l] which row of the item vectors; 0 where there is no event."""
    weights: Tensor
    """[b, l] of the events; 0 where there is none."""
    ends: Tensor
    """[b, m] how many events came before a moment; 0 where there is none."""
    depths: Tensor
    """[b, m] rows of the depth of so many events."""
    rows: Tensor
    """[q] where the moments are in the flattened [b * m]."""

    @staticmethod
    def of(examples: Examples, device: torch.device) -> Windows:
        """Of ragged histories, whose `history` says which row of the item vectors."""
        lengths, owners, ends = examples.history_lengths, examples.owners, examples.ends
        inside = np.arange(max(lengths.max(initial=0), 1)) < lengths[:, None]
        counts = np.bincount(owners, minlength=len(lengths))
        asked = np.arange(max(counts.max(initial=0), 1)) < counts[:, None]

        def filled(mask: NDArray[np.bool_], values: NDArray[np.generic]) -> Tensor:
            array = np.zeros(mask.shape, values.dtype)
            array[mask] = values
            return torch.from_numpy(array).to(device)

        rows = torch.from_numpy(np.flatnonzero(asked)).to(device)
        return Windows(
            filled(inside, examples.history),
            filled(inside, examples.history_weights),
            filled(asked, ends),
            filled(asked, depths(ends)),
            rows,
        )


def attended_vectors(
    dense: dict[str, Tensor],
    windows: Windows,
    items: tuple[Tensor, Tensor],
    features: Tensor | None,
    dropped: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Query vectors [q, d] of unit length.

    `items` are the directions [c, d] and the damping [c] of the items of the step, `features` summed embeddings [b, d].
    `dropped` is the part of what the attention sees and gives that is left out while training.
    """
    directions, damping = items
    seen = directions[windows.places]
    past = _by_distance(dense["positions"], seen.shape[1], 0.0)[windows.ends]
    attention = windows.weights.unsqueeze(1) * past
    squares = attention.square().sum(dim=2, keepdim=True)
    pooled = (attention * damping[windows.places].unsqueeze(1)) @ seen / (squares + POOL_EPSILON).sqrt()
    x = pooled + dense["output_bias"] + dense["depth"][windows.depths]
    if features is not None:
        x = x + features.unsqueeze(1)
    x = x + _attention(dense, windows, drop(seen, dropped, generator), x, (dropped, generator))
    return unit(residual(dense, x.reshape(-1, x.shape[2])[windows.rows]))


def _attention(
    dense: dict[str, Tensor],
    windows: Windows,
    seen: Tensor,
    x: Tensor,
    dropping: tuple[float, torch.Generator | None],
) -> Tensor:
    """What each head reads of a history, for every moment [b, m, d]; nothing where there is no history."""
    asks = torch.einsum("bmd,hde->bhme", x * STEEPNESS, dense["match"])
    far = _by_distance(dense["recency"], seen.shape[1], UNSEEN)[:, windows.ends].transpose(0, 1)
    speaks = windows.weights.abs().clamp_min(1e-38).log().clamp_min(UNSEEN)[:, None, None]
    shares = (asks @ seen.unsqueeze(1).transpose(2, 3) + far + speaks).softmax(dim=3)
    shares = drop(shares, *dropping) * windows.weights.sign()[:, None, None]
    read = torch.einsum("bhmd,hde->bme", (shares @ seen.unsqueeze(1)) * STEEPNESS, dense["value"])
    return drop(read, *dropping) * (windows.ends > 0).unsqueeze(2)


def _by_distance(values: Tensor, length: int, beyond: float) -> Tensor:
    """Values [..., L] by distance into the past → [..., length + 1, length]: of each event after so many of them."""
    distance = (
        torch.arange(length + 1, device=values.device).unsqueeze(1) - 1 - torch.arange(length, device=values.device)
    )
    return torch.where(distance >= 0, values[..., distance.clamp_min(0)], values.new_tensor(beyond))


def drop(values: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Values of which a random share is zero and the rest longer by as much (Srivastava et al. 2014)."""
    if share == 0 or generator is None:
        return values
    kept = torch.empty_like(values).bernoulli_(1 - share, generator=generator)
    return values * kept.div_(1 - share)
