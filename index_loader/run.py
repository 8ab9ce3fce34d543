"""All loading steps in a row: prepare → load → finalise, going on where a run was killed.

Every step is safe to run again, so an unfinished index of the very same release is filled further instead of starting
a second one. `publish` then verifies what this returns. The CLI and the nightly run call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.index_document import DOCUMENT_VERSION, IndexSettings
from index_loader.finalise import finalise
from index_loader.indexes import own_indexes
from index_loader.load import Progress, load
from index_loader.prepare import prepare
from index_loader.publish import Loaded
from stores.releases import LocalReleases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def run(
    store: LocalReleases,
    client: OpenSearch,
    release: str,
    *,
    settings: IndexSettings | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Loaded:
    """An index that holds the release and takes no more writes. `fresh`: a new one even where one was begun.

    Raises IndexLoadFailed; what serves is not touched.
    """
    chosen = settings or IndexSettings()
    begun = None if fresh else newest_index(store, client, release)
    name = begun or prepare(store, client, release, chosen)
    if begun is None or not _is_final(client, begun):
        load(store, client, release, name, progress=progress)
        finalise(client, name, replicas=chosen.replicas, progress=progress)
    return Loaded(client, name, progress)


def newest_index(store: LocalReleases, client: OpenSearch, release: str) -> str | None:
    """The newest index of a release that this code can read, whether complete or not; None where it has none."""
    wanted = (release, store.manifest(release).digest, DOCUMENT_VERSION)
    names = [index.name for index in own_indexes(client) if (index.release, index.digest, index.version) == wanted]
    return names[-1] if names else None


def _is_final(client: OpenSearch, name: str) -> bool:
    return any(index.name == name and index.final for index in own_indexes(client))
