"""The fitted arrays of a release, typed: what training hands over and what serving answers from.

`FittedModel` is the whole of a trained recommender as numpy arrays. Training fills it, `to_bundle` names its arrays
for files, `from_bundle` reads them back with every shape checked. Evaluation is given a FittedModel directly; stores
write and open bundles without knowing what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.coarse import CoarseVectors, coarse
from contracts.errors import ReleaseCorrupt
from contracts.feature_encoder import Bag, FeatureEncoder
from contracts.golden import GoldenCase
from contracts.ids import IdTable
from contracts.restriction import Clause
from contracts.schema import DatasetSchema

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]

NEVER_EXPIRES: Final = np.iinfo(np.int64).max
UNKNOWN_TIME: Final = np.iinfo(np.int64).min
SHORTEST: Final = np.float32(1e-6)
"""Vectors shorter than this are not stretched to unit length."""
HOT_EVENTS: Final = 5
"""Events from which an item counts as hot; one with fewer leans on its TF-IDF neighbours among hot ones."""
LOST_NORM: Final = 1e-3
"""Of an item of which nothing is known, relative to the shortest vector: its score is zero to three digits."""
DEPTHS: Final = 9
"""Of histories: 0, 1, 2, 3 to 4, …, 33 to 64, and more."""
FOLD_STEPS: Final = 4
"""Steps in which a set's query is folded in; one got a third of what four gain, eight got no more."""
HEAD_ITEMS: Final = 50_000
"""Items up to which a catalogue is searched in memory: a scan of 50,000 × 64 costs what asking an engine costs."""


@dataclass(frozen=True)
class FreshVectors:
    """Vectors of items that came after the release, in the rows behind its own. f items."""

    two_tower: Floats
    """[f, d]"""
    als: Floats
    """[f, d]"""


