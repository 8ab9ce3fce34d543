"""Diversity: choosing items one after the other, each against what was already chosen. Both methods are exact.

Category penalty. The greedy rule "take the best of score − penalty × (items of its category before it)" needs no loop:
within a category items are taken by score, so the j-th of a category always pays j penalties, and taking the best
head of several falling lists is a merge, which is a sort by `score − penalty × j`. O(c log c) in all.

MMR (Carbonell and Goldstein 1998). Take the best of `λ · score − (1 − λ) · max cosine to what is chosen`. The maxima
are kept and raised by one row of cosines per item chosen: O(k · c · d), and no Gram matrix.

Ties go to the candidate that comes first. Positions refer to candidates sorted best first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Positions = NDArray[np.intp]


class Diversity(Protocol):
    """A way to choose k of the candidates."""

    @property
    def categories(self) -> NDArray[np.integer]:
        """[c] of the candidates, -1: none."""
        ...

    @property
    def cap(self) -> int:
        """Most of one category; 0: no cap."""
        ...

    def choose(self, scores: Floats, pool: Positions, k: int, chosen: Positions) -> tuple[Positions, Floats]:
        """Up to k positions of `pool` in the order chosen, and what each scored then [≤ k].

        `scores` [c] falling, `pool` ascending positions to choose from, `chosen` positions that are already taken and
        count as being there before.
        """
        ...


@dataclass(frozen=True)
class CategoryPenalty:
    """`categories` [c] (-1: none, never penalised)."""

    categories: NDArray[np.integer]
    penalty: float
    cap: int = 0
    """Most of one category, counting `chosen`; those over it are taken only when nothing else is left. 0: no cap."""

    def choose(self, scores: Floats, pool: Positions, k: int, chosen: Positions) -> tuple[Positions, Floats]:
        categories = self.categories[pool]
        before = repeats(categories)
        if len(chosen):
            before += _counts_of(self.categories[chosen], categories)
        value = scores[pool] - np.float32(self.penalty) * before
        keys = (-value, before >= self.cap) if self.cap else (-value,)  # the last key counts first
        order = np.lexsort(keys)[:k]
        return pool[order], value[order]


def repeats(categories: NDArray[np.integer]) -> NDArray[np.float32]:
    """How many of the same category stand before each position [c]; 0 where the category is -1."""
    order = np.argsort(categories, kind="stable")
    grouped = categories[order]
    starts = np.searchsorted(grouped, grouped)
    before = np.empty(len(categories), np.float32)
    before[order] = np.arange(len(categories)) - starts
    before[categories < 0] = 0
    return before


def _counts_of(taken: NDArray[np.integer], categories: NDArray[np.integer]) -> NDArray[np.float32]:
    """How often each of `categories` occurs in `taken`; 0 for -1."""
    counts = np.bincount(taken[taken >= 0], minlength=int(categories.max(initial=0)) + 1).astype(np.float32)
    return np.where(categories >= 0, counts[categories], np.float32(0))


@dataclass(frozen=True)
class MaximalMarginalRelevance:
    """`directions` [c, d] unit vectors of the candidates, `relevance` λ. A cosine below 0 counts as 0."""

    directions: Floats
    relevance: float
    categories: NDArray[np.integer]
    """[c] for the cap; -1: none."""
    cap: int = 0
    """As in CategoryPenalty."""

    def choose(self, scores: Floats, pool: Positions, k: int, chosen: Positions) -> tuple[Positions, Floats]:
        directions, categories = self.directions[pool], self.categories[pool]
        relevance, strictness = np.float32(self.relevance) * scores[pool], np.float32(1 - self.relevance)
        nearest = self._nearest_so_far(directions, chosen)
        before = _counts_of(self.categories[chosen], categories)
        standing = relevance.copy()  # -inf where a candidate cannot be taken
        if self.cap:
            standing[before >= self.cap] = -np.inf
        picked: list[int] = []
        values: list[np.float32] = []
        for _ in range(min(k, len(pool))):
            best = int((standing - strictness * nearest).argmax())
            if standing[best] == -np.inf:  # only full categories are left, and a full slate is worth more than a cap
                standing, before = relevance.copy(), np.full(len(pool), -np.inf, np.float32)
                standing[picked] = -np.inf
                best = int((standing - strictness * nearest).argmax())
            picked.append(best)
            values.append(relevance[best] - strictness * nearest[best])
            np.maximum(nearest, directions @ directions[best], out=nearest)
            standing[best] = -np.inf
            if self.cap and categories[best] >= 0:
                same = categories == categories[best]
                before += same
                standing[same & (before >= self.cap)] = -np.inf
        return pool[picked], np.array(values, np.float32)

    def _nearest_so_far(self, directions: Floats, chosen: Positions) -> Floats:
        """Largest cosine [p] to what is already there."""
        nearest: Floats = (directions @ self.directions[chosen].T).max(axis=1, initial=0)
        return nearest
