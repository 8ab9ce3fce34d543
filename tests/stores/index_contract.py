"""What every vector index must do, on a small world whose right answers are a full sort.

`check_contract` runs over the exact index, over OpenSearch, and over broken copies of both, which must fail it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from contracts.deadline import Deadline
from contracts.restriction import AnyOf, Clause, Restriction, Within
from stores.vector_index import VectorIndex

N_ITEMS, DIM = 300, 16
GENRES = ("drama", '{"$ne":1}', "*", "_all")
"""A category of the field `genre` each, in turn; three of them look like syntax."""
YEARS = np.arange(N_ITEMS, dtype=np.float64)
"""The field `year`."""
FIELDS = {"genre": "f0", "year": "f1"}

_rng = np.random.default_rng(5)
VECTORS = {name: _rng.standard_normal((N_ITEMS, DIM)).astype(np.float32) for name in ("two_tower", "als")}
QUERIES = _rng.standard_normal((5, DIM)).astype(np.float32)


def restriction(*clauses: Clause) -> Restriction:
    """Clauses with the mask that they mean."""
    mask = np.ones(N_ITEMS, np.bool_)
    for clause in clauses:
        if isinstance(clause, AnyOf):
            mask &= np.array([GENRES[row % len(GENRES)] in clause.values for row in range(N_ITEMS)])
        else:
            low, high = (-np.inf if clause.gte is None else clause.gte), (np.inf if clause.lte is None else clause.lte)
            mask &= (low <= YEARS) & (high >= YEARS)
    return Restriction(clauses, mask)


RESTRICTIONS: dict[str, Restriction | None] = {
    "none": None,
    "one value": restriction(AnyOf("genre", ("drama",))),
    "values like syntax": restriction(AnyOf("genre", GENRES[1:3])),
    "no value": restriction(AnyOf("genre", ())),
    "a range": restriction(Within("year", 10, 60)),
    "half a range": restriction(Within("year", gte=290)),
    "both": restriction(AnyOf("genre", ("_all",)), Within("year", lte=100)),
    "nothing matches": restriction(Within("year", gte=10_000)),
}


def check_contract(index: VectorIndex) -> None:
    """Raise AssertionError where the index does not do what `VectorIndex` promises."""
    for model_name, vectors in VECTORS.items():
        for query in QUERIES:
            for k in (1, 10, N_ITEMS, N_ITEMS + 50):
                for name, allowed in RESTRICTIONS.items():
                    _check(index, model_name, vectors @ query, query, k, name, allowed)


def _check(
    index: VectorIndex, model_name: str, scores: Any, query: Any, k: int, name: str, allowed: Restriction | None
) -> None:
    rows, found = index.search(model_name, query, k, allowed, Deadline.never())
    possible = scores if allowed is None else np.where(allowed.mask, scores, -np.inf)
    best = np.argsort(-possible, kind="stable")[: min(k, int((possible > -np.inf).sum()))]
    assert rows.tolist() == best.tolist(), (model_name, k, name)
    assert np.abs(found - scores[best]).max(initial=0) < 1e-4, (model_name, k, name)
    assert rows.dtype == np.int32


class Broken:
    """An index whose answers go through something that spoils them."""

    def __init__(self, index: VectorIndex, spoil: Callable[[Any, Any], tuple[Any, Any]], deaf: bool = False) -> None:
        """`deaf`: it does not hear the restriction."""
        self._index, self._spoil, self._deaf = index, spoil, deaf

    def search(self, model_name: str, query: Any, k: int, restriction: Any, deadline: Deadline) -> tuple[Any, Any]:
        return self._spoil(*self._index.search(model_name, query, k, None if self._deaf else restriction, deadline))


BREAKAGES: dict[str, Callable[[VectorIndex], Broken]] = {
    "worst first": lambda index: Broken(index, lambda rows, scores: (rows[::-1], scores[::-1])),
    "deaf to filters": lambda index: Broken(index, lambda rows, scores: (rows, scores), deaf=True),
    "engine scores": lambda index: Broken(index, lambda rows, scores: (rows, scores + 1)),
    "one short": lambda index: Broken(index, lambda rows, scores: (rows[:-1], scores[:-1])),
    "another row": lambda index: Broken(index, lambda rows, scores: ((rows + 1) % N_ITEMS, scores)),
    "one twice": lambda index: Broken(index, lambda rows, scores: (np.repeat(rows, 2), np.repeat(scores, 2))),
}