@dataclass(frozen=True)
class ItemArrays:
    """Everything known of the items, row by row in the byte order of their ids. n items, d dimensions.

    A process that searches an engine holds the exact vectors of the head alone (decision 7): there `two_tower` and
    `als` are [m, d], and `vectors` reads those of other items in eight bits.
    """

    ids: IdTable
    two_tower: Floats
    """[n, d] item vectors: direction from the item tower, norm from popularity; score = inner product."""
    als: Floats
    """[n, d] ALS item factors; an item without events has the TF-IDF-weighted mean of its hot neighbours'."""
    head: Rows
    """[m] rows of the items with most events, ascending; empty where the whole catalogue is small enough to be held."""
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
    coarse: Mapping[str, CoarseVectors] = field(default_factory=dict)
    """Model name → the vectors of all items in eight bits, where the exact ones are not held."""
    fresh: FreshVectors | None = None
    """Of items told since the release was trained (`retrieval/fresh.py`): n counts them, and every array that says [n]
    above has them behind its own, but for `two_tower`, `als`, `features`, `numbers` and `coarse`."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def released(self) -> int:
        """Items of the release itself: the rows that an index knows."""
        return len(self.ids) - (0 if self.fresh is None else len(self.fresh.two_tower))

    @cached_property
    def head_only(self) -> bool:
        """Whether the exact vectors of the other items are not here."""
        return len(self.two_tower) < self.released

    def vectors(self, model_name: str, rows: NDArray[np.integer]) -> Floats:
        """The vectors [r, d] of a model for some rows (none is -1): exact where they are held, else in eight bits."""
        if self.fresh is None or not np.any(beyond := rows >= self.released):
            return self._released_vectors(model_name, rows)
        more: Floats = getattr(self.fresh, model_name)
        vectors = np.empty((len(rows), more.shape[1]), np.float32)
        vectors[beyond] = more[rows[beyond] - self.released]
        vectors[~beyond] = self._released_vectors(model_name, rows[~beyond])
        return vectors

    def _released_vectors(self, model_name: str, rows: NDArray[np.integer]) -> Floats:
        held: Floats = getattr(self, model_name)
        if not self.head_only:
            exact: Floats = held[rows]
            return exact
        near = np.minimum(np.searchsorted(self.head, rows), len(self.head) - 1)
        vectors = self.coarse[model_name].read(rows)
        in_head = self.head[near] == rows
        vectors[in_head] = held[near[in_head]]
        return vectors

    def directions(self, rows: NDArray[np.integer]) -> Floats:
        """Two-tower vectors [r, d] of some rows at length 1; zeros for row -1, or where the vector has no length."""
        vectors = self.vectors("two_tower", rows)
        lengths = np.sqrt(np.vecdot(vectors, vectors))
        scale = np.where(rows >= 0, 1 / np.maximum(lengths, SHORTEST), 0).astype(np.float32)
        unit: Floats = vectors * scale[:, None]
        return unit


@dataclass(frozen=True)
class TowerArrays:
    """The user tower. See `retrieval/user_tower.py` for the forward pass. d dimensions, h hidden units."""

    slots: Floats
    """[n_user_slots, d] embedding of user features."""
    positions: Floats
    """[L] weight of a history position, newest first; older events than L are not read. All ones without order."""
    depth: Floats
    """[D, d] added for a history of 0, 1, 2, 3 to 4, 5 to 8, … events (D = 0: nothing is)."""
    match: Floats
    """[H, d, d] what each head looks for in a history, from the pooled user (H = 0: no attention)."""
    value: Floats
    """[H, d, d] what it makes of the directions that it found."""
    recency: Floats
    """[H, L] logit of a history position."""
    crowd: Floats
    """[K, d] vectors that stand for the catalogue when a set is folded in (K = 0: it is not)."""
    crowd_bias: Floats
    """[K] log of how much of it each stands for."""
    stride: float
    """Length of a step of folding in."""
    sharpness: float
    """Of the softmax over the crowd: one over the temperature of training."""
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


_DEPTH_OF: Final = np.concatenate([[0], np.ceil(np.log2(np.arange(1, 2 ** (DEPTHS - 3) + 2))) + 1]).astype(np.int64)
"""Of each length up to the first of the last row."""


def depths(lengths: NDArray[np.integer] | int) -> NDArray[np.int64]:
    """Row of `TowerArrays.depth` [...] for histories of so many events [...]: doublings, the last for all beyond."""
    rows: NDArray[np.int64] = _DEPTH_OF[np.minimum(lengths, len(_DEPTH_OF) - 1)]
    return rows


@dataclass(frozen=True)
class AlsArrays:
    """What folding a user in needs (Hu, Koren, Volinsky 2008): confidence = 1 + alpha * weight."""

    gram: Floats
    """[d, d] = Y^T Y over the items that have events."""
    alpha: float
    regularisation: float


@dataclass(frozen=True)
class RankedLists:
    """Popularity tables, each a descending list of items under a key of `contracts/segments.py` or
    `contracts/trending.py`."""

    keys: list[str]
    rows: Rows
    """[total]"""
    scores: Floats
    """[total] share of decayed, shrunken event weight in (0, 1]; of what is trending, the decayed weight itself."""
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


class ProbeBucket(msgspec.Struct, frozen=True):
    """A filter that an index is probed with."""

    name: str
    """For people: `genre=drama`, `published, newest 5 %`."""
    share: float
    """Of the items that pass."""
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class ProbeArrays:
    """Real query vectors with their exact answers; an index is published only if it agrees.

    Rows are exact top-k by inner product, best first (k = 100, or all items of a smaller catalogue).
    """

    queries: Floats
    """[p, d] two-tower query vectors of held-out users."""
    rows: Rows
    """[p, k]"""
    als_queries: Floats
    """[a, d] those of the same users who have a history, folded into ALS."""
    als_rows: Rows
    """[a, k]"""
    buckets: list[ProbeBucket]
    """b filters: large categories, and a range of every selectivity."""
    bucket_rows: Rows
    """[b, q, k] of the first q two-tower queries under each filter, -1 where fewer items pass."""


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
class Catalogue:
    """What of a release an event is held against."""

    schema: DatasetSchema
    ids: IdTable


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
    stride: float = 0.0
    sharpness: float = 1.0


class _SchemaAlone(msgspec.Struct):
    """Of a vocabulary; the titles of a million items are skipped, not decoded."""

    schema: DatasetSchema


VOCABULARY: Final = "vocabulary.json"
"""File name of the document that holds schema, vocabularies and titles."""
ITEMS_PART: Final = "items"
"""File stem of what is known of the items, their ids included."""
VECTORS_PART: Final = "vectors"
"""File stem of the vectors of all items: what a process that searches an engine does not open."""
HEAD_PART: Final = "head"
"""File stem of the head's rows and vectors, in a release that has one."""
COARSE_PART: Final = "coarse"
"""File stem of all vectors in eight bits, beside a head."""

