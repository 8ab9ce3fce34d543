"""What an index of a search engine holds: its name, its fields, its mapping and what it says of itself.

One document an item: `row` (the item's row in the release), `item_id`, one vector per model, and every item feature
that can be filtered, under a field name of ours (`f0`, `f1`, …), so that no name or value of a data set is ever read as
syntax. The loader writes it, `stores/search_index.py` queries it. It does not talk to an engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from contracts.feature_encoder import FeatureEncoder
from contracts.release import MODELS, Manifest
from contracts.schema import FeatureKind

DOCUMENT_VERSION: Final = 1
INDEX_PREFIX: Final = "items-"
MAX_ID_BYTES: Final = 512
"""The most that OpenSearch takes as a document id."""
MAX_TERM_BYTES: Final = 32_766
"""The most that Lucene takes as a term."""

SEGMENT_ITEMS: Final = 50_000
"""Documents of one segment, and so of one graph. In a graph of a million items that lie in tight groups a search does
not get from one group to the next, whatever `ef_search`: recall@100 was .85 to .87 in one segment (docs/index.md)."""
NO_MERGES: Final = 1_000
"""Segments that loading may leave: merging them on the way would only make the graphs that are not wanted."""

_TYPES: Final = {
    FeatureKind.CATEGORICAL: "keyword",
    FeatureKind.MULTI_CATEGORICAL: "keyword",
    FeatureKind.NUMERIC: "double",
    FeatureKind.TIMESTAMP: "double",
}


@dataclass(frozen=True)
class Graph:
    """How the graph of one model is built; measured values, see docs/experiment_log.md."""

    m: int = 32
    """Links of a vector."""
    ef_construction: int = 200
    """Vectors looked at to find them."""


@dataclass(frozen=True)
class IndexSettings:
    """How an index is built."""

    engine: str = "lucene"
    """Decision 13: what runs in the tests is what is deployed."""
    two_tower: Graph = Graph()
    als: Graph = Graph(m=64, ef_construction=400)
    """Factors differ a hundredfold in length and queries lie far from all of them: the same graph finds less."""
    shards: int = 1
    """One holds five million items of 64 dimensions; more only add a merge of answers."""
    replicas: int | None = None
    """Copies beside the first, once it is loaded; None: one, where the engine has a second node."""


@dataclass(frozen=True)
class IndexField:
    """One filterable feature."""

    name: str
    """As the schema names it."""
    field: str
    """As the index names it."""
    type: str
    """`keyword` or `double`."""


def index_name(release: str, run: int) -> str:
    """The physical index of a release's run; engines want lower case."""
    return f"{INDEX_PREFIX}{release.lower()}-r{run}"


def segments_of(n_items: int) -> int:
    """Into how many segments an index of n items is finalised."""
    return max(1, -(-n_items // SEGMENT_ITEMS))


def index_fields(encoder: FeatureEncoder) -> list[IndexField]:
    """The filterable features of the item encoder, in its order; text is for words, not for filters."""
    kinds = [(field.name, _TYPES[field.kind]) for field in encoder.fields if field.kind in _TYPES]
    return [IndexField(name, f"f{number}", kind) for number, (name, kind) in enumerate(kinds)]


class IndexMeta(msgspec.Struct, frozen=True):
    """What an index says of itself (`_meta`): a serving process and the loader hold it against the release."""

    tandem: int
    """DOCUMENT_VERSION."""
    release: str
    digest: str
    n_items: int
    dim: int
    fields: dict[str, str]
    """Filterable feature → field of the index; nothing else can be filtered by."""

    def differs_from(self, manifest: Manifest) -> str:
        """What does not fit a release, for people; empty where everything does."""
        expected = {
            "tandem": DOCUMENT_VERSION,
            "release": manifest.id,
            "digest": manifest.digest,
            "n_items": manifest.n_items,
            "dim": manifest.dim,
        }
        wrong = [f"{name} {getattr(self, name)!r}" for name, value in expected.items() if getattr(self, name) != value]
        return ", ".join(wrong)


def index_meta(manifest: Manifest, fields: Iterable[IndexField]) -> IndexMeta:
    """The `_meta` of an index of a release."""
    names = {field.name: field.field for field in fields}
    return IndexMeta(DOCUMENT_VERSION, manifest.id, manifest.digest, manifest.n_items, manifest.dim, names)


def index_body(meta: IndexMeta, fields: list[IndexField], settings: IndexSettings) -> dict[str, Any]:
    """The body that creates an index, with the settings of loading: no refresh, no copies until it is complete."""
    vectors = {
        model: {
            "type": "knn_vector",
            "dimension": meta.dim,
            "method": {
                "name": "hnsw",
                "engine": settings.engine,
                "space_type": "innerproduct",
                "parameters": asdict(getattr(settings, model)),
            },
        }
        for model in MODELS
    }
    return {
        "settings": {
            "index": {
                "knn": True,
                "number_of_shards": settings.shards,
                "number_of_replicas": 0,
                "refresh_interval": "-1",
                "translog": {"durability": "async", "flush_threshold_size": "1gb"},
                "merge.policy": {"segments_per_tier": NO_MERGES, "max_merge_at_once": NO_MERGES},
            }
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": msgspec.to_builtins(meta),
            "properties": {
                "row": {"type": "integer", "index": False},
                "item_id": {"type": "keyword", "index": False},
                **vectors,
                **{field.field: {"type": field.type} for field in fields},
            },
        },
    }
