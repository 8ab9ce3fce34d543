"""The vector index: a query vector in, the best rows with their scores out.

`VectorIndex` is the protocol that retrieval searches through; `ExactIndex` is the local version, an exact scan over
the (memory-mapped) vectors of a release. It is also the fallback where a search engine does not answer, and the recall
oracle of one. It does not know users, items or eligibility beyond a restriction.

Why a scan: a single query over 100,000 × 64 costs 1 ms of CPU, about what talking to a search engine costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.deadline import Deadline
from contracts.restriction import Restriction

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]

SAMPLE: Final = 20_000
"""Most scores that are looked at to guess a threshold."""

SAMPLE_SHARE: Final = 8
"""In a small catalogue an eighth of the scores: partitioning them all would cost as much as the scan."""

GATHER_BELOW: Final = 0.1
"""A mask that lets through a smaller share is scored row by row: a gathered row costs about ten scanned ones."""

QUERIES_AT_ONCE: Final = 128
"""Of `search_many`: a product with fewer reads vectors for longer than it computes."""

TILE_ITEMS: Final = 4_096
"""Items whose scores `search_many` holds at once: 2 MB for 128 queries, which a core's cache keeps."""

TILED_SAMPLE: Final = 2_048
"""Items by which `search_many` guesses thresholds, more of a large catalogue: one in SAMPLED_EVERY, up to SAMPLE."""

SAMPLED_EVERY: Final = 100


class VectorIndex(Protocol):
    """Where item vectors are searched, one field per model."""

    def search(
        self, model_name: str, query: Floats, k: int, restriction: Restriction | None, deadline: Deadline
    ) -> tuple[Rows, Floats]:
        """The best k rows by inner product with `query` [d], best first, and their scores.

        Fewer than k only where fewer items pass `restriction` (None: all pass). Raises IndexUnavailable where the index
        cannot answer before `deadline`.
        """
        ...


