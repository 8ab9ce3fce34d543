"""The fitted arrays of a release, typed: what training hands over and what serving answers from.

`FittedModel` is the whole of a trained recommender as numpy arrays. Training fills it, `to_bundle` names its arrays
for files, `from_bundle` reads them back with every shape checked. Evaluation is given a FittedModel directly; stores
write and open bundles without knowing what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.errors import ReleaseCorrupt
from contracts.feature_encoder import Bag, FeatureEncoder
from contracts.golden import GoldenCase
from contracts.ids import IdTable
from contracts.schema import DatasetSchema

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]

NEVER_EXPIRES: Final = np.iinfo(np.int64).max
UNKNOWN_TIME: Final = np.iinfo(np.int64).min


@dataclass(frozen=True)
class ItemArrays:
    """Everything known of the items, row by row in the byte order of their ids. n items, d dimensions."""

    ids: IdTable
    two_tower: Floats
    """[n, d] item vectors: direction from the item tower, norm from popularity; score = inner product."""
    als: Floats
    """[n, d] ALS item factors; an item without events has the TF-IDF-weighted mean of its hot neighbours'."""
    pool_weight: Floats
    """[n] factor of an item when a history is pooled (damps popular items)."""
    events: NDArray[np.int32]
    """[n] events at training time; below the threshold an item is cold."""
    category: Rows
    """[n] index into `FittedModel.categories`, -1 without one."""
    published: NDArray[np.int64]
    """[n] Unix seconds, UNKNOWN_TIME where not known."""
    expires: NDArray[np.int64]
    """[n] Unix seconds, NEVER_EXPIRES where it does not."""
    available: NDArray[np.bool_]
    """[n] at training time."""
    features: Bag
    """n bags of slots of the item encoder."""
    numbers: NDArray[np.float64]
    """[n, n_numeric] raw numeric and timestamp features in encoder field order (NaN = missing), for range filters."""

    def __len__(self) -> int:
        return len(self.two_tower)


@dataclass(frozen=True)
class TowerArrays:
    """The user tower. See `retrieval/user_tower.py` for the forward pass. d dimensions, h hidden units."""

    slots: Floats
    """[n_user_slots, d] embedding of user features."""
    positions: Floats
    """[L] weight of a history position, newest first; older events than L are not read. All ones without order."""
    hidden_weight: Floats
    """[d, h] (h = 0: no residual layer)."""
    hidden_bias: Floats
    """[h]"""
    output_weight: Floats
    """[h, d]"""
    output_bias: Floats
    """[d]; also the vector of a user of whom nothing is known."""
    item_slots: Floats
    """[n_item_slots, d] content part of the item tower: vectors for items that training never saw."""
    cold_norm: float
    """Norm of the vector of an item without events."""


@dataclass(frozen=True)
class AlsArrays:
    """What folding a user in needs (Hu, Koren, Volinsky 2008): confidence = 1 + alpha * weight."""

    gram: Floats
    """[d, d] = Y^T Y over the items that have events."""
    alpha: float
    regularisation: float


@dataclass(frozen=True)
class RankedLists:
    """Popularity tables, each a descending list of items under a key of `contracts/segments.py`."""

    keys: list[str]
    rows: Rows
    """[total]"""
    scores: Floats
    """[total] share of decayed, shrunken event weight in (0, 1]."""
    offsets: NDArray[np.int64]
    """[n_keys + 1]"""

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {key: number for number, key in enumerate(self.keys)}

    def get(self, key: str) -> tuple[Rows, Floats] | None:
        """Rows and scores of a key, or None where there is no such table."""
        if (number := self._numbers.get(key)) is None:
            return None
        span = slice(int(self.offsets[number]), int(self.offsets[number + 1]))
        return self.rows[span], self.scores[span]


@dataclass(frozen=True)
class ContentArrays:
    """TF-IDF over attributes and text: each item's nearest hot items."""

    idf: Floats
    """[n_item_slots] inverse document frequency of a slot."""
    neighbours: Rows
    """[n, k] nearest hot items (never itself), best first, -1 where there are fewer."""
    similarities: Floats
    """[n, k] cosine, 0 where there is no neighbour."""


@dataclass(frozen=True)
class ProbeArrays:
    """Real query vectors with their exact answers; an index is published only if it agrees."""

    queries: Floats
    """[p, d] two-tower query vectors of users."""
    rows: Rows
    """[p, k] exact top-k item rows by inner product, best first (k = 100, or all items of a smaller catalogue)."""


@dataclass(frozen=True)
class FittedModel:
    """A trained recommender, whole."""

    schema: DatasetSchema
    user_encoder: FeatureEncoder
    item_encoder: FeatureEncoder
    categories: list[str]
    titles: list[str]
    """[n] what to call an item in a table for people; empty where the schema names no title."""
    items: ItemArrays
    tower: TowerArrays
    als: AlsArrays
    popularity: RankedLists
    content: ContentArrays
    probes: ProbeArrays
    golden: list[GoldenCase]
    watermark: int
    """Time of the newest event that was trained on (Unix seconds, or position)."""


@dataclass(frozen=True)
class Bundle:
    """A release as named arrays and documents, before it is files or after it was."""

    tensors: Mapping[str, Mapping[str, NDArray[Any]]]
    """file stem → array name → array; a stem becomes `<stem>.safetensors`."""
    documents: Mapping[str, bytes]
    """file name → JSON."""