_VECTORS: Final = ("two_tower", "als")
_TENSORS: Final = {
    "items": ("pool_weight", "events", "category", "published", "expires", "available", "numbers"),
    "tower": (
        *("slots", "positions", "depth", "match", "value", "recency", "crowd", "crowd_bias"),
        *("hidden_weight", "hidden_bias", "output_weight", "output_bias", "item_slots"),
    ),
    "als": ("gram",),
    "popularity": ("rows", "scores", "offsets"),
    "content": ("idf", "neighbours", "similarities"),
    "probes": ("queries", "rows", "als_queries", "als_rows", "bucket_rows"),
}
"""Parts of a FittedModel whose arrays go to a file of their own, under their attribute names."""


def to_bundle(model: FittedModel) -> Bundle:
    """Name every array of a model for storage."""
    tensors: dict[str, dict[str, NDArray[Any]]] = {
        part: {name: getattr(getattr(model, part), name) for name in names} for part, names in _TENSORS.items()
    }
    items, features = model.items, model.items.features
    tensors[VECTORS_PART] = {name: getattr(items, name) for name in _VECTORS}
    if len(items.head):
        tensors[HEAD_PART] = {"rows": items.head} | {name: getattr(items, name)[items.head] for name in _VECTORS}
        eight_bits = {name: coarse(getattr(items, name)) for name in _VECTORS}
        tensors[COARSE_PART] = {name: vectors.codes for name, vectors in eight_bits.items()}
        tensors[COARSE_PART] |= {f"{name}_scales": vectors.scales for name, vectors in eight_bits.items()}
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
        model.tower.stride,
        model.tower.sharpness,
    )
    documents = {
        VOCABULARY: msgspec.json.encode(vocabulary),
        "golden.json": msgspec.json.encode(model.golden),
        "probes.json": msgspec.json.encode(model.probes.buckets),
    }
    return Bundle(tensors, documents)


def from_bundle(bundle: Bundle) -> FittedModel:
    """Read a model back; without `vectors` those of its head are there, and the others in eight bits.

    Raises ReleaseCorrupt for a missing array or document, a wrong shape or type.
    """
    bundle = _as_version_3(_as_version_2(bundle))
    with _naming_gaps():
        words = msgspec.json.decode(bundle.documents[VOCABULARY], type=_Vocabulary)
        golden = msgspec.json.decode(bundle.documents["golden.json"], type=list[GoldenCase])
        buckets = msgspec.json.decode(bundle.documents["probes.json"], type=list[ProbeBucket])
        parts: dict[str, dict[str, Any]] = {
            part: {name: bundle.tensors[part][name] for name in names} for part, names in _TENSORS.items()
        }
        items, head = bundle.tensors["items"], bundle.tensors.get(HEAD_PART, {"rows": np.empty(0, np.int32)})
        vectors = bundle.tensors.get(VECTORS_PART, head)
        beyond = {} if VECTORS_PART in bundle.tensors else _coarse_vectors(bundle.tensors[COARSE_PART])
        parts["items"] |= {"head": head["rows"]} | {name: vectors[name] for name in _VECTORS}
        bag = Bag(items["feature_slots"], items["feature_weights"], items["feature_offsets"])
        ids = IdTable(items["id_blob"], items["id_offsets"])
    model = FittedModel(
        words.schema,
        words.user_encoder,
        words.item_encoder,
        words.categories,
        words.titles,
        ItemArrays(ids=ids, features=bag, coarse=beyond, **parts["items"]),
        TowerArrays(cold_norm=words.cold_norm, stride=words.stride, sharpness=words.sharpness, **parts["tower"]),
        AlsArrays(alpha=words.alpha, regularisation=words.regularisation, **parts["als"]),
        RankedLists(words.popularity_keys, **parts["popularity"]),
        ContentArrays(**parts["content"]),
        ProbeArrays(buckets=buckets, **parts["probes"]),
        golden,
        words.watermark,
    )
    check_shapes(model)
    return model


def catalogue_from_bundle(bundle: Bundle) -> Catalogue:
    """Read schema and item ids out of `VOCABULARY` and the arrays of `ITEMS_PART`; nothing else need be there.

    Raises ReleaseCorrupt for a missing array or document, and for ids that are no table.
    """
    with _naming_gaps():
        items = bundle.tensors[ITEMS_PART]
        schema = msgspec.json.decode(bundle.documents[VOCABULARY], type=_SchemaAlone).schema
        return Catalogue(schema, IdTable(items["id_blob"], items["id_offsets"]))


