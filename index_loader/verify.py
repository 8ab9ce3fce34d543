"""Does an index answer the probe queries of its release as exact search did?

Training ships real query vectors of held-out users with their exact answers, so that verifying only compares. Knows
the index by its protocol. `publish` calls it before the pointer can move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contracts.deadline import Deadline
from contracts.errors import VerificationFailed
from contracts.fitted import FittedModel
from stores.vector_index import VectorIndex

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from stores.search_index import OpenSearchIndex

RECALL_FLOOR: Final = 0.95
"""Below it, one recommendation in twenty is not what the model chose: a broken index, not an approximate one."""

_MAX_PROBES: Final = 200
"""Queries asked: the standard error of a mean recall near .95 is then below .005."""

_PROBE_MS: Final = 10_000
"""Time for one probe: nobody waits for the answer, but a dead index must not hang a night."""


EF_SEARCH_STEPS: Final = (100, 200, 400, 800, 1600)
"""Tried in turn: each doubles what a query looks at; at a million items 800 gave .986."""


def verify_loaded(client: OpenSearch, index: OpenSearchIndex, model: FittedModel) -> dict[str, Any]:
    """Hold a loaded index against its release, raising its `ef_search` until the probes are answered well enough.

    Raises VerificationFailed where documents are missing or the last step is still below RECALL_FLOOR.
    """
    count = int(client.count(index=index.name)["count"])
    if count != len(model.items):
        raise VerificationFailed(
            f"{index.name} holds {count} documents, the release has {len(model.items)} items.",
            fix="Load the missing parts, or prepare a new index.",
        )
    for index.ef_search in EF_SEARCH_STEPS[:-1]:
        try:
            return {"count": count, "ef_search": index.ef_search, **verify(index, model)}
        except VerificationFailed:
            continue
    index.ef_search = EF_SEARCH_STEPS[-1]
    return {"count": count, "ef_search": index.ef_search, **verify(index, model)}


def verify(index: VectorIndex, model: FittedModel) -> dict[str, Any]:
    """Figures of the comparison. Raises VerificationFailed below RECALL_FLOOR."""
    queries, exact = model.probes.queries[:_MAX_PROBES], model.probes.rows[:_MAX_PROBES]
    if len(queries) == 0:
        return {"probes": 0}
    recalls = [
        np.isin(expected, index.search("two_tower", query, len(expected), None, Deadline(_PROBE_MS))[0]).mean()
        for query, expected in zip(queries, exact, strict=True)
    ]
    figures = {
        "probes": len(queries),
        "k": exact.shape[1],
        "recall": float(np.mean(recalls)),
        "worst": float(min(recalls)),
    }
    if figures["recall"] < RECALL_FLOOR:
        raise VerificationFailed(
            f"the index finds {figures['recall']:.1%} of the top {exact.shape[1]}; the floor is {RECALL_FLOOR:.0%}.",
            fix="Load the index again from the release.",
        )
    return figures
