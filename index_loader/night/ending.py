"""The last step of a night that ends well: it says how, in a document and in metrics, and gives the lease back.

Run again it finds what it has written and counts nothing twice. `handler.py` calls it.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import msgspec

from contracts.errors import RequestInvalid
from contracts.night import NightFacts, NightOutcome, Outcome, SealedRelease, Verification
from contracts.release import GateReport, Publication, Verdict
from index_loader.night.events import Finish
from index_loader.night.workplace import Workplace
from stores.nights import Nights
from stores.publications import now_text

Figures = dict[str, tuple[str, float]]
"""Metric → unit and value."""

METRICS = {Outcome.PUBLISHED: "NightPublished", Outcome.NOTHING_NEW: "NightNothingNew", Outcome.FAILED: "NightFailed"}


def finish(place: Workplace, event: Finish) -> dict[str, Any]:
    """The outcome. Raises NightIncomplete where a night is said to have published and has not."""
    if event.outcome is Outcome.FAILED:
        raise RequestInvalid("a night that failed ends by `fail`.", field="outcome")
    facts = place.facts(event)
    published = event.outcome is Outcome.PUBLISHED
    publication = place.nights.read(event.night, Publication) if published else None
    outcome = NightOutcome(
        night=event.night,
        outcome=event.outcome,
        reason=event.reason,
        release=publication.release if publication else None,
        publication=publication.id if publication else None,
        ended_at=now_text(),
    )
    outcome = end(place, facts, outcome, figures_of(place.nights, event.night) if published else {})
    place.nights.release_lease(event.token)
    told: dict[str, Any] = msgspec.to_builtins(outcome)
    return told


def end(place: Workplace, facts: NightFacts, outcome: NightOutcome, figures: Figures) -> NightOutcome:
    """Write an outcome and count it; one that this run has written before is returned instead."""
    there = place.nights.find(facts.night, NightOutcome)
    if there is not None and there.outcome is outcome.outcome and _seconds(there.ended_at) >= facts.begun_at:
        return there
    place.nights.write(facts.night, outcome)
    seconds = ("Seconds", max(0.0, time.time() - facts.begun_at))
    place.telemetry.count({METRICS[outcome.outcome]: ("Count", 1), "NightSeconds": seconds, **figures})
    return outcome


def figures_of(nights: Nights, night: str) -> Figures:
    """What the gate and the verification of a night have found, as far as they got."""
    figures: Figures = {}
    sealed = nights.find(night, SealedRelease)
    gate = nights.find(night, GateReport)
    if sealed is not None and gate is not None and gate.release == sealed.release:
        for name, verdict in (("GateWarnings", Verdict.WARN), ("GateBlocked", Verdict.BLOCK)):
            figures[name] = ("Count", sum(check.verdict is verdict for check in gate.checks))
    verification = nights.find(night, Verification)
    if sealed is not None and verification is not None and verification.release == sealed.release:
        figures["IndexRecall"] = ("None", float(verification.report["recall"]))
    return figures


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
