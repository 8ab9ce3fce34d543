"""Is an index complete, and does it answer the probe queries of its release as exact search did?

Count, every id, a sample of whole documents, recall without and under every filter, and items asked for by their own
vectors; all of it is recorded in the publication. `publish` calls it before the pointer can move.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contracts.deadline import Deadline
from contracts.errors import VerificationFailed
from contracts.fitted import FittedModel
from index_loader.documents import Documents
from index_loader.load import Progress
from index_loader.read_back import SAMPLE, check_ids, check_sample
from index_loader.recall import PROBE_MS, VerifySettings, ask, check_floors, flat, model_probes, raise_recall
from stores.vector_index import VectorIndex

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from stores.search_index import OpenSearchIndex

_SELF: Final = 200
"""Items that are asked for by their own vector."""
_SELF_FLOOR: Final = 0.95
_SCORE_TOLERANCE: Final = 1e-3
"""Relative: an engine sums float32 in another order, or quantises."""


def verify_loaded(
    client: OpenSearch,
    index: OpenSearchIndex,
    model: FittedModel,
    settings: VerifySettings | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Hold a loaded index against its release; the report, with the `ef_search` that serves.

    Raises VerificationFailed where documents are missing or wrong, or recall stays below its floors.
    """
    begun = time.monotonic()
    tell = progress or (lambda _done, _total, _text: None)
    count = int(client.count(index=index.name)["count"])
    if count != len(model.items):
        raise VerificationFailed(
            f"{index.name} holds {count} documents, the release has {len(model.items)} items.",
            fix="Load the missing parts, or prepare a new index.",
        )
    draw = np.random.default_rng(0)
    rows = np.sort(draw.choice(len(model.items), min(SAMPLE, len(model.items)), replace=False))
    report = {
        "count": count,
        "ids_sha256": check_ids(client, index.name, model.items.ids, progress),
        "documents_compared": check_sample(client, index.name, Documents(model), rows),
    }
    report |= raise_recall(index, model, settings or VerifySettings(), tell)
    report["self_retrieval"] = _retrieve_themselves(index, model, rows[: _SELF * 10 : max(1, len(rows) // _SELF)])
    report["seconds"] = round(time.monotonic() - begun, 1)
    return report


def verify(index: VectorIndex, model: FittedModel, settings: VerifySettings | None = None) -> dict[str, Any]:
    """Figures of the unfiltered probes of both models. Raises VerificationFailed below the floor."""
    figures = {name: ask(index, asked) for name, asked in model_probes(model).items()}
    check_floors(figures, {}, settings or VerifySettings())
    return flat(figures)


def _retrieve_themselves(index: VectorIndex, model: FittedModel, rows: np.ndarray) -> dict[str, int]:
    """Ask for items by their own vectors: who outscores the last of the answer must be in it, at that score.

    Raises VerificationFailed where fewer than _SELF_FLOOR of them are, or one comes back with another score.
    """
    k, entitled, found = min(100, len(model.items)), 0, 0
    for row in rows.tolist():
        vector = np.array(model.items.two_tower[row])
        own = float(vector @ vector)
        answer, scores = index.search("two_tower", vector, k, None, Deadline(PROBE_MS))
        place = np.flatnonzero(answer == row)
        if len(place):
            if abs(scores[place[0]] - own) > _SCORE_TOLERANCE * max(1.0, own):
                raise VerificationFailed(
                    f"item {model.items.ids.text(row)!r} scores {scores[place[0]]:.4f} with itself, exactly {own:.4f}.",
                    fix="Load the release into a new index.",
                )
            entitled, found = entitled + 1, found + 1
        elif not len(scores) or own > scores[-1] * (1 + _SCORE_TOLERANCE):
            entitled += 1
    if found < _SELF_FLOOR * entitled:
        raise VerificationFailed(
            f"{found} of {entitled} items are found by their own vectors.", fix="Load the release into a new index."
        )
    return {"asked": len(rows), "entitled": entitled, "found": found}
