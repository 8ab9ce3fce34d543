"""A night: what its steps leave for each other, by name.

Everything of a night lies in the data bucket below `nights/<night>/`, its dataset below `snapshots/<night>/`. A step
reads the artifacts of those before it and writes its own, so that any of them can be killed and run again. The state
machine itself reads one kind of document, the verdict. Pure names and shapes; `stores/nights.py` keeps them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from contracts.errors import RequestInvalid
from contracts.release import FileEntry

DATASETS: Final = "datasets/"
EVENT_LOG: Final = "events/"
"""The log that Firehose writes, `events/dt=<day of arrival>/…`."""
NIGHTS: Final = "nights/"
SNAPSHOTS: Final = "snapshots/"
TRAININGS: Final = "trainings/"
"""What single trainings from a laptop bring and leave (`tandem aws train`)."""
LEASE_KEY: Final = f"{NIGHTS}lease.json"
"""Who runs; moved by a conditional write."""
BASE_KEY: Final = f"{SNAPSHOTS}current.json"
"""The snapshot that the next one grows from: the newest that passed its check."""

NIGHT_PATTERN: Final = r"n\d{6}-\d{8}"
"""`n<token>-<day>`: the token of the lease makes it one of its kind."""


class Step(StrEnum):
    """What a night does, in order; each can be begun from (`tandem aws run-nightly --from`)."""

    SNAPSHOT = "snapshot"
    CHECK = "check"
    TRAIN = "train"
    SEAL = "seal"
    GATE = "gate"
    INDEX = "index"
    """Prepare, load the parts, finalise."""
    VERIFY = "verify"
    PUBLISH = "publish"
    BACKFILL = "backfill"
    SWEEP = "sweep"


class Accept(StrEnum):
    """What an operator lets pass for one run, and what otherwise ends it."""

    FEW_EVENTS = "few-events"
    SCHEMA = "schema"


class NightInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an execution is started with; the schedule sends `{}`."""

    begin: Step = Step.SNAPSHOT
    """The first step; an earlier one than the last that ended is safe, a later one needs what it lacks."""
    night: str = ""
    """Whose artifacts to go on with; empty: a new night, or with a later `begin` the newest one."""
    accept: tuple[Accept, ...] = ()


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who may write, under which token: higher than that of every night before."""

    token: int
    night: str
    execution: str
    """ARN of the execution that holds it."""
    taken_at: str
    """ISO 8601, UTC."""
    released: bool = False


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What served when a night began."""

    publication: str
    release: str
    etag: str
    """Of the pointer; the publication of this night moves it under this condition."""
    night: str | None = None
    """Which night made it; None: somebody did by hand."""


class NightFacts(msgspec.Struct, frozen=True, kw_only=True):
    """`night.json`: what every step is told."""

    night: str
    token: int
    execution: str
    dataset: str
    """Name of the dataset in the data bucket, `datasets/<name>/`."""
    begun_at: int
    """Unix seconds."""
    serving: Serving | None = None
    accept: tuple[Accept, ...] = ()


REASON_CHARACTERS: Final = 4_000
"""Of a verdict or an outcome: the state machine carries it, and people read it."""


class Decision(StrEnum):
    """What the state machine does after a verdict."""

    GO = "go"
    STOP = "stop"
    """There is nothing to do: the night ends well."""
    REFUSE = "refuse"
    """Something is wrong: the night ends, and says so to people."""


class StepVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`<step>.verdict.json`: small enough to be read by the state machine."""

    step: Step
    decision: Decision
    code: str = ""
    """Of the failure (`contracts/errors.py`), or `nothing-new`."""
    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS)] = ""
    """For people: what was found, and what to do."""


class SnapshotReport(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot.json`: what is in the dataset of a night."""

    night: str
    dataset: str
    base: str | None
    """Night of the snapshot that this one grew from; None: from the dataset alone."""
    base_events: str
    """Digest of the dataset's own event files: where it changes, the next snapshot starts from it again."""
    catalogue: str
    """Digest of schema, users and items, with what was told of these since."""
    read_from: str
    """Day of arrival (UTC) of the first log objects that were read."""
    position: str
    """Day of arrival of the newest: the next night reads from the day before it, and drops what it has."""
    events: int
    users: int
    """That have events."""
    items: int
    """That have events."""
    log_events: int
    """Of the log, each once, ever: what a later night compares with."""
    new_events: int
    """Of these, since the snapshot that the serving release was trained on."""
    repeated: int
    """Of the log, left out as known: told again, or read again because the last days are."""
    too_old: int
    """Left out, of the log and of what the snapshot grew from: older than the window of the history."""
    newest_event: int
    """Unix seconds; 0 without times."""
    unchanged: bool
    """Neither events nor catalogue, nor who left, differ from what serves."""
    live_items: int = 0
    """In the catalogue as clients told them, instead of the dataset's row or beside its rows."""
    live_features_dropped: int = 0
    """Values told of these that the schema has no place for."""
    forgotten_events: int = 0
    """Left out, of the log and of what the snapshot grew from: of users who left."""
    forgotten_users: int = 0
    """That had such events."""
    forgotten_rows: int = 0
    """Of the table of users, left out for the same reason."""
    merged_sessions: int = 0
    """Sessions that turned out to be a user's, of which events were read now."""
    people: str = ""
    """Digest of who left and which session is whose; empty: nobody, none."""
    people_as_of: int = 0
    """Unix seconds: what is of users who left before is in no event."""
    arrivals: dict[str, int] = {}
    """Hour of arrival (UTC, `2026-11-26T03`) → events, of the last days: what is usual."""
    damaged: list[str] = []
    """Objects of the log that could not be read whole, and why."""
    files: dict[str, FileEntry] = {}


class SealedRelease(msgspec.Struct, frozen=True, kw_only=True):
    """`release.json`: the candidate of a night."""

    release: str
    digest: str
    n_items: int
    model: str
    """`s3://…/` of the trained bundle that was sealed."""
    indexed: bool
    """Whether it is searched in the domain."""


class LoadedIndex(msgspec.Struct, frozen=True, kw_only=True):
    """`index.json`: the index that a candidate is loaded into."""

    release: str
    name: str
    parts: int
    """How many the load is cut into."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """`verification.json`: the release, and the index where it has one, do what they promise."""

    release: str
    digest: str
    index: str | None
    report: dict[str, Any]


class Outcome(StrEnum):
    """How a night ended."""

    PUBLISHED = "published"
    NOTHING_NEW = "nothing-new"
    FAILED = "failed"


class NightOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome.json`: what became of a night, for people, alarms and `tandem aws status`."""

    night: str
    outcome: Outcome
    code: str = ""
    reason: str = ""
    step: str = ""
    """State that failed."""
    release: str | None = None
    publication: str | None = None
    ended_at: str


def night_id(token: int, day: str) -> str:
    """The id of a night; `day` as 20261126."""
    return f"n{token:06d}-{day}"


def token_of(night: str) -> int:
    """The token in an id. Raises RequestInvalid where it is none."""
    if not re.fullmatch(NIGHT_PATTERN, night):
        raise RequestInvalid(f"{night!r} is no night.", field="night", fix="`tandem aws status` shows the last ones.")
    return int(night[1:7])


def night_prefix(night: str) -> str:
    """Where the artifacts of a night lie in the data bucket."""
    token_of(night)
    return f"{NIGHTS}{night}/"


def snapshot_prefix(night: str) -> str:
    """Where the dataset of a night lies; its listing is written last, beside it (`snapshot_listing`)."""
    token_of(night)
    return f"{SNAPSHOTS}{night}/"


def snapshot_listing(night: str) -> str:
    """The key that says which files a snapshot has: without it, it is none."""
    return f"{snapshot_prefix(night).rstrip('/')}.files.json"


def dataset_prefix(name: str) -> str:
    """Where the files of a dataset lie in the data bucket."""
    return f"{DATASETS}{name}/"


def dataset_listing(name: str) -> str:
    """The key that says which files a dataset has, beside them and written last."""
    return f"{DATASETS}{name}.files.json"
