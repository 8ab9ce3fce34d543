"""The two towers in torch: item rows → vectors, histories and features → queries.

The user tower mirrors `retrieval/user_tower.py` operation by operation (parity is tested, and replayed from golden
cases at every open). The item tower adds an id part and a content part and puts popularity into the length:
`vector = normalise(id * keep + Σ weight * slot) * norm` (decision 4). It knows nothing of sampling, of losses and of
files; `loop.py` trains it and `export.py` reads its arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from contracts.feature_encoder import Bag
from training_job.lazy_adam import LazyTable

POOL_EPSILON = 1e-6
"""Under the root of the pooling norm: an empty history has no length, and sqrt(0) no gradient."""
SHORTEST = 1e-6
"""Smallest divisor of a normalisation: an item of which nothing is known stays a zero vector, never NaN."""
POOL_POWER = 0.15
"""Start of the learned exponent by which popularity damps an item's weight in a history: what everybody took says
little where catalogues are sparse (.3 was best on Gowalla), and all there is where they are dense (0 on MovieLens)."""
SLOT_SPREAD = 0.05
"""Start of embeddings of features: small beside the unit id part, so that content begins as a whisper."""


@dataclass
class Towers:
    """Every trained array. n items, d dimensions, L positions, h hidden units."""

    items: LazyTable
    """[n, d] id parts."""
    item_slots: LazyTable
    """[n_item_slots, d] content parts."""
    user_slots: LazyTable
    """[n_user_slots, d]"""
    dense: dict[str, Tensor]
    """pool_power [], positions [L], hidden_weight [d, h], hidden_bias [h], output_weight [h, d], output_bias [d]."""

    @property
    def lazy(self) -> dict[str, LazyTable]:
        return {"items": self.items, "item_slots": self.item_slots, "user_slots": self.user_slots}

    def to(self, device: torch.device) -> Towers:
        """The same start on a device."""
        lazy = {name: LazyTable(table.values.to(device)) for name, table in self.lazy.items()}
        return Towers(dense={name: tensor.to(device) for name, tensor in self.dense.items()}, **lazy)


def fresh_towers(
    id_parts: NDArray[np.float32], n_slots: tuple[int, int], shape: tuple[int, int], random: np.random.Generator
) -> Towers:
    """Untrained towers around given id parts [n, d]; `n_slots` of (items, users), `shape` is (L, h)."""
    d = id_parts.shape[1]
    positions, hidden = shape

    def noise(*size: int, spread: float = SLOT_SPREAD) -> Tensor:
        return torch.from_numpy((random.standard_normal(size) * spread).astype(np.float32))

    dense = {
        "positions": torch.ones(positions),
        "hidden_weight": noise(d, hidden, spread=d**-0.5),  # keeps the variance of a unit input (He et al. 2015)
        "hidden_bias": torch.zeros(hidden),
        "output_weight": torch.zeros(hidden, d),  # the residual layer begins as nothing
        "output_bias": noise(d),
        "pool_power": torch.tensor(POOL_POWER),
    }
    return Towers(
        LazyTable(torch.from_numpy(id_parts)),
        LazyTable(noise(n_slots[0], d)),
        LazyTable(noise(n_slots[1], d)),
        dense,
    )


@dataclass(frozen=True)
class TorchBag:
    """Bags of slots on the device, slots numbered within a step. e entities."""

    slots: Tensor
    weights: Tensor
    offsets: Tensor
    """[e + 1]"""

    @staticmethod
    def of(bag: Bag, slots: NDArray[np.integer], device: torch.device) -> TorchBag:
        """A bag with its slots renumbered to `slots` [n_pairs]."""
        return TorchBag(
            torch.from_numpy(slots.astype(np.int64)).to(device),
            torch.from_numpy(np.ascontiguousarray(bag.weights)).to(device),
            torch.from_numpy(bag.offsets).to(device),
        )


def bag_sums(table: Tensor, bag: TorchBag) -> Tensor:
    """Σ weight * table[slot] of each entity [e, d]."""
    return embedding_bag(
        bag.slots, table, bag.offsets, mode="sum", per_sample_weights=bag.weights, include_last_offset=True
    )


def unit(vectors: Tensor) -> Tensor:
    """Rows at length 1 (zero rows stay zero)."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    directions: Tensor = vectors / lengths.clamp_min(SHORTEST)
    return directions


def item_vectors(id_parts: Tensor, content: Tensor | None, norms: Tensor) -> Tensor:
    """Item vectors [c, d] from id parts [c, d], content parts [c, d] and lengths [c]."""
    parts = id_parts if content is None else id_parts + content
    return unit(parts) * norms.unsqueeze(1)


@dataclass(frozen=True)
class Histories:
    """Recent events of b users, ragged; every array but the offsets has one entry per event."""

    places: Tensor
    """Which row of the item vectors of the step."""
    weights: Tensor
    """Of the events."""
    positions: Tensor
    """0 for the newest event of a user, rising into the past, below L."""
    owners: Tensor
    """Which user of the batch, ascending."""
    offsets: Tensor
    """[b + 1]"""


def user_vectors(
    dense: dict[str, Tensor], histories: Histories, items: tuple[Tensor, Tensor], features: Tensor | None
) -> Tensor:
    """Query vectors [b, d] of unit length.

    `items` are the item vectors [c, d] and pooling weights [c] of the step, `features` summed embeddings [b, d].
    """
    vectors, pool = items
    attention = histories.weights * dense["positions"][histories.positions]
    bag = TorchBag(histories.places, attention * pool[histories.places], histories.offsets)
    squares = attention.new_zeros(len(histories.offsets) - 1).index_add(0, histories.owners, attention.square())
    x = bag_sums(vectors, bag) / (squares.unsqueeze(1) + POOL_EPSILON).sqrt()
    x = x + dense["output_bias"] if features is None else x + features + dense["output_bias"]
    if dense["hidden_bias"].numel():
        x = x + torch.relu(x @ dense["hidden_weight"] + dense["hidden_bias"]) @ dense["output_weight"]
    return unit(x)
