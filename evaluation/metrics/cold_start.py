"""Cold start: do new users and new items get anything, and is it right?

    cold_users_answered   = cold users with a non-empty list / cold users judged
    cold_users_hit@K      = cold users with a held-out positive in their first K / cold users judged
    cold_items_answered@K = cold items in the first K of anybody / cold items that somebody held out
    cold_items_hit@K      = cold items in the first K of a user who held them out / cold items that somebody held out

Cold means fewer events in training than the threshold (5). An answer is worth little without a hit and a hit rate
hides empty answers, so the two are always given together. Hit rate after Schein et al., "Methods and metrics for
cold-start recommendations", SIGIR 2002, taken from the user's and from the item's side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.interactions import Interactions
from evaluation.metrics.hits import Hits


def answered(rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """1 where a list `rows` [B, k] holds any item, else 0 [B]."""
    filled: NDArray[np.bool_] = np.any(rows >= 0, axis=1)
    return filled.astype(np.float64)


def items_answered(
    rows: NDArray[np.integer], cold: NDArray[np.bool_], test: Interactions, k: int
) -> NDArray[np.float64]:
    """For each cold item that somebody held out: 1 where it stands in anybody's first k, else 0 [n wanted]."""
    shown = np.zeros(test.n_items, bool)
    listed = rows[:, :k]
    shown[listed[listed >= 0]] = True
    return shown[wanted_cold_items(cold, test)].astype(np.float64)


def items_hit(
    rows: NDArray[np.integer], hits: Hits, cold: NDArray[np.bool_], test: Interactions, k: int
) -> NDArray[np.float64]:
    """For each cold item that somebody held out: 1 where one of those users has it in the first k, else 0."""
    reached = np.zeros(test.n_items, bool)
    reached[rows[:, :k][hits.found[:, :k]]] = True
    return reached[wanted_cold_items(cold, test)].astype(np.float64)


def wanted_cold_items(cold: NDArray[np.bool_], test: Interactions) -> NDArray[np.intp]:
    """Rows of the cold items (`cold` [n_items]) with a held-out event, ascending."""
    return np.flatnonzero(cold & (test.item_counts() > 0))
