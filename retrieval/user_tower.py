"""The user tower's forward pass in numpy: history and features → query vectors.

    newest-first position p of an event:  a = event weight × positions[p]
    h = Σ a_j pool_weight_j v_j / sqrt(Σ a_j² + 1e-6)        v = item vectors (`two_tower`)
    x = h + Σ weight_k × slots[slot_k] + output_bias
    x = x + relu(x W₁ + b₁) W₂                               only where the tower has hidden units
    q = x / max(|x|, 1e-6),  score(item) = q · v

Training mirrors this in torch; golden cases hold the two together to 1e-5. An empty history pools to zero, so a user
of whom nothing is known gets the direction of `output_bias`. It does not know ids or requests. Routing encodes one
user a request with `encode_user`; evaluation, probes and the batch job encode many with `encode_users`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.feature_encoder import Bag
from contracts.fitted import SHORTEST, Floats, ItemArrays, TowerArrays

POOL_EPSILON: Final = np.float32(1e-6)
"""Under the root of the pooling norm: an empty history divides by 1e-3 instead of zero, also in the gradient."""

BLOCK_EVENTS: Final = 1 << 16
"""Events pooled at once: 16 MB of gathered vectors at d = 64, whatever the number of users."""


def encode_user(
    tower: TowerArrays,
    items: ItemArrays,
    rows: NDArray[np.integer],
    weights: NDArray[np.floating],
    features: tuple[NDArray[np.int32], NDArray[np.float32]] | None = None,
) -> Floats:
    """Query vector [d] of one user.

    `rows` [events] oldest first (-1 is skipped and takes no position), `weights` [events] of the event types,
    `features` slots and weights of the user encoder.
    """
    known = rows >= 0
    if not known.all():
        rows, weights = rows[known], weights[known]
    newest = len(tower.positions)
    rows, weights = rows[::-1][:newest], weights[::-1][:newest]
    attention = weights * tower.positions[: len(rows)]
    pooled = (attention * items.pool_weight[rows]) @ items.vectors("two_tower", rows)
    pooled /= np.sqrt(attention @ attention + POOL_EPSILON)
    if features is not None and len(features[0]):
        slots, slot_weights = features
        pooled += slot_weights @ tower.slots[slots]
    return _towards_items(tower, pooled)


def encode_users(
    tower: TowerArrays,
    items: ItemArrays,
    rows: NDArray[np.integer],
    weights: NDArray[np.floating],
    offsets: NDArray[np.integer],
    features: Bag,
) -> Floats:
    """Query vectors [B, d] of many users at once; the same numbers as `encode_user` one by one.

    `rows`, `weights` [events] oldest first within a user, user u owning offsets[u]:offsets[u + 1] (so the arrays of
    `Interactions` fit as they are); `features` B bags of user slots. Memory is bounded by BLOCK_EVENTS.
    """
    rows, weights, offsets = _readable(rows, weights, offsets, len(tower.positions))
    positions = np.repeat(offsets[1:], np.diff(offsets)) - 1 - np.arange(len(rows))
    attention = (weights * tower.positions[positions]).astype(np.float32)
    x = _segment_sums(partial(items.vectors, "two_tower"), rows, attention * items.pool_weight[rows], offsets)
    squares = np.concatenate([[0.0], np.cumsum(attention.astype(np.float64) ** 2)])
    norms = np.sqrt((squares[offsets[1:]] - squares[offsets[:-1]]).astype(np.float32) + POOL_EPSILON)
    x /= norms[:, None]
    if len(features.slots):
        x += _segment_sums(tower.slots.__getitem__, features.slots, features.weights, features.offsets)
    return _towards_items(tower, x)


def _readable(
    rows: NDArray[np.integer], weights: NDArray[np.floating], offsets: NDArray[np.integer], newest: int
) -> tuple[NDArray[np.integer], NDArray[np.floating], NDArray[np.int64]]:
    """The events that the tower reads: known items, the newest of each user."""
    known_before = np.concatenate([[0], np.cumsum(rows >= 0)])
    ends = known_before[offsets[1:]]
    position = np.repeat(ends, np.diff(offsets)) - 1 - known_before[:-1]
    read = (rows >= 0) & (position < newest)
    kept = np.minimum(np.diff(known_before[offsets]), newest)
    return rows[read], weights[read], np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)


def _segment_sums(
    read: Callable[[NDArray[np.integer]], Floats],
    rows: NDArray[np.integer],
    weights: NDArray[np.floating],
    offsets: NDArray[np.integer],
) -> Floats:
    """Σ weight × vector of the row per segment [B, d], a block of segments at a time; `read` gives vectors of rows."""
    sums = np.zeros((len(offsets) - 1, read(rows[:0]).shape[1]), np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    starts, ends = offsets[filled], offsets[filled + 1]
    first = 0
    while first < len(filled):
        begin = starts[first]
        last = max(first + 1, int(np.searchsorted(ends, begin + BLOCK_EVENTS, side="right")))
        block = slice(begin, ends[last - 1])
        gathered = read(rows[block]) * weights[block, None]
        sums[filled[first:last]] = np.add.reduceat(gathered, starts[first:last] - begin, axis=0)
        first = last
    return sums


def _towards_items(tower: TowerArrays, x: Floats) -> Floats:
    """Bias, residual layer and normalisation of pooled vectors, [d] or [B, d]; changes `x` in place."""
    x += tower.output_bias
    if len(tower.hidden_bias):
        hidden = x @ tower.hidden_weight
        hidden += tower.hidden_bias
        x += np.maximum(hidden, 0, out=hidden) @ tower.output_weight
    x /= np.maximum(np.sqrt(np.vecdot(x, x)), SHORTEST)[..., None]
    return x
