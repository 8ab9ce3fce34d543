"""What a step of a night that runs in the training container is given: the artifacts, the releases, the dataset.

A step writes a verdict; what it needs and does not find is a named failure. `check.py` and `judge.py` are the steps,
`__main__.py` opens this for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import PointerConflict, ReleaseNotFound, TandemError
from contracts.night import REASON_CHARACTERS, Decision, NightFacts, Step, StepVerdict
from contracts.night_settings import NightSettings
from contracts.release import Publication
from stores.nights import Nights
from stores.releases import Releases
from stores.s3_bucket import Bucket
from stores.s3_releases import S3Releases


@dataclass(frozen=True)
class NightJob:
    """One step at work."""

    nights: Nights
    releases: Releases
    facts: NightFacts
    token: int
    """Of the lease, as this step was told it."""
    dataset: Path
    """The snapshot of the night."""

    @classmethod
    def open(cls, settings: NightSettings, night: str, token: int, dataset: Path) -> NightJob:
        """Read what the night was told. Raises SettingsInvalid, RequestInvalid, NightIncomplete, StoreUnavailable."""
        settings.needed("data_bucket", "releases_bucket")
        nights = Nights(Bucket(settings.data_bucket))
        releases = S3Releases(settings.releases_bucket, settings.home)
        return cls(nights, releases, nights.read(night, NightFacts), token, dataset)

    def served(self) -> Publication | None:
        """What served when the night began, None where nothing did.

        Raises PointerConflict where its release has been swept since: so many others have been published meanwhile that
        this night cannot be. Raises ReleaseNotFound where it serves and is not there.
        """
        if (serving := self.facts.serving) is None:
            return None
        publication = self.releases.publication(serving.publication)
        try:
            self.releases.manifest(publication.release)
        except ReleaseNotFound as error:
            if self.releases.etag() == serving.etag:
                raise
            raise PointerConflict(
                f"{self.releases.place}: {publication.release}, which served when {self.facts.night} began, is gone: "
                "others have been published since.",
                fix="Start a new run; this one could not be published.",
            ) from error
        return publication

    def decide(self, verdict: StepVerdict) -> None:
        """Write the verdict. Raises LeaseLost where another night has begun."""
        self.nights.check_lease(self.token)
        self.nights.write_verdict(self.facts.night, verdict)


def go(step: Step, reason: str) -> StepVerdict:
    """The night goes on."""
    return StepVerdict(step=step, decision=Decision.GO, reason=_shortened(reason))


def refuse(step: Step, error: TandemError) -> StepVerdict:
    """The night ends with this failure."""
    return StepVerdict(step=step, decision=Decision.REFUSE, code=error.code, reason=_shortened(str(error)))


def _shortened(text: str) -> str:
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"
