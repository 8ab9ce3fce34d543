"""The vector index: a query vector in, the best rows with their scores out.

`VectorIndex` is the protocol that retrieval searches through; `ExactIndex` is the local version, an exact scan over
the (memory-mapped) vectors of a release. It is also the fallback where a search engine does not answer, and the recall
oracle of one. It does not know users, items or eligibility beyond a restriction.

Why a scan: a single query over 100,000 × 64 costs 1 ms of CPU, about what talking to a search engine costs.
"""

from __future__ import annotations

from collections.abc import Mapping
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

BLOCK_SCORES: Final = 4_000_000
"""Scores that `search_many` holds at once (16 MB)."""


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
        Places that nothing fills are row -1, score -inf. Memory is bounded by BLOCK_SCORES, not by B. All items must be
        held.
        """
        vectors = self.vectors[model_name]
        rows = np.full((len(queries), k), -1, np.int32)
        found = np.full((len(queries), k), -np.inf, np.float32)
        block = max(1, BLOCK_SCORES // max(1, len(vectors)))
        for first in range(0, len(queries), block):
            here = slice(first, first + block)
            scores = queries[here] @ vectors.T
            if excluded is not None:
                _strike_out(scores, excluded[0], excluded[1][first : first + len(scores) + 1])
            _best_of_rows(scores, k, rows[here], found[here])
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


def _strike_out(scores: Floats, rows: NDArray[np.integer], offsets: NDArray[np.integer]) -> None:
    owners = np.repeat(np.arange(len(scores)), np.diff(offsets))
    struck = rows[offsets[0] : offsets[-1]]
    known = struck >= 0
    scores[owners[known], struck[known]] = -np.inf


def _best_of_rows(scores: Floats, k: int, rows: Rows, found: Floats) -> None:
    """Fill `rows`, `found` [b, k] with the best of each line of `scores` [b, n]."""
    for line, line_scores in enumerate(scores):
        best = best_positions(line_scores, k)
        rows[line, : len(best)] = best
        found[line, : len(best)] = line_scores[best]
