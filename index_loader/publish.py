"""Publish a release, or go back to an earlier publication: one conditional write each (decision 2).

A release is opened whole, its golden cases are replayed and its probe queries asked before the pointer can move; what
came of that can be kept, for a process that moves it later. A crash at any point leaves what served before. The CLI and
the nightly run call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from contracts.errors import GateBlocked, NothingPublished, VerificationFailed
from contracts.fitted import FittedModel
from contracts.night import Verification
from contracts.release import GateReport, Manifest, Publication
from index_loader.finalise import is_final
from index_loader.fresh_encodings import encoded_around
from index_loader.load import Progress
from index_loader.recall import VerifySettings
from index_loader.verify import verify, verify_loaded
from retrieval.golden import replay_golden
from retrieval.opened import open_model
from stores.fresh_items import FreshItems
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
    """Verify a release and make it serve: `verified` and `publish_verified` in one.

    Raises what they raise; what served before goes on serving.
    """
    check_gate(gate, release)
    verification = verified(store, release, loaded, settings)
    return publish_verified(store, verification, gate, if_match, served_model=served_model)


def verified(
    store: Releases, release: str, loaded: Loaded | None = None, settings: VerifySettings | None = None
) -> Verification:
    """A release opened whole, its golden cases replayed, its probe queries asked.

    `loaded`: the index of a search engine that holds it, None where the release itself is searched. Raises
    ReleaseCorrupt, ReleaseUnreadable, ParityBroken, VerificationFailed or IndexUnavailable.
    """
    manifest = store.manifest(release)
    opened = open_model(store.open(release))
    report = (
        loaded.verify(manifest, opened.fitted, settings) if loaded else verify(opened.index, opened.fitted, settings)
    )
    return Verification(release=release, digest=manifest.digest, index=loaded.name if loaded else None, report=report)


def publish_verified(
    store: Releases,
    verification: Verification,
    gate: GateReport | None,
    if_match: str | None,
    *,
    served_model: str = "two_tower",
    night: str | None = None,
) -> Current:
    """Make what was verified serve.

    `gate`: its verdict, None where an operator publishes by hand (then `served_model` says which model answers).
    `if_match`: etag of what served when the decision was made, None if nothing did. `night`: which one decided. Raises
    GateBlocked, VerificationFailed where the release is another one by now, or PointerConflict.
    """
    check_gate(gate, verification.release)
    if (digest := store.manifest(verification.release).digest) != verification.digest:
        raise VerificationFailed(
            f"{verification.release} has the digest {digest[:12]}…, verified was {verification.digest[:12]}….",
            fix="Verify it again.",
        )
    before = store.current()
    sequence = store.next_sequence()
    publication = Publication(
        id=f"p{sequence:06d}-{uuid4().hex[:8]}",
        sequence=sequence,
        release=verification.release,
        served_model=gate.served_model if gate else served_model,
        gate=gate,
        index=verification.index,
        ef_search=verification.report["ef_search"] if verification.index else None,
        verification=verification.report,
        previous=before.publication.id if before else None,
        night=night,
        created_at=now_text(),
    )
    return store.publish(publication, if_match)


def check_gate(gate: GateReport | None, release: str) -> None:
    """Raise GateBlocked where a verdict does not let a release pass, or is on another one."""
    if gate is not None and gate.blocked:
        raise GateBlocked(gate.reasons, fix="What served before goes on serving; see the checks of the gate.")
    if gate is not None and gate.release != release:
        raise GateBlocked(f"the verdict is on {gate.release}, not on {release}.", fix="Judge this release.")


def rollback(store: Releases, publication: str | None, items: FreshItems, client: OpenSearch | None = None) -> Current:
    """Serve an earlier publication again: the one before the current, or the one named.

    Its release is opened and its golden cases replayed first, live items are encoded for it, and with a `client` its
    index is looked for. Raises NothingPublished where there is nothing before, IndexUnavailable where its index is
    gone, LiveDataUnavailable.
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
    with encoded_around(store, earlier.release, items):
        return store.publish(earlier, current.etag)
