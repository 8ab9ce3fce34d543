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
from contracts.fitted import DEPTHS, FOLD_STEPS
from training_job.lazy_adam import LazyTable
from training_job.sharded_table import Table

POOL_EPSILON = 1e-6
"""Under the root of the pooling norm: an empty history has no length, and sqrt(0) no gradient."""
SHORTEST = 1e-6
"""Smallest divisor of a normalisation: an item of which nothing is known stays a zero vector, never NaN."""
POOL_POWER = 0.15
"""Start of the learned exponent by which popularity damps an item's weight in a history: what everybody took says
little where catalogues are sparse (.3 was best on Gowalla), and all there is where they are dense (0 on MovieLens)."""
SLOT_SPREAD = 0.05
"""Start of embeddings of features: small beside the unit id part, so that content begins as a whisper."""
MATCH_SPREAD = 0.1
"""Start of what a head looks for: logits of about 1, so that it looks at something from the first step."""
VALUE_SPREAD = 0.02
"""And of what it says: a whisper."""
STRIDE = 0.6
"""Start of the length of a step of folding in."""


@dataclass
class Towers:
    """Every trained array. n items, d dimensions, L positions, h hidden units."""

    items: Table
    """[n, d] id parts; shared by the ranks of a training where they are very many."""
    item_slots: LazyTable
    """[n_item_slots, d] content parts."""
    user_slots: LazyTable
    """[n_user_slots, d]"""
    dense: dict[str, Tensor]
    """pool_power [], positions [L], hidden_weight [d, h], hidden_bias [h], output_weight [h, d], output_bias [d];
    depth [D, d]; of H heads match, value [H, d, d], recency [H, L]; crowd [K, d], crowd_bias [K], stride []."""

    @property
    def lazy(self) -> dict[str, Table]:
        return {"items": self.items, "item_slots": self.item_slots, "user_slots": self.user_slots}

    def forget_moments(self) -> None:
        """These are trained no further."""
        for table in self.lazy.values():
            table.forget_moments()

    def to(self, device: torch.device) -> Towers:
        """The same start on a device."""
        dense = {name: tensor.to(device) for name, tensor in self.dense.items()}
        return Towers(self.items.to(device), self.item_slots.to(device), self.user_slots.to(device), dense)


def fresh_towers(
    id_parts: NDArray[np.float32],
    n_slots: tuple[int, int],
    shape: tuple[int, int, int],
    random: np.random.Generator,
    crowd: NDArray[np.float32] | None = None,
) -> Towers:
    """Untrained towers around given id parts [n, d]; `n_slots` of (items, users), `shape` is (L, h, H).

    `crowd` [K, d] are directions that stand for the catalogue at first; none by default.
    """
    d = id_parts.shape[1]
    positions, hidden, heads = shape
    halves = 2.0 ** -(2 * torch.arange(heads) + 3)  # each head fades four times as slowly as the one before it

    def noise(*size: int, spread: float = SLOT_SPREAD) -> Tensor:
        return torch.from_numpy((random.standard_normal(size) * spread).astype(np.float32))

    dense = {
        "positions": torch.ones(positions),
        "hidden_weight": noise(d, hidden, spread=d**-0.5),  # keeps the variance of a unit input (He et al. 2015)
        "hidden_bias": torch.zeros(hidden),
        "output_weight": torch.zeros(hidden, d),  # the residual layer begins as nothing
        "output_bias": noise(d),
        "pool_power": torch.tensor(POOL_POWER),
        "depth": torch.zeros(DEPTHS if heads else 0, d),
        "match": noise(heads, d, d, spread=MATCH_SPREAD),
        "value": noise(heads, d, d, spread=VALUE_SPREAD),
        "recency": -halves.unsqueeze(1) * torch.arange(positions),
        "crowd": torch.zeros(0, d) if crowd is None else torch.from_numpy(crowd),
        "crowd_bias": torch.zeros(0 if crowd is None else len(crowd)),
        "stride": torch.tensor(STRIDE),
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
    """Sets of b users, ragged; every array but the offsets has one entry per event."""

    places: Tensor
    """Which row of the item vectors of the step."""
    weights: Tensor
    """Of the events."""
    owners: Tensor
    """Which user of the batch, ascending."""
    offsets: Tensor
    """[b + 1]"""


def pooled_vectors(
    dense: dict[str, Tensor],
    histories: Histories,
    items: tuple[Tensor, Tensor],
    features: Tensor | None,
    temperature: float,
) -> Tensor:
    """Query vectors [b, d] of unit length, of histories without order: no head looks at them.

    `items` are the item vectors [c, d] and pooling weights [c] of the step, `features` summed embeddings [b, d].
    """
    vectors, pool = items
    weights = histories.weights
    sums = weights.new_zeros(len(histories.offsets) - 1, 2)
    squares, sizes = sums.index_add(0, histories.owners, torch.stack([weights.square(), weights.abs()], 1)).unbind(1)
    bag = TorchBag(histories.places, weights * pool[histories.places], histories.offsets)
    x = bag_sums(vectors, bag) / (squares.unsqueeze(1) + POOL_EPSILON).sqrt()
    x = x + dense["output_bias"] if features is None else x + features + dense["output_bias"]
    query = unit(residual(dense, x))
    if not dense["crowd_bias"].numel():
        return query
    sizes = sizes.unsqueeze(1)
    means = bag_sums(vectors, TorchBag(histories.places, weights, histories.offsets)) / sizes.clamp_min(SHORTEST)
    return folded_in(dense, query, means, (sizes > 0).to(query), temperature)


def folded_in(dense: dict[str, Tensor], query: Tensor, means: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Queries [b, d] after some steps up the likelihood of their own histories; see `retrieval/user_tower.py`.

    `means` [b, d] of the item vectors of a history, `known` [b, 1] is 1 where there is one and 0 elsewhere.
    """
    for _ in range(FOLD_STEPS):
        shares = torch.softmax(query @ dense["crowd"].T / temperature + dense["crowd_bias"], dim=1)
        query = unit(query + dense["stride"] * known * (means - shares @ dense["crowd"]))
    return query


def residual(dense: dict[str, Tensor], x: Tensor) -> Tensor:
    """x [b, d] and what the hidden units make of it; x where there are none."""
    if not dense["hidden_bias"].numel():
        return x
    return x + torch.relu(x @ dense["hidden_weight"] + dense["hidden_bias"]) @ dense["output_weight"]
