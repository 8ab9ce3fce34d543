"""The indexes of ours that an engine has, by what they say of themselves. The other steps ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.index_document import INDEX_PREFIX

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


@dataclass(frozen=True)
class OwnIndex:
    """One index, from its mapping and settings."""

    name: str
    release: str
    digest: str
    version: int
    """DOCUMENT_VERSION of the code that made it."""
    created: float
    """Unix seconds."""
    final: bool
    """Loaded, merged and write-blocked."""


def own_indexes(client: OpenSearch) -> list[OwnIndex]:
    """Every index that this project made, the oldest first."""
    described = client.indices.get(index=f"{INDEX_PREFIX}*", params={"flat_settings": "true"})
    found = []
    for name, index in described.items():
        meta, settings = index["mappings"].get("_meta", {}), index["settings"]
        if "tandem" in meta:
            created = int(settings["index.creation_date"]) / 1000
            final = settings.get("index.blocks.write") == "true"
            found.append(OwnIndex(name, meta["release"], meta["digest"], meta["tandem"], created, final))
    return sorted(found, key=lambda index: (index.created, index.name))
