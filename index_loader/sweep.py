"""The last step: remove indexes that nothing can come back to.

Kept are those that the pointer or one of the publications before it names (what a rollback can reach), those of a
release newer than every published one (on its way), young ones, and those of releases that this store never had: a
domain may be shared. The pointer is read again before every single deletion.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from index_loader.indexes import OwnIndex, own_indexes
from stores.releases import KEEP_PUBLICATIONS, Releases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

YOUNG_SECONDS: Final = 6 * 3600.0
"""A load that takes longer has failed."""


@dataclass(frozen=True)
class Swept:
    """What a sweep found."""

    doomed: list[str]
    """To be removed; removed, where that was asked for."""
    kept: dict[str, str]
    """Index → why it stays."""


def sweep(
    store: Releases,
    client: OpenSearch,
    *,
    delete: bool = False,
    keep: int = KEEP_PUBLICATIONS,
    young_seconds: float = YOUNG_SECONDS,
) -> Swept:
    """Find the indexes that nothing can come back to, and with `delete` remove them."""
    doomed, kept = [], {}
    for index in own_indexes(client):
        reason = _why_kept(store, index, keep, young_seconds)
        if reason:
            kept[index.name] = reason
            continue
        if delete:
            client.indices.delete(index=index.name, params={"ignore_unavailable": "true"})
        doomed.append(index.name)
    return Swept(doomed, kept)


def is_published(store: Releases, name: str) -> bool:
    """Whether a publication, of whatever age, names an index: who removes one at once must not remove that."""
    return any(publication.index == name for publication in store.publications())


def _why_kept(store: Releases, index: OwnIndex, keep: int, young_seconds: float) -> str:
    """Why an index stays, as the store is now; empty where it does not."""
    for publication in store.kept(keep):
        if publication.index == index.name:
            return f"{publication.id} serves from it"
    published = {publication.release for publication in store.publications()}
    if index.release not in published.union(store.ids()):
        return f"its release {index.release} is not of this store"
    if not published or index.release > max(published):
        return "its release is newer than every published one"
    if (age := time.time() - index.created) < young_seconds:
        return f"it is {age / 60:.0f} minutes old"
    return ""