@contextmanager
def _naming_gaps() -> Iterator[None]:
    """Turn what a bundle lacks, or what of it does not parse, into ReleaseCorrupt."""
    try:
        yield
    except KeyError as error:
        raise ReleaseCorrupt(f"the release has no {error.args[0]!r}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # bytes that are no UTF-8 raise the latter
        raise ReleaseCorrupt(f"a document of the release does not parse: {error}.") from error


def _coarse_vectors(tensors: Mapping[str, NDArray[Any]]) -> dict[str, CoarseVectors]:
    return {name: CoarseVectors(tensors[name], tensors[f"{name}_scales"]) for name in _VECTORS}


def _as_version_2(bundle: Bundle) -> Bundle:
    """Version 1 kept the vectors among the items, and knew no head and one kind of probes."""
    if "probes.json" in bundle.documents or "two_tower" not in bundle.tensors.get("items", {}):
        return bundle
    items, probes = bundle.tensors["items"], dict(bundle.tensors.get("probes", {}))
    empty, none = np.empty((0, items["two_tower"].shape[-1]), np.float32), np.empty((0, 0), np.int32)
    probes |= {"als_queries": empty, "als_rows": none, "bucket_rows": np.empty((0, 0, 0), np.int32)}
    vectors = {name: items[name] for name in _VECTORS if name in items}
    return Bundle(
        {**bundle.tensors, VECTORS_PART: vectors, "probes": probes}, {**bundle.documents, "probes.json": b"[]"}
    )


def _as_version_3(bundle: Bundle) -> Bundle:
    """Version 2 knew neither attention nor folding in."""
    tower = bundle.tensors.get("tower", {})
    new = ("depth", "match", "value", "recency", "crowd", "crowd_bias")
    if not tower.keys().isdisjoint(new) or not {"positions", "output_bias"} <= tower.keys():
        return bundle
    d, positions = len(tower["output_bias"]), len(tower["positions"])
    forms, recency, none = (np.empty((0, *shape), np.float32) for shape in ((d, d), (positions,), (d,)))
    more = dict(zip(new, (none, forms, forms, recency, none, none[:, 0]), strict=True))
    return Bundle({**bundle.tensors, "tower": {**tower, **more}}, bundle.documents)


def check_shapes(model: FittedModel) -> None:
    """Raise ReleaseCorrupt where arrays of a model do not fit each other."""
    items, tower, probes = model.items, model.tower, model.probes
    n, d = len(items.ids), items.two_tower.shape[-1]
    held = len(items.head) if items.head_only else n
    user_slots, item_slots = model.user_encoder.n_slots, model.item_encoder.n_slots
    hidden, heads = len(tower.hidden_bias), len(tower.match)
    expected: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
        "items.two_tower": (items.two_tower, (held, d)),
        "items.als": (items.als, (held, model.als.gram.shape[0])),
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
        "tower.match": (tower.match, (heads, d, d)),
        "tower.value": (tower.value, (heads, d, d)),
        "tower.recency": (tower.recency, (heads, len(tower.positions))),
        "tower.depth": (tower.depth, (len(tower.depth), d)),
        "tower.crowd": (tower.crowd, (len(tower.crowd_bias), d)),
        "tower.hidden_weight": (tower.hidden_weight, (d, hidden)),
        "tower.output_weight": (tower.output_weight, (hidden, d)),
        "tower.output_bias": (tower.output_bias, (d,)),
        "als.gram": (model.als.gram, (model.als.gram.shape[0],) * 2),
        "popularity.offsets": (model.popularity.offsets, (len(model.popularity.keys) + 1,)),
        "content.idf": (model.content.idf, (item_slots,)),
        "content.neighbours": (model.content.neighbours, (n, model.content.neighbours.shape[-1])),
        "content.similarities": (model.content.similarities, model.content.neighbours.shape),
        "probes.queries": (probes.queries, (len(probes.queries), d)),
        "probes.als_queries": (probes.als_queries, (len(probes.als_queries), model.als.gram.shape[0])),
        "probes.rows": (probes.rows, (len(probes.queries), probes.rows.shape[-1])),
        "probes.als_rows": (probes.als_rows, (len(probes.als_queries), probes.als_rows.shape[-1])),
        "probes.bucket_rows": (probes.bucket_rows, (len(probes.buckets), *probes.bucket_rows.shape[1:])),
    }
    for name, vectors in items.coarse.items():
        expected[f"coarse.{name}"] = (vectors.codes, (n, getattr(items, name).shape[1]))
        expected[f"coarse.{name}_scales"] = (vectors.scales, (n,))
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ReleaseCorrupt(f"{name} has the shape {list(array.shape)}, expected {list(shape)}.")
    if model.titles and len(model.titles) != n:
        raise ReleaseCorrupt(f"titles names {len(model.titles)} items, expected {n}.")
