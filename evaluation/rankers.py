"""Rankers: everything that can be judged, behind one question: the best k items for these users.

All rank the whole catalogue (no sampled negatives) and leave out what the user has. The two models answer through the
encoders and the index that serve. Users are worked off in blocks, so memory is bounded by the catalogue, not by the
number of users. The whole policy, routing and re-ranking included, is `evaluation.served`. `evaluation.judge` calls
rankers; the backtest, the gate and the benchmarks build them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.feature_encoder import Bag
from contracts.fitted import AlsArrays, FittedModel, Floats, Rows
from contracts.interactions import Interactions
from contracts.segments import GLOBAL_KEY, segment_keys
from evaluation.pairs import PairSet
from evaluation.splits import Split
from retrieval.als import fold_in_many
from retrieval.user_tower import encode_users
from stores.vector_index import ExactIndex

BLOCK_FLOATS: Final = 8_000_000
"""Scores or list places held at once: 32 MB as float32, and some times as much while the best are picked."""

BLOCK_USERS: Final = 4_096
"""Users encoded at once: 1 MB of queries, and their histories."""


class Ranker(Protocol):
    """The best items for users."""

    def rank(self, users: NDArray[np.integer], k: int) -> Rows:
        """Rows [B, k] for user codes [B], best first, -1 where the ranker has no more to say."""
        ...


class OrderedListRanker:
    """The same list for everybody of a group: popularity, and popularity by segment.

    `orders` [list][m] item rows, best first; `list_of` [n_users] which list a user is shown.
    """

    def __init__(
        self, orders: Sequence[NDArray[np.integer]], list_of: NDArray[np.integer], known: Interactions
    ) -> None:
        self._orders, self._list_of, self._known = orders, list_of, known
        self._pairs = PairSet(known)

    def rank(self, users: NDArray[np.integer], k: int) -> Rows:
        """See `Ranker.rank`."""
        rows: Rows = np.full((len(users), k), -1, np.int32)
        for places, fetch in self._blocks(users, k):
            for number in np.unique(self._list_of[users[places]]):
                mine = places[self._list_of[users[places]] == number]
                best = self._orders[number][:fetch]
                rows[mine] = self._unknown(users[mine], np.broadcast_to(best, (len(mine), len(best))), k)
        return rows

    def _blocks(self, users: NDArray[np.integer], k: int) -> Iterator[tuple[NDArray[np.intp], int]]:
        """Places in `users`, those of similar history length together, and how many items their lists must hold."""
        needed = np.minimum(self._known.lengths[users] + k, self._known.n_items)
        order = np.argsort(needed, kind="stable")
        while len(order):
            fetch = int(needed[order[-1]])
            size = max(1, BLOCK_FLOATS // max(fetch, 1))
            yield order[-size:], fetch
            order = order[:-size]

    def _unknown(self, users: NDArray[np.integer], rows: NDArray[np.integer], k: int) -> Rows:
        """The first k of each line of `rows` [B, m] that are not known to its user → [B, k], -1 padded."""
        keep: NDArray[np.bool_] = ~self._pairs.holds(users, rows)
        first = np.argsort(~keep, axis=1, kind="stable")[:, :k]
        kept: Rows = np.full((len(rows), k), -1, np.int32)
        chosen = np.where(np.take_along_axis(keep, first, 1), np.take_along_axis(rows, first, 1), -1)
        kept[:, : first.shape[1]] = chosen
        return kept


def popularity_order(weights: NDArray[np.number]) -> Rows:
    """Items with any weight [n_items], heaviest first; ties by row."""
    order = np.argsort(-weights, kind="stable")
    return order[: np.count_nonzero(weights > 0)].astype(np.int32)


def popularity_ranker(order: Rows, known: Interactions) -> OrderedListRanker:
    """One list for everybody: `order` [m], the most popular item first."""
    return OrderedListRanker([order], np.zeros(known.n_users, np.int8), known)


def popular_list(model: FittedModel, train: Interactions) -> Rows:
    """The global popularity table as it serves (decayed where training chose so), then all others by their events."""
    table, rest = _table(model, GLOBAL_KEY), popularity_order(train.item_counts())
    return np.concatenate([table, rest[~np.isin(rest, table)]])


def segment_popularity_ranker(model: FittedModel, users: pl.DataFrame, split: Split) -> OrderedListRanker:
    """The popularity table of each user's segment, the one that routing would choose, then the list for everybody.

    `users`: a row of features for every user of the split, in code order.
    """
    combinations, list_of = _segments(users, [name for name in model.schema.segment if name in users.columns])
    everybody = popular_list(model, split.train)
    keys = [_table_key(model, features) for features in combinations]
    tables = [_table(model, key) for key in keys]
    orders = [np.concatenate([table, everybody[~np.isin(everybody, table)]]) for table in tables]
    return OrderedListRanker(orders, list_of, split.known)


def _segments(users: pl.DataFrame, names: list[str]) -> tuple[list[dict[str, Any]], NDArray[np.integer]]:
    """The different combinations of segment features, and the number of each user's [n_users]."""
    if not names:
        return [{}], np.zeros(users.height, np.int32)
    combinations = users.select(names).unique(maintain_order=True).with_row_index("list")
    joined = users.select(names).join(combinations, on=names, how="left", nulls_equal=True, maintain_order="left")
    return combinations.drop("list").to_dicts(), joined["list"].to_numpy()


