"""All loading steps in a row: prepare → load → finalise, going on where a run was killed.

Every step is safe to run again, so an unfinished index of the very same release is filled further instead of starting
a second one. `publish` then verifies what this returns. The CLI and the nightly run call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import VerificationFailed
from contracts.index_document import DOCUMENT_VERSION, IndexSettings
from contracts.release import GateReport
from index_loader.finalise import finalise, is_final
from index_loader.indexes import own_indexes
from index_loader.load import Progress, load
from index_loader.prepare import prepare
from index_loader.publish import Loaded, publish
from index_loader.recall import VerifySettings
from stores.releases import Current, Releases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def run(
    store: Releases,
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
    if begun is None or not is_final(client, begun):
        load(store, client, release, name, progress=progress)
        finalise(client, name, replicas=chosen.replicas, progress=progress)
    return Loaded(client, name, progress)


def publish_or_load_again(
    store: Releases,
    release: str,
    gate: GateReport | None,
    if_match: str | None,
    loaded: Loaded,
    settings: VerifySettings | None = None,
) -> Current:
    """Publish what was loaded; where it is not good enough, load once into a new index and publish that.

    An index that a killed run left half of, or whose graph came apart (links depend on the order in which an engine's
    threads add vectors), would otherwise be found final by every later run. Raises as `publish` and `run`.
    """
    try:
        return publish(store, release, gate, if_match, loaded=loaded, settings=settings)
    except VerificationFailed as error:
        if loaded.progress is not None:
            loaded.progress(0, 1, f"{loaded.name} is not good enough, loading a new one: {error}")
        again = run(store, loaded.client, release, fresh=True, progress=loaded.progress)
        return publish(store, release, gate, if_match, loaded=again, settings=settings)


def newest_index(store: Releases, client: OpenSearch, release: str) -> str | None:
    """The newest index of a release that this code can read, whether complete or not; None where it has none."""
    wanted = (release, store.manifest(release).digest, DOCUMENT_VERSION)
    names = [index.name for index in own_indexes(client) if (index.release, index.digest, index.version) == wanted]
    return names[-1] if names else None
