"""The artifacts of the nights in the data bucket, and the lease that keeps two of them apart.

`nights/<night>/…` holds documents, `snapshots/<night>/…` the dataset of a night, `nights/lease.json` who may write. The
lease is taken by a conditional write under a token that only grows; a step that changes what others see asks first
whether its token is still the newest. A laptop's night needs none of this: its lock is a file. The jobs and functions
of a night and the CLI call it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from contracts.errors import LeaseLost, NightIncomplete, NightRunning, ReleaseCorrupt, StoreUnavailable
from contracts.night import (
    BASE_KEY,
    DATASETS,
    LEASE_KEY,
    NIGHTS,
    Lease,
    LoadedIndex,
    NightFacts,
    NightOutcome,
    SealedRelease,
    SnapshotReport,
    Step,
    StepVerdict,
    Verification,
    dataset_listing,
    night_id,
    night_prefix,
    token_of,
)
from contracts.release import GateReport, Manifest, Publication
from stores.publications import now_text
from stores.s3_bucket import Bucket, ObjectMissing, ObjectMoved

Artifact = TypeVar("Artifact", bound=msgspec.Struct)
Result = TypeVar("Result")

MAX_DOCUMENT_BYTES: Final = 16 << 20
"""A snapshot's report lists its files: some hundred of 100 bytes each."""
_LISTING: Final = dataset_listing("").removeprefix(DATASETS)
"""What the key of a listing ends in."""
TRIES: Final = 5
"""At a document, against others who write it in the same moment."""


class _Contested(StoreUnavailable):
    """Others came first every time."""


NAMES: Final[dict[type[msgspec.Struct], str]] = {
    NightFacts: "night.json",
    SnapshotReport: "snapshot.json",
    Manifest: "manifest.json",
    SealedRelease: "release.json",
    GateReport: "gate.json",
    LoadedIndex: "index.json",
    Verification: "verification.json",
    Publication: "publication.json",
    NightOutcome: "outcome.json",
}
"""Artifact → its file. A manifest is noted before its release is uploaded: who was killed goes on with its id."""


def verdict_name(step: Step) -> str:
    """The file of a step's verdict."""
    return f"{step}.verdict.json"


class Base(msgspec.Struct, frozen=True):
    """Which snapshot the next one grows from."""

    night: str