def _table_key(model: FittedModel, features: Mapping[str, Any]) -> str:
    keys = segment_keys(model.schema.segment, features)
    return next((key for key in keys if model.popularity.get(key) is not None), GLOBAL_KEY)


def _table(model: FittedModel, key: str) -> Rows:
    found = model.popularity.get(key)
    return np.empty(0, np.int32) if found is None else found[0]


Encode = Callable[[NDArray[np.integer]], Floats]
"""User codes [B] → query vectors [B, d]."""


class VectorRanker:
    """A model of the index: encode users, search item vectors exactly.

    `encode` users [B] → queries [B, d]; `vectors` [n_items, d].
    """

    def __init__(self, encode: Encode, vectors: Floats, known: Interactions) -> None:
        self._encode, self._index, self._known = encode, ExactIndex({"model": vectors}), known

    def rank(self, users: NDArray[np.integer], k: int) -> Rows:
        """See `Ranker.rank`. A user whose query is zero (nothing to go by) gets an empty list."""
        rows: Rows = np.full((len(users), k), -1, np.int32)
        for first in range(0, len(users), BLOCK_USERS):
            block = users[first : first + BLOCK_USERS]
            queries, known = self._encode(block), self._known.take(block)
            found, _ = self._index.search_many("model", queries, k, (known.items, known.offsets))
            answerable: NDArray[np.bool_] = np.any(queries != 0, axis=1)
            rows[first : first + BLOCK_USERS] = np.where(answerable[:, None], found, -1)
        return rows


def tower_encoder(model: FittedModel, histories: Interactions, features: Bag) -> Encode:
    """The user tower's forward pass, as it serves. `histories` in the item rows of `model`; `features`: a bag of user
    slots for every user of them.
    """

    def encode(users: NDArray[np.integer]) -> Floats:
        past = histories.take(users)
        bags = features.take(users)
        return encode_users(model.tower, model.items, past.items, past.weights, past.offsets, bags)

    return encode


def als_encoder(als: AlsArrays, factors: Floats, histories: Interactions) -> Encode:
    """ALS fold-in from the history, as it serves. `factors` [n_items, d]."""

    def encode(users: NDArray[np.integer]) -> Floats:
        past = histories.take(users)
        return fold_in_many(als, factors, past.items, past.weights, past.offsets)

    return encode


def two_tower_ranker(model: FittedModel, split: Split, features: Bag) -> VectorRanker:
    """The user tower over the index. `features`: a bag of user slots for every user of the split."""
    return VectorRanker(tower_encoder(model, split.histories, features), model.items.two_tower, split.known)


def als_ranker(als: AlsArrays, factors: Floats, split: Split) -> VectorRanker:
    """ALS with every user folded in from their history. `factors` [n_items, d]."""
    return VectorRanker(als_encoder(als, factors, split.histories), factors, split.known)


class ItemKnnRanker:
    """Item-kNN: score = sum of the similarities of an item to the user's items.

    `similarity` [n_items, n_items] sparse; row i holds how similar its neighbours are to item i. Deshpande and Karypis,
    "Item-based top-N recommendation algorithms", TOIS 2004.
    """

    def __init__(self, similarity: sp.csr_array, split: Split) -> None:
        self._similarity, self._histories, self._known = similarity, split.histories, split.known

    def rank(self, users: NDArray[np.integer], k: int) -> Rows:
        """See `Ranker.rank`. Items that are no neighbour of anything in the history are not ranked."""
        size = max(1, BLOCK_FLOATS // max(self._known.n_items, 1))
        rows: Rows = np.full((len(users), k), -1, np.int32)
        for first in range(0, len(users), size):
            block = users[first : first + size]
            best = top_k(self._scores(block), k)
            rows[first : first + size, : best.shape[1]] = best
        return rows

    def _scores(self, users: NDArray[np.integer]) -> Floats:
        past, known = self._histories.take(users), self._known.take(users)
        taken = sp.csr_array((past.weights, past.items, past.offsets), shape=(len(users), past.n_items))
        scores: Floats = (taken @ self._similarity).toarray().astype(np.float32)
        scores[scores <= 0] = -np.inf
        scores[known.users, known.items] = -np.inf
        return scores


def top_k(scores: Floats, k: int) -> Rows:
    """Rows of the k best scores of each line [B, min(k, n)], best first; -1 where a score is -inf."""
    k = min(k, scores.shape[1])
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, part, axis=1)
    order = np.lexsort((part, -values), axis=1)
    best, value = np.take_along_axis(part, order, axis=1), np.take_along_axis(values, order, axis=1)
    rows: Rows = np.where(np.isneginf(value), -1, best).astype(np.int32)
    return rows
