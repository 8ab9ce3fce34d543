"""What an index of a search engine holds: its name, its fields, its mapping and what it says of itself.

One document an item: `row` (the item's row in the release), `item_id`, one vector per model, and every item feature
that can be filtered, under a field name of ours (`f0`, `f1`, …), so that no name or value of a data set is ever read as
syntax. The loader writes it, `stores/vector_index.py` queries it. It does not talk to an engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from contracts.feature_encoder import FeatureEncoder
from contracts.release import MODELS, Manifest
from contracts.schema import FeatureKind

DOCUMENT_VERSION: Final = 1
INDEX_PREFIX: Final = "items-"
MAX_ID_BYTES: Final = 512
"""The most that OpenSearch takes as a document id."""
MAX_TERM_BYTES: Final = 32_766
"""The most that Lucene takes as a term."""

UNMERGED: Final = 100
"""Segments that loading may leave: every merge on the way inserts its vectors into a graph again, and the last one, of
finalising, does so anyway. A million documents make about forty; loading to final took a fifth less."""

_TYPES: Final = {
    FeatureKind.CATEGORICAL: "keyword",
    FeatureKind.MULTI_CATEGORICAL: "keyword",
    FeatureKind.NUMERIC: "double",
    FeatureKind.TIMESTAMP: "double",
}


@dataclass(frozen=True)
class IndexSettings:
    """How the graph is built; measured values, see docs/index.md."""

    engine: str = "lucene"
    """Decision 13: what runs in the tests is what is deployed."""
    m: int = 32
    ef_construction: int = 200
    shards: int = 1
    """One holds five million items of 64 dimensions; more only add a merge of answers."""
    replicas: int = 0


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


def index_fields(encoder: FeatureEncoder) -> list[IndexField]:
    """The filterable features of the item encoder, in its order; text is for words, not for filters."""
    kinds = [(field.name, _TYPES[field.kind]) for field in encoder.fields if field.kind in _TYPES]
    return [IndexField(name, f"f{number}", kind) for number, (name, kind) in enumerate(kinds)]


def index_meta(manifest: Manifest, fields: Iterable[IndexField]) -> dict[str, Any]:
    """What an index says of itself (`_meta`): a serving process and the loader hold it against the release."""
    return {
        "tandem": DOCUMENT_VERSION,
        "release": manifest.id,
        "digest": manifest.digest,
        "n_items": manifest.n_items,
        "dim": manifest.dim,
        "fields": {field.name: field.field for field in fields},
    }


def index_body(manifest: Manifest, fields: list[IndexField], settings: IndexSettings) -> dict[str, Any]:
    """The body that creates an index, with the settings of loading: no refresh, no copies until it is complete."""
    vector = {
        "type": "knn_vector",
        "dimension": manifest.dim,
        "method": {
            "name": "hnsw",
            "engine": settings.engine,
            "space_type": "innerproduct",
            "parameters": {"m": settings.m, "ef_construction": settings.ef_construction},
        },
    }
    return {
        "settings": {
            "index": {
                "knn": True,
                "number_of_shards": settings.shards,
                "number_of_replicas": 0,
                "refresh_interval": "-1",
                "translog": {"durability": "async", "flush_threshold_size": "1gb"},
                "merge.policy": {"segments_per_tier": UNMERGED, "max_merge_at_once": UNMERGED},
            }
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": index_meta(manifest, fields),
            "properties": {
                "row": {"type": "integer", "index": False},
                "item_id": {"type": "keyword", "index": False},
                **dict.fromkeys(MODELS, vector),
                **{field.field: {"type": field.type} for field in fields},
            },
        },
    }