class Nights:
    """What the nights of a deployment have written. Every method raises StoreUnavailable where S3 does."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def lease(self) -> Lease | None:
        """Who holds the lease, or held it last."""
        return self._read(LEASE_KEY, Lease)[0]

    def take_lease(self, execution: str, is_running: Callable[[str], bool], night: str = "") -> Lease:
        """Take the lease for an execution under the next token; one that it holds already stays its own.

        `is_running`: whether another execution, by its ARN, still runs; asked only about the holder. `night`: an
        earlier night that is gone on with, else a new one. Raises NightRunning where somebody else runs.
        """
        return self._against_others(LEASE_KEY, lambda: self._take(execution, is_running, night))

    def _take(self, execution: str, is_running: Callable[[str], bool], night: str) -> Lease:
        held, etag = self._read(LEASE_KEY, Lease)
        if held is not None and not held.released:
            if held.execution == execution:
                return held
            if is_running(held.execution):
                raise NightRunning(
                    f"{held.night} has been running since {held.taken_at}.",
                    fix="Wait for it, or stop its execution first.",
                )
        token = held.token + 1 if held else 1
        named = night or night_id(token, f"{datetime.now(UTC):%Y%m%d}")
        lease = Lease(token=token, night=named, execution=execution, taken_at=now_text())
        self.bucket.replace(LEASE_KEY, msgspec.json.encode(lease), etag, {})
        return lease

    def check_lease(self, token: int) -> None:
        """Raise LeaseLost unless `token` is the newest there is, and still held."""
        held = self.lease()
        if held is None or held.token != token or held.released:
            found = "nobody holds it" if held is None or held.released else f"{held.night} holds it"
            raise LeaseLost(
                f"the lease of token {token} is gone: {found}.", fix="Nothing was changed; start a new run."
            )

    def release_lease(self, token: int) -> None:
        """Give a lease back; one that is another's by now is left alone."""
        with suppress(_Contested):  # then the next night finds out that this one has ended
            self._against_others(LEASE_KEY, lambda: self._release(token))

    def _release(self, token: int) -> None:
        held, etag = self._read(LEASE_KEY, Lease)
        if held is not None and held.token == token and not held.released:
            given_back = msgspec.structs.replace(held, released=True)
            self.bucket.replace(LEASE_KEY, msgspec.json.encode(given_back), etag, {})

    def ids(self) -> list[str]:
        """Nights that have begun, oldest first."""
        parts = (key.removeprefix(NIGHTS).split("/") for key, _ in self.bucket.listing(NIGHTS))
        return sorted(night for night, *names in parts if names == [NAMES[NightFacts]])

    def datasets(self) -> list[str]:
        """Names of the datasets that are there whole, sorted: those with a listing, which is written last."""
        keys = (key.removeprefix(DATASETS) for key, _ in self.bucket.listing(DATASETS))
        return sorted(key.removesuffix(_LISTING) for key in keys if key.endswith(_LISTING) and "/" not in key)

    def read(self, night: str, kind: type[Artifact]) -> Artifact:
        """An artifact of a night. Raises NightIncomplete where no step has written it."""
        if (found := self.find(night, kind)) is None:
            raise NightIncomplete(
                f"{self.bucket.url(_key(night, NAMES[kind]))}: no step of {night} has written it.",
                fix="Begin from the step that does: `tandem aws run-nightly --from`.",
            )
        return found

    def find(self, night: str, kind: type[Artifact]) -> Artifact | None:
        """An artifact of a night, None where no step has written it."""
        return self._read(_key(night, NAMES[kind]), kind)[0]

    def write(self, night: str, artifact: msgspec.Struct) -> None:
        """Write an artifact; a step that is run again writes it anew."""
        self._overwrite(_key(night, NAMES[type(artifact)]), artifact)

    def forget(self, night: str, kind: type[Artifact]) -> None:
        """Remove an artifact whose thing is gone, so that nobody goes on with it."""
        self.bucket.delete([_key(night, NAMES[kind])])

    def verdict(self, night: str, step: Step) -> StepVerdict | None:
        """What a step has decided."""
        return self._read(_key(night, verdict_name(step)), StepVerdict)[0]

    def write_verdict(self, night: str, verdict: StepVerdict) -> None:
        """Say what the state machine is to do."""
        self._overwrite(_key(night, verdict_name(verdict.step)), verdict)

    def base(self) -> str | None:
        """The night whose snapshot the next one grows from."""
        found = self._read(BASE_KEY, Base)[0]
        return found.night if found else None

    def adopt(self, night: str) -> None:
        """Let the next snapshot grow from this night's. Raises LeaseLost where a newer night's is there."""
        self._against_others(BASE_KEY, lambda: self._move_base(night))

    def _move_base(self, night: str) -> None:
        there, etag = self._read(BASE_KEY, Base)
        if there is not None and token_of(there.night) > token_of(night):
            raise LeaseLost(f"{there.night} has a newer snapshot than {night}.", fix="Start a new run.")
        self.bucket.replace(BASE_KEY, msgspec.json.encode(Base(night)), etag, {})

    def _overwrite(self, key: str, document: msgspec.Struct) -> None:
        data = msgspec.json.encode(document)
        self._against_others(key, lambda: self.bucket.replace(key, data, self.bucket.etag(key), {}))

    def _against_others(self, key: str, attempt: Callable[[], Result]) -> Result:
        """What an attempt to write a document gives, made again while others come first. Raises StoreUnavailable."""
        for _ in range(TRIES):
            try:
                return attempt()
            except ObjectMoved:
                continue
        raise _Contested(f"{self.bucket.url(key)}: is being written all the time.", fix="Try again.")

    def _read(self, key: str, kind: type[Artifact]) -> tuple[Artifact | None, str | None]:
        try:
            document = self.bucket.read(key, MAX_DOCUMENT_BYTES)
        except ObjectMissing:
            return None, None
        try:
            return msgspec.json.decode(document.data, type=kind), document.etag
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ReleaseCorrupt(f"{self.bucket.url(key)}: not what a night writes: {error}.") from error


def _key(night: str, name: str) -> str:
    return night_prefix(night) + name