class ExactIndex:
    """Exact search by scanning; memory-mapped vectors are fine."""

    def __init__(self, vectors: Mapping[str, Floats], head: Rows | None = None) -> None:
        """`vectors`: model name → [n, d], or [m, d] of the rows `head` [m], ascending, which alone are then found."""
        self.vectors = {name: np.asarray(matrix) for name, matrix in vectors.items()}
        self._head = head

    def search(
        self,
        model_name: str,
        query: Floats,
        k: int,
        restriction: Restriction | None = None,
        deadline: Deadline | None = None,  # noqa: ARG002  # a scan cannot be interrupted; the protocol has it
    ) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`. Equal scores are ordered by row; a NaN score is never returned."""
        places, scores = self._search(model_name, query, k, None if restriction is None else restriction.mask)
        return (places if self._head is None else self._head[places]).astype(np.int32), scores

    def _search(
        self, model_name: str, query: Floats, k: int, mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], Floats]:
        """The best places among `vectors`, and their scores."""
        vectors = self.vectors[model_name]
        if mask is None:
            scores = vectors @ query
            best = best_positions(scores, k)
            return best, scores[best]
        allowed = np.flatnonzero(mask if self._head is None else mask[self._head])
        sparse = len(allowed) < GATHER_BELOW * len(vectors)
        scores = vectors[allowed] @ query if sparse else (vectors @ query)[allowed]
        best = best_positions(scores, k)
        return allowed[best], scores[best]

    def search_many(
        self,
        model_name: str,
        queries: Floats,
        k: int,
        excluded: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None,
    ) -> tuple[Rows, Floats]:
        """The best k rows [B, k] and scores [B, k] of many queries [B, d], for evaluation and batch work.

        `excluded`: rows [m] and offsets [B + 1] of what each query must not find (the layout of `Interactions`).
        Places that nothing fills are row -1, score -inf. Memory is that of QUERIES_AT_ONCE × TILE_ITEMS scores and of
        what passes the thresholds, a few times k a query. All items must be held.
        """
        vectors = self.vectors[model_name]
        rows = np.full((len(queries), k), -1, np.int32)
        found = np.full((len(queries), k), -np.inf, np.float32)
        for first in range(0, len(queries) if k and len(vectors) else 0, QUERIES_AT_ONCE):
            here = slice(first, first + QUERIES_AT_ONCE)
            struck = _Struck(np.empty(0, np.int32), np.zeros(1, np.int64))
            if excluded is not None:
                struck = _Struck(excluded[0], excluded[1][first : first + len(queries[here]) + 1])
            _best_of_many(vectors, queries[here], struck, rows[here], found[here])
        return rows, found


def best_positions(scores: Floats, k: int) -> NDArray[np.int64]:
    """Positions of the k best of `scores` [n], best first, ties by position; NaN and -inf are never among them.

    Exact: the threshold guessed from a sample only has to let at least k through; if it does not, the true k-th best
    is found by partition.
    """
    n = len(scores)
    passing = np.empty(0, np.int64)
    if 0 < k < n and (threshold := _guess(scores, k)) > -np.inf:
        passing = (scores >= threshold).nonzero()[0]
    if len(passing) < k:
        passing = (scores > -np.inf).nonzero()[0]
        if k < len(passing):
            kth = np.partition(scores[passing], len(passing) - k)[len(passing) - k]
            passing = (scores >= kth).nonzero()[0]
    return passing[(-scores[passing]).argsort(kind="stable")[:k]]


def _guess(scores: Floats, k: int) -> np.float32:
    """A threshold that k scores pass almost surely, and not many more.

    The rank that k has in a strided sample, plus three standard deviations of how many of the best the sample holds.
    """
    sample = scores[:: max(SAMPLE_SHARE, len(scores) // SAMPLE)]
    expected = k * len(sample) / len(scores)
    rank = min(len(sample), int(expected + 3 * expected**0.5) + 1)
    threshold: np.float32 = np.partition(sample, len(sample) - rank)[len(sample) - rank]
    return threshold


class _Struck:
    """What each of some queries must not find, by row, so that every tile of scores finds its part."""

    def __init__(self, rows: NDArray[np.integer], offsets: NDArray[np.integer]) -> None:
        """`rows` [m] (-1 is ignored), those of query q being offsets[q]:offsets[q + 1]."""
        owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        rows = rows[offsets[0] : offsets[-1]]
        known = np.flatnonzero(rows >= 0)
        order = known[np.argsort(rows[known], kind="stable")]
        self._rows, self._owners = rows[order], owners[order]

    def out_of(self, scores: Floats, start: int, step: int = 1) -> Floats:
        """`scores` [b, t] of the rows start, start + step, …, with -inf in the places that are struck."""
        first, last = np.searchsorted(self._rows, [start, start + step * scores.shape[1]])
        if first < last:
            places, off = np.divmod(self._rows[first:last] - start, step)
            scores[self._owners[first:last][off == 0], places[off == 0]] = -np.inf
        return scores

    def of(self, query: int) -> NDArray[np.integer]:
        """The rows that one query must not find."""
        rows: NDArray[np.integer] = self._rows[self._owners == query]
        return rows


def _best_of_many(vectors: Floats, queries: Floats, struck: _Struck, rows: Rows, found: Floats) -> None:
    """Fill `rows`, `found` [b, k] with the best of QUERIES_AT_ONCE queries [b, d] at the most.

    As `best_positions`: a sample gives each query a threshold, then only what passes is kept of every tile of scores.
    """
    k, step = rows.shape[1], max(1, len(vectors) // max(TILED_SAMPLE, min(SAMPLE, len(vectors) // SAMPLED_EVERY)))
    thresholds = _guesses(struck.out_of(queries @ vectors[::step].T, 0, step), k / len(vectors))
    offsets, passing, scores = _passing(vectors, queries, struck, thresholds)
    for query, (first, last) in enumerate(pairwise(offsets)):
        best = (-scores[first:last]).argsort(kind="stable")[:k] + first
        if len(best) == k or thresholds[query] == -np.inf:
            rows[query, : len(best)], found[query, : len(best)] = passing[best], scores[best]
            continue
        whole = vectors @ queries[query]  # the sample lied, or a NaN was in it
        whole[struck.of(query)] = -np.inf
        best = best_positions(whole, k)
        rows[query, : len(best)], found[query, : len(best)] = best, whole[best]


def _guesses(sampled: Floats, share: float) -> Floats:
    """Thresholds [b] that a `share` of all scores pass almost surely; `sampled` [b, s]. See `_guess`."""
    size = sampled.shape[1]
    expected = share * size
    rank = min(size, int(expected + 3 * expected**0.5) + 1)
    thresholds: Floats = np.partition(sampled, size - rank, axis=1)[:, size - rank]
    return thresholds if rank < size else np.full(len(sampled), -np.inf, np.float32)


def _passing(vectors: Floats, queries: Floats, struck: _Struck, thresholds: Floats) -> tuple[list[int], Rows, Floats]:
    """Rows and scores that pass the threshold of their query, ascending; query q owns offsets[q]:offsets[q + 1]."""
    lines, places, scores = [], [], []
    for start in range(0, len(vectors), TILE_ITEMS):
        tile = struck.out_of(queries @ vectors[start : start + TILE_ITEMS].T, start)
        passing = np.flatnonzero(tile >= thresholds[:, None])
        line, place = np.divmod(passing, tile.shape[1])
        lines.append(line.astype(np.uint8))  # numpy sorts numbers so small by counting
        places.append((place + start).astype(np.int32))
        scores.append(tile.ravel()[passing])
    line, score = np.concatenate(lines), np.concatenate(scores)
    order = np.argsort(line, kind="stable")
    order = order[score[order] > -np.inf]
    offsets = np.searchsorted(line[order], np.arange(len(queries) + 1))
    return offsets.tolist(), np.concatenate(places)[order], score[order]
