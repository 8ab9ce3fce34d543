"""The first step: is the release fit for an index, and then an empty index for it.

Everything that would make a load fail late, or worse, succeed wrongly, is looked at here, before anything exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from contracts.errors import IndexLoadFailed
from contracts.fitted import FittedModel
from contracts.index_document import MAX_ID_BYTES, IndexSettings, index_body, index_fields, index_name
from contracts.release import MODELS
from stores.releases import LocalReleases
from stores.tensor_files import forget_pages

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_BLOCK: Final = 65_536
"""Rows looked at together: 16 MB of vectors."""


def prepare(store: LocalReleases, client: OpenSearch, release: str, settings: IndexSettings | None = None) -> str:
    """Create an empty index for a release, under the next free run; returns its name.

    Raises IndexLoadFailed where the release cannot be indexed; nothing has been created then.
    """
    from opensearchpy.exceptions import RequestError

    manifest, model = store.manifest(release), store.open(release)
    check_vectors(model)
    body = index_body(manifest, index_fields(model.item_encoder), settings or IndexSettings())
    run = 1
    while True:
        name = index_name(release, run)
        try:
            client.indices.create(index=name, body=body)
        except RequestError as error:
            if error.error != "resource_already_exists_exception":
                raise IndexLoadFailed(f"{name}: cannot be created: {error.error}: {error.info}.") from error
            run += 1
        else:
            return name


def check_vectors(model: FittedModel) -> None:
    """Raise IndexLoadFailed, naming model, row and id, where an item cannot be indexed."""
    if not len(model.items):
        raise IndexLoadFailed("the release has no items.", fix="Train on data with items.")
    lengths = np.diff(model.items.ids.offsets)
    if lengths.max() > MAX_ID_BYTES:
        row = int(lengths.argmax())
        raise IndexLoadFailed(
            f"the id of row {row} has {lengths[row]} bytes; an index takes {MAX_ID_BYTES}.",
            fix="Give the item a shorter id.",
        )
    for name in MODELS:
        vectors = getattr(model.items, name)
        for first, block in _blocks(vectors):
            _check_block(model, name, first, block)
            forget_pages(vectors)


def _blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(vectors), _BLOCK):
        yield first, vectors[first : first + _BLOCK]


def _check_block(model: FittedModel, name: str, first: int, block: np.ndarray) -> None:
    finite = np.isfinite(block).all(axis=1)
    # an item without events and without neighbours has no ALS factor: it scores 0 and is found by the other model
    usable = finite & block.any(axis=1) if name == "two_tower" else finite
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        what = "is zero" if finite[row] else "is not finite"
        raise IndexLoadFailed(
            f"the {name} vector of item {model.items.ids.text(first + row)!r} (row {first + row}) {what}.",
            fix="Train again; the release that serves is not touched.",
        )
