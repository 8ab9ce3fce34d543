"""The named failures of Tandem, each saying when it is raised.

A failure carries a stable `code` (it becomes the type of an HTTP problem and the `error` of `--json`), a message that
says what was found and where, and a `fix` that says what to do. Which HTTP status a failure becomes is decided in one
place, `lambda_user_tower/problems.py`. Everybody raises these; only the edges (CLI, Lambda) catch them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class TandemError(Exception):
    """Root of every failure that Tandem names."""

    code = "tandem-error"

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".rstrip()


class SchemaError(TandemError):
    """schema.toml is missing, malformed, of an unreadable version, or contradicts itself."""

    code = "schema-invalid"


class DatasetError(TandemError):
    """A dataset file is missing, unreadable, truncated, or lacks what its schema promises."""

    code = "dataset-invalid"


class ImportRejected(TandemError):
    """Too many rows of a source could not be read; nothing was written."""

    code = "import-rejected"


class NotEnoughData(TandemError):
    """The data cannot train a model (no events, one user, one item, nothing to validate on)."""

    code = "not-enough-data"


class SplitImpossible(TandemError):
    """The dataset cannot be split by the protocol that was asked for (no time, no order, no given split)."""

    code = "split-impossible"


class TrainingDiverged(TandemError):
    """The loss or a vector stopped being finite and could not be recovered from a checkpoint."""

    code = "training-diverged"


class RankLost(TandemError):
    """A process of a training on several cannot reach the others: one of them ended, or never came."""

    code = "rank-lost"


class ReleaseNotFound(TandemError):
    """No sealed release of that id exists (a folder without a manifest is not a release)."""

    code = "release-not-found"


class ReleaseCorrupt(TandemError):
    """A file of a release is missing, cut, altered, or does not hold what its manifest says."""

    code = "release-corrupt"


class ReleaseUnreadable(TandemError):
    """The release was written in a format version outside the range that this code reads."""

    code = "release-unreadable"


class ParityBroken(TandemError):
    """A golden case replayed on an opened release gave another vector than the one written at export."""

    code = "parity-broken"


class GateBlocked(TandemError):
    """The gate refused a candidate release; what was serving goes on serving."""

    code = "gate-blocked"


class VerificationFailed(TandemError):
    """An index does not answer the probe queries of its release as promised; nothing was published."""

    code = "verification-failed"


class NothingPublished(TandemError):
    """There is no publication to serve or to roll back to."""

    code = "no-release"


class PointerConflict(TandemError):
    """Somebody else moved `current` between our read and our conditional write."""

    code = "pointer-conflict"


class StorageFull(TandemError):
    """The disk has no room; what was being written is not visible."""

    code = "storage-full"


class StateBusy(TandemError):
    """Another process holds the lock of this state folder for longer than we wait."""

    code = "state-busy"


class IndexUnavailable(TandemError):
    """The vector index did not answer within its share of the deadline; retrieval falls back and says so."""

    code = "index-unavailable"


class ServerUnavailable(TandemError):
    """No search server can be had on this machine, or the one that was named does not answer."""

    code = "server-unavailable"


class IndexLoadFailed(TandemError):
    """A release cannot be put into an index, or an index does not take it; nothing was published."""

    code = "index-load-failed"


class StoreUnavailable(TandemError):
    """The bucket of the releases refuses, throttles or does not answer; the message names bucket, key and code."""

    code = "store-unavailable"


class ProfilesUnavailable(TandemError):
    """The profile store cannot be read or written: not a profile store, of another version, or damaged."""

    code = "profiles-unavailable"


class ProfileTooLarge(TandemError):
    """Features of a user leave no room for what they do in a record of MAX_PROFILE_BYTES; nothing was written."""

    code = "profile-too-large"


class IdInvalid(TandemError):
    """A user or item id is empty, no Unicode, or longer than MAX_ID_BYTES of UTF-8: no store keeps it."""

    code = "id-invalid"


class LogUnavailable(TandemError):
    """The event log cannot be written or read: no stream, folder or bucket of that name, no access, no network."""

    code = "log-unavailable"


class RequestInvalid(TandemError):
    """A request cannot be understood; `field` names the part of it that is wrong."""

    code = "request-invalid"

    def __init__(self, message: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.field = field


class RequestTooLarge(RequestInvalid):
    """The body of a request is over the limit; it was not parsed."""

    code = "request-too-large"


class MediaTypeUnsupported(RequestInvalid):
    """The body of a request is of another media type, or is compressed; it was not parsed."""

    code = "media-type-unsupported"


class UserForbidden(TandemError):
    """A caller who is let in as one user spoke for another."""

    code = "user-forbidden"


class RouteNotFound(TandemError):
    """No endpoint answers to this method and path."""

    code = "not-found"


class ItemNotFound(TandemError):
    """The release that is serving does not know this item."""

    code = "item-not-found"


class SessionMerged(TandemError):
    """An anonymous session is somebody's already: events go to them, and it cannot become another user's."""

    code = "session-merged"

    def __init__(self, message: str, *, user_id: str, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.user_id = user_id
        """Whose it is; not for logs, and for nobody else's answer."""


