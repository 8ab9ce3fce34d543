"""What changed between two releases: items, figures of training, and how alike their neighbourhoods are.

Vectors of two trainings do not share a space, so they are never compared directly; the neighbours of the same items
are. The CLI calls it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import FittedModel
from contracts.segments import GLOBAL_KEY
from stores.releases import Releases

_COMPARED_ITEMS: Final = 200
"""Most popular common items whose neighbours are compared: enough for a stable mean, milliseconds to scan."""
_NEIGHBOURS: Final = 10


def diff(store: Releases, before: str, after: str) -> dict[str, Any]:
    """Differences of two sealed releases. Raises ReleaseNotFound, ReleaseCorrupt."""
    manifests = [store.manifest(release) for release in (before, after)]
    old, new = (store.open(release) for release in (before, after))
    common_old, common_new = common_rows(old, new)
    metrics = {
        model: {
            name: {"before": manifests[0].metrics.get(model, {}).get(name), "after": value}
            for name, value in figures.items()
        }
        for model, figures in manifests[1].metrics.items()
    }
    return {
        "before": before,
        "after": after,
        "items": {
            "before": len(old.items),
            "after": len(new.items),
            "added": len(new.items) - len(common_new),
            "removed": len(old.items) - len(common_old),
        },
        "events": {"before": int(old.items.events.sum()), "after": int(new.items.events.sum())},
        "watermark": {"before": old.watermark, "after": new.watermark},
        "metrics": metrics,
        "overlap": {
            "popular_100": _popular_overlap(old, new),
            "neighbours_10": _neighbour_overlap(old, new, common_old, common_new),
        },
    }


def common_rows(old: FittedModel, new: FittedModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [c] of the items that both releases have, in the one and in the other."""
    rows = new.items.ids.rows(old.items.ids.text(row) for row in range(len(old.items)))
    known = rows >= 0
    return np.flatnonzero(known), rows[known].astype(np.int64)


def _popular_overlap(old: FittedModel, new: FittedModel) -> float:
    lists = [_popular_ids(model) for model in (old, new)]
    return len(lists[0] & lists[1]) / max(1, len(lists[1]))


def _popular_ids(model: FittedModel) -> set[bytes]:
    table = model.popularity.get(GLOBAL_KEY)
    return set() if table is None else {model.items.ids[int(row)] for row in table[0][:100]}


def _neighbour_overlap(
    old: FittedModel, new: FittedModel, rows_old: NDArray[np.int64], rows_new: NDArray[np.int64]
) -> float:
    """Mean share of the nearest common items (two-tower cosine) that stayed the same."""
    if len(rows_old) <= _NEIGHBOURS:
        return 1.0
    popular = np.argsort(-old.items.events[rows_old], kind="stable")[:_COMPARED_ITEMS]
    nearest = [_nearest(model, rows, popular) for model, rows in ((old, rows_old), (new, rows_new))]
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(*nearest, strict=True)]))


def _nearest(model: FittedModel, rows: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.int64]:
    vectors = model.items.two_tower[rows]
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosine = vectors[asked] @ vectors.T
    cosine[np.arange(len(asked)), asked] = -np.inf
    return np.argpartition(-cosine, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
