"""Publish a release, or go back to an earlier publication: one conditional write each (decision 2).

A release is opened whole, its golden cases are replayed and its probe queries asked before the pointer can move;
a crash at any point leaves what served before. The CLI and the nightly run call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from contracts.errors import GateBlocked, NothingPublished, VerificationFailed
from contracts.fitted import FittedModel
from contracts.release import GateReport, Manifest, Publication
from index_loader.finalise import is_final
from index_loader.load import Progress
from index_loader.recall import VerifySettings
from index_loader.verify import verify, verify_loaded
from retrieval.golden import replay_golden
from retrieval.opened import open_model
from stores.publications import now_text
from stores.releases import Current, Releases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


@dataclass(frozen=True)
class Loaded:
    """An index that the loading steps have filled and finalised."""

    client: OpenSearch
    name: str
    progress: Progress | None = None

    def verify(self, manifest: Manifest, model: FittedModel, settings: VerifySettings | None = None) -> dict[str, Any]:
        """The report of `verify_loaded`.

        Raises VerificationFailed, also where the index can still change, IndexUnavailable where it is of another
        release or does not answer.
        """
        from stores.search_index import OpenSearchIndex

        index = OpenSearchIndex.open(self.client, self.name, manifest)
        if not is_final(self.client, self.name):
            raise VerificationFailed(f"{self.name}: it is not finalised, and can still change.", fix="Finalise it.")
        return verify_loaded(self.client, index, model, settings, self.progress)


def publish(
    store: Releases,
    release: str,
    gate: GateReport | None,
    if_match: str | None,
    *,
    served_model: str = "two_tower",
    loaded: Loaded | None = None,
    settings: VerifySettings | None = None,
) -> Current:
    """Verify a release and make it serve.

    `gate`: its verdict, None where an operator publishes by hand (then `served_model` says which model answers).
    `loaded`: the index of a search engine that holds the release, None where the release itself is searched.
    `if_match`: etag of what served when the decision was made, None if nothing did. Raises GateBlocked, ReleaseCorrupt,
    ReleaseUnreadable, ParityBroken, VerificationFailed or PointerConflict; what served before goes on serving.
    """
    if gate is not None and gate.blocked:
        raise GateBlocked(_reasons(gate), fix="What served before goes on serving; see the checks of the gate.")
    if gate is not None and gate.release != release:
        raise GateBlocked(f"the verdict is on {gate.release}, not on {release}.", fix="Judge this release.")
    opened = open_model(store.open(release))
    verification = (
        loaded.verify(store.manifest(release), opened.fitted, settings)
        if loaded
        else verify(opened.index, opened.fitted, settings)
    )
    before = store.current()
    sequence = store.next_sequence()
    publication = Publication(
        id=f"p{sequence:06d}-{uuid4().hex[:8]}",
        sequence=sequence,
        release=release,
        served_model=gate.served_model if gate else served_model,
        gate=gate,
        index=loaded.name if loaded else None,
        ef_search=verification["ef_search"] if loaded else None,
        verification=verification,
        previous=before.publication.id if before else None,
        created_at=now_text(),
    )
    return store.publish(publication, if_match)


def rollback(store: Releases, publication: str | None = None, client: OpenSearch | None = None) -> Current:
    """Serve an earlier publication again: the one before the current, or the one named.

    Its release is opened and its golden cases replayed first, and with a `client` its index is looked for. Raises
    NothingPublished where there is nothing before, IndexUnavailable where its index is gone.
    """
    current = store.serving()
    target = publication or current.publication.previous
    if target is None:
        raise NothingPublished(f"{current.publication.id} is the first publication, there is none before it.")
    earlier = store.publication(target)
    replay_golden(store.open(earlier.release, head_only=earlier.index is not None))
    if client is not None and earlier.index is not None:
        from stores.search_index import OpenSearchIndex

        OpenSearchIndex.open(client, earlier.index, store.manifest(earlier.release))
    return store.publish(earlier, current.etag)


def _reasons(gate: GateReport) -> str:
    blocked = [f"{check.name}: {check.detail}" for check in gate.checks if check.verdict == "block"]
    return f"{gate.release} is blocked. " + " ".join(blocked)
