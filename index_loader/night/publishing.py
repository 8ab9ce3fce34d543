"""The steps that make the release of a night serve: verify it, and move the pointer under the condition of the morning.

What verify has found is kept as an artifact; publish moves the pointer only from what served when the night began, and
finds its own publication again. Live items are encoded for the release before it serves and once more after, so none
is missing from an answer. `handler.py` calls it.
"""

from __future__ import annotations

from typing import Any

from contracts.errors import GateBlocked, VerificationFailed
from contracts.night import LoadedIndex, NightFacts, SealedRelease, Verification
from contracts.release import GateReport, Publication
from index_loader.finalise import is_final
from index_loader.fresh_encodings import encoded_around
from index_loader.night.events import Night
from index_loader.night.needs import fits
from index_loader.night.workplace import Workplace, naming_engine_faults
from index_loader.publish import Loaded, publish_verified, verified
from stores.search_index import OpenSearchIndex


@naming_engine_faults()
def verify(place: Workplace, event: Night) -> dict[str, Any]:
    """Hold the release, and its index where it has one, against what they promise.

    Raises VerificationFailed, which for an index may heal by loading a fresh one; ParityBroken, ReleaseCorrupt.
    """
    place.entered(event)
    sealed = place.nights.read(event.night, SealedRelease)
    name = _index(place, event.night, sealed)
    loaded = None if name is None else Loaded(place.engine, name)
    place.nights.write(event.night, verified(place.releases, sealed.release, loaded))
    return {"verified": True}


@naming_engine_faults()
def publish(place: Workplace, event: Night) -> dict[str, Any]:
    """Make the release of the night serve; where it does already, say so again.

    Raises GateBlocked, VerificationFailed where what was verified is something else, PointerConflict where another
    publication has come to serve since the night began; LiveDataUnavailable.
    """
    facts = place.entered(event)
    sealed = place.nights.read(event.night, SealedRelease)
    verification = place.nights.read(event.night, Verification)
    _check_same(place, sealed, verification, _index(place, event.night, sealed))
    gate = place.nights.read(event.night, GateReport)
    publication = _published_already(place, event.night, verification)
    if publication is None:
        _check_judged(gate, facts, sealed)
    with encoded_around(place.releases, sealed.release, place.fresh_items):
        if publication is None:
            if_match = facts.serving.etag if facts.serving else None
            publication = publish_verified(place.releases, verification, gate, if_match, night=event.night).publication
    place.nights.write(event.night, publication)
    return {"publication": publication.id}


def _index(place: Workplace, night: str, sealed: SealedRelease) -> str | None:
    """The index of the release, None where it needs none."""
    if not sealed.indexed:
        return None
    index = place.nights.read(night, LoadedIndex)
    if index.release != sealed.release:
        raise VerificationFailed(
            f"{index.name} was loaded for {index.release}, the release of {night} is {sealed.release}.",
            fix="Begin from the load: `tandem aws run-nightly --from index`.",
        )
    return index.name


def _published_already(place: Workplace, night: str, verification: Verification) -> Publication | None:
    """What serves, where this very night has made it: a call before this one was killed before it could answer."""
    current = place.releases.current()
    if current is None or current.publication.night != night:
        return None
    there = current.publication
    return there if (there.release, there.index) == (verification.release, verification.index) else None


def _check_same(place: Workplace, sealed: SealedRelease, verification: Verification, index: str | None) -> None:
    """Raise VerificationFailed where what was verified is not what is to serve, or its index is gone or can change."""
    was = (verification.release, verification.digest, verification.index)
    if was != (sealed.release, sealed.digest, index):
        raise VerificationFailed(
            f"verified was {was[0]} ({was[1][:12]}…) in {was[2]}, to serve is {sealed.release} ({sealed.digest[:12]}…) "
            f"in {index}.",
            fix="Verify again: `tandem aws run-nightly --from verify`.",
        )
    if index is not None:
        OpenSearchIndex.open(place.engine, index, place.releases.manifest(sealed.release))
        if not is_final(place.engine, index):
            raise VerificationFailed(f"{index}: it is not final, and can still change.", fix="Load it again.")


def _check_judged(gate: GateReport, facts: NightFacts, sealed: SealedRelease) -> None:
    if not fits(gate, facts.night, sealed, facts.serving):
        serves = facts.serving.release if facts.serving else "nothing"
        raise GateBlocked(
            f"the gate has compared {gate.release} with {gate.compared_with}; {sealed.release} is to serve in place of "
            f"{serves}.",
            fix="Judge again: `tandem aws run-nightly --from gate`.",
        )