class _Vocabulary(msgspec.Struct):
    schema: DatasetSchema
    user_encoder: FeatureEncoder
    item_encoder: FeatureEncoder
    categories: list[str]
    titles: list[str]
    popularity_keys: list[str]
    alpha: float
    regularisation: float
    cold_norm: float
    watermark: int


_TENSORS: Final = {
    "items": ("two_tower", "als", "pool_weight", "events", "category", "published", "expires", "available", "numbers"),
    "tower": ("slots", "positions", "hidden_weight", "hidden_bias", "output_weight", "output_bias", "item_slots"),
    "als": ("gram",),
    "popularity": ("rows", "scores", "offsets"),
    "content": ("idf", "neighbours", "similarities"),
    "probes": ("queries", "rows"),
}
"""Parts of a FittedModel whose arrays go to a file of their own, under their attribute names."""


def to_bundle(model: FittedModel) -> Bundle:
    """Name every array of a model for storage."""
    tensors: dict[str, dict[str, NDArray[Any]]] = {
        part: {name: getattr(getattr(model, part), name) for name in names} for part, names in _TENSORS.items()
    }
    features = model.items.features
    tensors["items"] |= {
        "id_blob": model.items.ids.blob,
        "id_offsets": model.items.ids.offsets,
        "feature_slots": features.slots,
        "feature_weights": features.weights,
        "feature_offsets": features.offsets,
    }
    vocabulary = _Vocabulary(
        model.schema,
        model.user_encoder,
        model.item_encoder,
        model.categories,
        model.titles,
        model.popularity.keys,
        model.als.alpha,
        model.als.regularisation,
        model.tower.cold_norm,
        model.watermark,
    )
    documents = {"vocabulary.json": msgspec.json.encode(vocabulary), "golden.json": msgspec.json.encode(model.golden)}
    return Bundle(tensors, documents)


def from_bundle(bundle: Bundle) -> FittedModel:
    """Read a model back. Raises ReleaseCorrupt for a missing array or document, a wrong shape or type."""
    try:
        words = msgspec.json.decode(bundle.documents["vocabulary.json"], type=_Vocabulary)
        golden = msgspec.json.decode(bundle.documents["golden.json"], type=list[GoldenCase])
        parts = {part: {name: bundle.tensors[part][name] for name in names} for part, names in _TENSORS.items()}
        items = bundle.tensors["items"]
        bag = Bag(items["feature_slots"], items["feature_weights"], items["feature_offsets"])
        ids = IdTable(items["id_blob"], items["id_offsets"])
    except KeyError as error:
        raise ReleaseCorrupt(f"the release has no {error.args[0]!r}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # bytes that are no UTF-8 raise the latter
        raise ReleaseCorrupt(f"a document of the release does not parse: {error}.") from error
    model = FittedModel(
        words.schema,
        words.user_encoder,
        words.item_encoder,
        words.categories,
        words.titles,
        ItemArrays(ids=ids, features=bag, **parts["items"]),
        TowerArrays(cold_norm=words.cold_norm, **parts["tower"]),
        AlsArrays(alpha=words.alpha, regularisation=words.regularisation, **parts["als"]),
        RankedLists(words.popularity_keys, **parts["popularity"]),
        ContentArrays(**parts["content"]),
        ProbeArrays(**parts["probes"]),
        golden,
        words.watermark,
    )
    check_shapes(model)
    return model


def check_shapes(model: FittedModel) -> None:
    """Raise ReleaseCorrupt where arrays of a model do not fit each other."""
    items, tower = model.items, model.tower
    n, d = len(items.ids), items.two_tower.shape[-1]
    user_slots, item_slots = model.user_encoder.n_slots, model.item_encoder.n_slots
    hidden = len(tower.hidden_bias)
    expected: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "items.two_tower": (items.two_tower, (n, d)),
        "items.als": (items.als, (n, model.als.gram.shape[0])),
        "items.pool_weight": (items.pool_weight, (n,)),
        "items.events": (items.events, (n,)),
        "items.category": (items.category, (n,)),
        "items.published": (items.published, (n,)),
        "items.expires": (items.expires, (n,)),
        "items.available": (items.available, (n,)),
        "items.numbers": (items.numbers, (n, items.numbers.shape[-1])),
        "items.feature_offsets": (items.features.offsets, (n + 1,)),
        "tower.slots": (tower.slots, (user_slots, d)),
        "tower.item_slots": (tower.item_slots, (item_slots, d)),
        "tower.hidden_weight": (tower.hidden_weight, (d, hidden)),
        "tower.output_weight": (tower.output_weight, (hidden, d)),
        "tower.output_bias": (tower.output_bias, (d,)),
        "als.gram": (model.als.gram, (model.als.gram.shape[0],) * 2),
        "popularity.offsets": (model.popularity.offsets, (len(model.popularity.keys) + 1,)),
        "content.idf": (model.content.idf, (item_slots,)),
        "content.neighbours": (model.content.neighbours, (n, model.content.neighbours.shape[-1])),
        "content.similarities": (model.content.similarities, model.content.neighbours.shape),
        "probes.queries": (model.probes.queries, (len(model.probes.queries), d)),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ReleaseCorrupt(f"{name} has the shape {list(array.shape)}, expected {list(shape)}.")
    if model.titles and len(model.titles) != n:
        raise ReleaseCorrupt(f"titles names {len(model.titles)} items, expected {n}.")