class LiveDataUnavailable(TandemError):
    """The store of fresh items, of who left or of live counts does not answer."""

    code = "live-data-unavailable"


class BatchMismatch(TandemError):
    """A folder of recommendations was begun with another publication, other users or other settings."""

    code = "batch-mismatch"


class ForgetIncomplete(TandemError):
    """Something of a user who was to be forgotten is still there."""

    code = "forget-incomplete"


class MethodNotAllowed(TandemError):
    """The path exists, the method does not; `allowed` lists the methods that do."""

    code = "method-not-allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...] = (), fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.allowed = allowed


class SettingsInvalid(TandemError):
    """An environment variable of a unit cannot be understood; found at cold start, before any request."""

    code = "settings-invalid"


class DeploymentInvalid(TandemError):
    """A context value of `cdk` (`-c name=value`) makes no sense, or there is no bundle; nothing was synthesised."""

    code = "deployment-invalid"


class TemplateUnresolved(TandemError):
    """A template of the stacks says something that the rehearsal of it does not know how to read."""

    code = "template-unresolved"


class BundleNotBuilt(TandemError):
    """The libraries of the deployed functions cannot be installed or compiled; the previous bundle is untouched."""

    code = "bundle-not-built"


class BundleRejected(TandemError):
    """A bundle was built and must not be deployed; `problems` says why. The previous bundle is untouched."""

    code = "bundle-rejected"

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.problems = problems


class FunctionError(TandemError):
    """A Lambda function answered with an error, ran out of time, or died; `payload` is what its caller is told."""

    code = "function-error"

    def __init__(self, message: str, *, payload: Mapping[str, object] | None = None, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.payload = dict(payload or {})

    @classmethod
    def of(cls, payload: Mapping[str, object]) -> FunctionError:
        """From what a caller of the function would be told."""
        message = f"{payload.get('errorType', 'Unknown')}: {payload.get('errorMessage', '')}"
        return cls(message, payload=payload)


class ExtraMissing(TandemError):
    """A command needs packages that are not installed; `fix` names the extra that brings them."""

    code = "extra-missing"


class DeploymentNotFound(TandemError):
    """The stacks of a deployment, or an output that they should have, are not there."""

    code = "deployment-not-found"


class AwsCallFailed(TandemError):
    """AWS refused a call or could not be reached: no credentials, no permission, no such thing, no network."""

    code = "aws-call-failed"


class NightRunning(TandemError):
    """Another night holds the lease and is still running; this one has changed nothing."""

    code = "night-running"


class LeaseLost(TandemError):
    """A newer night has taken the lease: what this one still does must not be written."""

    code = "lease-lost"


class NightIncomplete(TandemError):
    """A step needs an artifact that no step of this night has written."""

    code = "night-incomplete"


class TooFewEvents(TandemError):
    """Far fewer events have come than on usual days: a feed has most likely broken."""

    code = "too-few-events"


class SchemaChanged(TandemError):
    """The dataset's schema is not that of the release that serves."""

    code = "schema-changed"


class SliceChanged(TandemError):
    """The slice that the gate would judge on is not the one that training held out; nothing was judged."""

    code = "slice-changed"


class JobFailed(TandemError):
    """A job in SageMaker ended without its result; the message has the reason that SageMaker gives."""

    code = "job-failed"


class StudyUnusable(TandemError):
    """The file of a study of `tandem tune` was made of other data or settings, is no study, or cannot be written."""

    code = "study-unusable"


class PayloadInvalid(TandemError):
    """A payload or a file of experiments says what no slate can be made by; what served before goes on."""

    code = "payload-invalid"


class EnvelopeRefused(TandemError):
    """An envelope is too large, damaged, unsigned, too old or older than the last one; what served before goes on."""

    code = "envelope-refused"


class ExperimentsUnavailable(TandemError):
    """The store of experiments does not answer, or another writer was faster; nothing was written."""

    code = "experiments-unavailable"


class ExposuresInvalid(TandemError):
    """Files of exposures or events cannot be judged by: a column is missing, of another type, or of mixed zones."""

    code = "exposures-invalid"


class SupportTooThin(TandemError):
    """What was logged says too little about the arm that was not served; no estimate is better than that one."""

    code = "support-too-thin"


class PricesOutdated(TandemError):
    """The file of AWS's prices is older than a year."""

    code = "prices-outdated"


@contextmanager
def naming_full_disk(target: Path) -> Iterator[None]:
    """Turn "no space left" (and "quota exceeded") into StorageFull that names what was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull(
            f"{target}: the disk is full; nothing of it was made visible.", fix="Free some space and run it again."
        ) from error
