"""The first step: is the release fit for an index, and then an empty index for it.

Everything that would make a load fail late, or worse, succeed wrongly, is looked at here, before anything exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from contracts.errors import IndexLoadFailed
from contracts.feature_encoder import FeatureEncoder
from contracts.fitted import FittedModel
from contracts.ids import IdTable
from contracts.index_document import (
    MAX_ID_BYTES,
    MAX_TERM_BYTES,
    IndexSettings,
    index_body,
    index_fields,
    index_meta,
    index_name,
)
from contracts.release import MODELS, Manifest
from stores.releases import Releases
from stores.tensor_files import forget_pages

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_BLOCK: Final = 65_536
"""Rows looked at together: 16 MB of vectors."""


def prepare(store: Releases, client: OpenSearch, release: str, settings: IndexSettings | None = None) -> str:
    """Create an empty index for a release, under the next free run; returns its name.

    Raises IndexLoadFailed where the release cannot be indexed; nothing has been created then.
    """
    from opensearchpy.exceptions import RequestError

    manifest, model = store.manifest(release), store.open(release)
    check_sizes(model, manifest)
    check_ids(model.items.ids)
    check_terms(model.item_encoder)
    fields = index_fields(model.item_encoder)
    check_vectors(model)
    body = index_body(index_meta(manifest, fields), fields, settings or IndexSettings())
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


def check_sizes(model: FittedModel, manifest: Manifest) -> None:
    """Raise IndexLoadFailed where arrays are not of the size that the manifest, and so the mapping, says."""
    if not len(model.items):
        raise IndexLoadFailed("the release has no items.", fix="Train on data with items.")
    for name in MODELS:
        shape, expected = getattr(model.items, name).shape, (manifest.n_items, manifest.dim)
        if shape != expected:
            raise IndexLoadFailed(
                f"the {name} vectors are {list(shape)}, the manifest of {manifest.id} says {list(expected)}.",
                fix="Train again; both models must have the dimensions of the manifest.",
            )


def check_ids(ids: IdTable) -> None:
    """Raise IndexLoadFailed, naming the row, for an id that is too long, out of order or there twice."""
    lengths = np.diff(ids.offsets)
    if lengths.max() > MAX_ID_BYTES:
        row = int(lengths.argmax())
        raise IndexLoadFailed(
            f"the id of row {row} has {lengths[row]} bytes; an index takes {MAX_ID_BYTES}.",
            fix="Give the item a shorter id.",
        )
    for first in range(0, len(ids), _BLOCK):
        block = [ids[row] for row in range(first, min(first + _BLOCK + 1, len(ids)))]
        if any(map(bytes.__ge__, block[:-1], block[1:])):
            row = next(row for row, (one, two) in enumerate(pairwise(block), first + 1) if one >= two)
            raise IndexLoadFailed(
                f"the id {ids.text(row)!r} of row {row} repeats the one before it, or sorts before it.",
                fix="Train again; the release was not written by a training of this version.",
            )


def check_terms(encoder: FeatureEncoder) -> None:
    """Raise IndexLoadFailed, naming the feature, for a value that is too long to be filtered by."""
    keywords = {field.name for field in index_fields(encoder) if field.type == "keyword"}
    for vocabulary in encoder.fields:
        longest = max(vocabulary.terms, key=len, default="") if vocabulary.name in keywords else ""
        if (size := len(longest.encode())) > MAX_TERM_BYTES:
            raise IndexLoadFailed(
                f"a value of {vocabulary.name!r} has {size} bytes ({longest[:40]!r}…); an index takes "
                f"{MAX_TERM_BYTES}.",
                fix="Shorten the value, or make the feature a text.",
            )


def check_vectors(model: FittedModel) -> None:
    """Raise IndexLoadFailed, naming model, row and id, where a vector cannot be searched."""
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
