"""What must be there where a night is gone on with from a later step: its artifacts, and verdicts that let it pass.

Looked at before the first step: what is missing would be found out after hours of training. `beginning.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import msgspec

from contracts.errors import NightIncomplete
from contracts.night import Decision, LoadedIndex, SealedRelease, Serving, Step, Verification, snapshot_listing
from contracts.release import GateReport, Publication
from index_loader.night.trained import newest_model
from stores.nights import Nights
from stores.releases import Releases

_ORDER: Final = tuple(Step)


@dataclass(frozen=True)
class GoneOn:
    """A night, as the steps before have left it."""

    nights: Nights
    releases: Releases
    night: str
    serving: Serving | None
    """What serves now."""

    def has(self, kind: type[msgspec.Struct]) -> bool:
        """Whether an artifact is there."""
        return self.nights.find(self.night, kind) is not None

    def let_pass(self, step: Step) -> bool:
        """Whether a step has decided, and not refused: who begins behind it would make nothing of its refusal."""
        verdict = self.nights.verdict(self.night, step)
        return verdict is not None and verdict.decision is not Decision.REFUSE

    @property
    def snapshot(self) -> bool:
        return self.nights.bucket.etag(snapshot_listing(self.night)) is not None

    @property
    def trained(self) -> bool:
        return newest_model(self.nights.bucket, self.night) is not None

    @cached_property
    def sealed(self) -> SealedRelease | None:
        return self.nights.find(self.night, SealedRelease)

    @property
    def kept(self) -> bool:
        """Whether its release is still one."""
        return self.sealed is not None and self.sealed.release in self.releases.ids()

    @property
    def indexed(self) -> bool:
        """Whether its index was loaded, or it needs none."""
        return self.sealed is not None and (not self.sealed.indexed or self.has(LoadedIndex))

    @property
    def judged(self) -> bool:
        """Whether the gate has compared its release with what serves now; or it serves itself."""
        report = self.nights.find(self.night, GateReport)
        return report is not None and fits(report, self.night, self.sealed, self.serving)


def fits(report: GateReport, night: str, sealed: SealedRelease | None, serving: Serving | None) -> bool:
    """Whether a report is on the release of a night, against what serves: nothing else may be published on it."""
    if sealed is None or report.release != sealed.release:
        return False
    if serving is not None and serving.night == night:
        return True
    return report.compared_with == (serving.release if serving else None)


class Need(NamedTuple):
    """Something that one step leaves and later ones read."""

    what: str
    by: Step
    until: Step
    """The last that reads it."""
    is_there: Callable[[GoneOn], bool]


_NEEDS: Final = (
    Need("the listing of its snapshot", Step.SNAPSHOT, Step.BACKFILL, lambda night: night.snapshot),
    Need("a verdict of it that lets pass", Step.SNAPSHOT, Step.PUBLISH, lambda night: night.let_pass(Step.SNAPSHOT)),
    Need("a verdict of it that lets pass", Step.CHECK, Step.PUBLISH, lambda night: night.let_pass(Step.CHECK)),
    Need("a complete model", Step.TRAIN, Step.SEAL, lambda night: night.trained),
    Need("its sealed release", Step.SEAL, Step.PUBLISH, lambda night: night.kept),
    Need("a verdict of it that lets pass", Step.GATE, Step.PUBLISH, lambda night: night.let_pass(Step.GATE)),
    Need("a comparison with what serves now", Step.GATE, Step.PUBLISH, lambda night: night.judged),
    Need("its index", Step.INDEX, Step.PUBLISH, lambda night: night.indexed),
    Need("its verification", Step.VERIFY, Step.PUBLISH, lambda night: night.has(Verification)),
    Need("its publication", Step.PUBLISH, Step.SWEEP, lambda night: night.has(Publication)),
)


def missing(night: GoneOn, begin: Step) -> list[Need]:
    """What a night that is to go on from a step lacks."""
    first = _ORDER.index(begin)
    needed = (need for need in _NEEDS if _ORDER.index(need.by) < first <= _ORDER.index(need.until))
    return [need for need in needed if not need.is_there(night)]


def check_needs(night: GoneOn, begin: Step) -> None:
    """Raise NightIncomplete, naming the first thing that is missing and the step that writes it."""
    for need in missing(night, begin)[:1]:
        raise NightIncomplete(
            f"{night.night} cannot go on from {begin}: {need.what} is missing, which {need.by} writes.",
            fix=f"Begin from that step: `tandem aws run-nightly --from {need.by} --night {night.night}`.",
        )
