"""The user tower's forward pass in numpy: history and features → query vectors.

    newest-first position p of an event:  a = event weight × positions[p]
    h = Σ a_j pool_weight_j v_j / sqrt(Σ a_j² + 1e-6)        v = item vectors (`two_tower`)
    x = h + Σ weight_k × slots[slot_k] + output_bias + depth[of so many events]
    x = x + Σ_heads (Σ s_j w_j d_j / Σ s_j |w_j|) V           only where the tower has heads
        s_j = exp(x M · d_j + recency[p])                     d = v at length 1, w = event weight
    x = x + relu(x W₁ + b₁) W₂                               only where the tower has hidden units
    q = x / max(|x|, 1e-6),  score(item) = q · v

Where events have no order, the tower has a crowd instead of heads, and a query is folded in. A history says which
vector is right: the one under which its items are likely. From q the user climbs that likelihood some steps, towards
the mean of the history's vectors and away from what is likely anyway, for which the crowd stands; ALS solves its normal
equations for the same reason:

    q = (q + stride × (mean of v - Σ p_k c_k)) at length 1, FOLD_STEPS times    p = softmax(sharpness × q · c + bias)

Training mirrors this in torch; golden cases hold the two together to 1e-5. An empty history pools to zero, so a user
of whom nothing is known gets the direction of `output_bias`. It does not know ids or requests. Routing encodes one
user a request with `encode_user`; evaluation, probes and the batch job encode many with `encode_users`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.feature_encoder import Bag
from contracts.fitted import FOLD_STEPS, SHORTEST, Floats, ItemArrays, TowerArrays, depths

POOL_EPSILON: Final = np.float32(1e-6)
"""Under the root of the pooling norm: an empty history divides by 1e-3 instead of zero, also in the gradient."""

BLOCK_EVENTS: Final = 1 << 16
"""Events pooled at once: 16 MB of gathered vectors at d = 64, whatever the number of users."""
FOLDED_AT_ONCE: Final = 4_096
"""Users folded in at once: 8 MB of shares of a crowd of 512."""


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
    vectors = items.vectors("two_tower", rows)
    attention = weights * tower.positions[: len(rows)]
    x = (attention * items.pool_weight[rows]) @ vectors
    x /= np.sqrt(attention @ attention + POOL_EPSILON)
    if features is not None and len(features[0]):
        slots, slot_weights = features
        x += slot_weights @ tower.slots[slots]
    x += tower.output_bias
    if len(tower.depth):
        x += tower.depth[depths(len(rows))]
    if len(tower.match) and len(rows):
        x += _attended(tower, _directions(vectors), weights, x)
    query = _towards_items(tower, x)
    if len(tower.crowd) and (size := np.abs(weights).sum()) > 0:
        query = _folded_in(tower, query, (weights @ vectors / size).astype(np.float32))
    return query


def _folded_in(tower: TowerArrays, queries: Floats, means: Floats) -> Floats:
    """Queries [d] or [B, d] folded in, `means` of the same shape."""
    for _ in range(FOLD_STEPS):
        shares = queries @ tower.crowd.T
        shares *= np.float32(tower.sharpness)
        shares += tower.crowd_bias
        shares -= shares.max(axis=-1, keepdims=True)
        np.exp(shares, out=shares)
        shares /= shares.sum(axis=-1, keepdims=True)
        queries = (queries + tower.stride * (means - shares @ tower.crowd)).astype(np.float32, copy=False)
        queries /= np.maximum(np.sqrt(np.vecdot(queries, queries)), SHORTEST)[..., None]
    return queries


def _directions(vectors: Floats) -> Floats:
    """Rows [events, d] at length 1; changes them in place."""
    vectors /= np.maximum(np.sqrt(np.vecdot(vectors, vectors)), SHORTEST)[:, None]
    return vectors


def _attended(tower: TowerArrays, directions: Floats, weights: NDArray[np.floating], x: Floats) -> Floats:
    """What the heads read of the history of one user [d], newest first; `x` [d] as it is before."""
    logits = (x @ tower.match) @ directions.T  # [H, events]
    logits += tower.recency[:, : len(directions)]
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits, out=logits)
    totals = np.maximum(shares @ np.abs(weights), SHORTEST)
    read = (shares * weights) @ directions
    read /= totals[:, None]
    said: Floats = read.reshape(-1) @ tower.value.reshape(-1, tower.value.shape[2])
    return said


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
    norms = np.sqrt(_sums(attention.astype(np.float64) ** 2, offsets) + POOL_EPSILON)
    x /= norms[:, None]
    if len(features.slots):
        x += _segment_sums(tower.slots.__getitem__, features.slots, features.weights, features.offsets)
    x += tower.output_bias
    if len(tower.depth):
        x += tower.depth[depths(np.diff(offsets))]
    if len(tower.match):
        for users in _blocks(offsets):
            x[users] += _all_attended(tower, items, (rows, weights, positions, offsets), users, x[users])
    queries = _towards_items(tower, x)
    if len(tower.crowd):
        sizes = _sums(np.abs(weights), offsets)
        means = _segment_sums(partial(items.vectors, "two_tower"), rows, weights, offsets)
        means /= np.maximum(sizes, SHORTEST)[:, None]
        known = np.flatnonzero(sizes > 0)
        for some in np.split(known, range(FOLDED_AT_ONCE, len(known), FOLDED_AT_ONCE)):
            queries[some] = _folded_in(tower, queries[some], means[some])
    return queries


def _blocks(offsets: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
    """Users who have events, in blocks of about BLOCK_EVENTS."""
    filled = np.flatnonzero(np.diff(offsets))
    cuts = np.flatnonzero(np.diff(offsets[filled + 1] // BLOCK_EVENTS)) + 1
    return (block for block in np.split(filled, cuts) if len(block))


def _all_attended(
    tower: TowerArrays,
    items: ItemArrays,
    events: tuple[NDArray[np.integer], NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]],
    users: NDArray[np.int64],
    x: Floats,
) -> Floats:
    """`_attended` of a block of users [b, d] who have events; `events` are rows, weights, positions and offsets."""
    rows, weights, positions, offsets = events
    block = slice(int(offsets[users[0]]), int(offsets[users[-1] + 1]))
    lengths = offsets[users + 1] - offsets[users]
    owners, starts = np.repeat(np.arange(len(users)), lengths), np.cumsum(lengths) - lengths
    directions = _directions(items.vectors("two_tower", rows[block]))
    heavy, sign = np.abs(weights[block]), np.sign(weights[block])
    said = np.zeros_like(x)
    for match, value, recency in zip(tower.match, tower.value, tower.recency, strict=True):
        logits = np.vecdot(directions, (x @ match)[owners]) + recency[positions[block]]
        shares = np.exp(logits - np.maximum.reduceat(logits, starts)[owners]) * heavy
        totals = np.maximum(np.add.reduceat(shares, starts), SHORTEST)
        read = np.add.reduceat(directions * (shares * sign)[:, None], starts, axis=0) / totals[:, None]
        said += read.astype(np.float32) @ value
    return said


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


def _sums(values: NDArray[np.floating], offsets: NDArray[np.integer]) -> Floats:
    """Sum of the values [events] of each segment [B]."""
    before = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    sums: Floats = (before[offsets[1:]] - before[offsets[:-1]]).astype(np.float32)
    return sums


def _towards_items(tower: TowerArrays, x: Floats) -> Floats:
    """Residual layer and normalisation, [d] or [B, d]; changes `x` in place."""
    if len(tower.hidden_bias):
        hidden = x @ tower.hidden_weight
        hidden += tower.hidden_bias
        x += np.maximum(hidden, 0, out=hidden) @ tower.output_weight
    x /= np.maximum(np.sqrt(np.vecdot(x, x)), SHORTEST)[..., None]
    return x
