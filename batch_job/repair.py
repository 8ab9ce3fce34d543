"""Profiles put right from the event log: what a profile write lost is added, or profiles are made anew.

The log is read once and put by user on disk; then a few users at a time are held against their records. So memory does
not grow with the log (`user_buckets.py`), but with the events of the busiest user. Killed half-way, it is run again:
an event that a record has is never added twice. What users did before they left stays out, and events of a session that
turned out to be a user's are theirs. It does not know which stores it is given; `tandem profiles repair` and
`tandem aws` call it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import compress, repeat
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from batch_job.event_log_reading import Reading, read_events
from batch_job.log_sources import LogSource
from batch_job.profile_reading import ProfileReading
from batch_job.snapshot_people import LEFT, MOVED, People
from batch_job.user_buckets import PLACE, UserBuckets
from contracts.errors import SessionMerged, TandemError
from contracts.profile import HistoryEvent, Profile
from contracts.schema import DatasetSchema
from data_sources.indexed import event_weights
from stores.identities import Identities
from stores.profile_leaving import handed_over_id
from stores.profile_records import DIGEST_BYTES
from stores.profile_rules import AS_OF_NO_TIME, EVENT_IDS_LIMIT, with_events
from stores.profiles import Addition, Profiles, Stored

NEWEST_EVENTS: Final = EVENT_IDS_LIMIT // 2
"""Of a user that are held against their record. It remembers twice as many ids: as many events again may arrive while
the log is read, or stand in another order there, and each of these is still known."""

USERS_AT_ONCE: Final = 100
"""What one read of DynamoDB takes, and a transaction of SQLite of some milliseconds: live events get in between."""

_SECONDS_PER_DAY: Final = 86_400
_COLUMNS: Final = ("event_id", "user_id", "item_id", "event_type", "timestamp", "received_at", "session_id")
_WEIGHT: Final = "weight"
_TOLD_AS: Final = "told_as"
"""Column of the user id under which an event is in the log."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    schema: DatasetSchema
    """Of the release that serves: what event types weigh, and whether times mean anything."""
    max_age_days: int
    """Older events, by arrival, are in no profile: see LambdaSettings.event_max_age_days."""
    since: date | None = None
    """Day of arrival (UTC) of the first events; None: all."""
    rebuild: bool = False
    """Profiles say what the log says, and what came since, and nothing else. Needs the whole log."""
    dry_run: bool = False


@dataclass
class Repair:
    """What was found and done."""

    reading: Reading = field(default_factory=Reading)
    unknown_items: int = 0
    """Events of items that the release at that time did not know: in no profile."""
    too_old: int = 0
    departed: int = 0
    """Events from before their user left: never brought back."""
    claimed: int = 0
    """Events of sessions that are a user's, left to the next night: nobody said here whose, or without times nothing
    tells which of them the user has."""
    repeated: int = 0
    """Events that are more than once in the log."""
    users: int = 0
    users_changed: int = 0
    events_added: int = 0
    """To records of users; with `rebuild`, the events that changed records are made of."""
    failed: Counter[str] = field(default_factory=Counter)
    """Code of a failure → users whose record stayed as it was."""


def repair_profiles(
    source: LogSource,
    profiles: Profiles,
    plan: Plan,
    progress: Progress | None = None,
    identities: Identities | None = None,
) -> Repair:
    """Hold the profiles of every user in the log against it, and write what they lack.

    `identities`: who left and whose sessions are whose; without it only the records themselves say who left. A damaged
    object or line of the log, and a record that cannot be changed, is counted and left out. Raises LogUnavailable,
    LiveDataUnavailable, ProfilesUnavailable where the store does not answer at all, StorageFull where the temporary
    folder has too little room.
    """
    tell, done = progress or (lambda _done, _total, _text: None), Repair()
    people = People.nobody() if identities is None else People.of(identities)
    records = ProfileReading(profiles, done.failed)
    with tempfile.TemporaryDirectory(prefix="tandem-repair-") as folder:
        buckets = UserBuckets(Path(folder))
        for frame in read_events(source, plan.since, done.reading):
            buckets.add(_of_users(_of_profiles(frame, plan, done), people, plan, done))
            tell(done.reading.objects, 0, "objects of the log")
        for frame in buckets.frames():
            for users, events in _chunks(_in_order(frame, plan, done)):
                done.users += len(users)
                stored = records.read(users)
                chunk = _additions(_since_departure(events, stored, done), plan)
                _bring_up(profiles, chunk, stored, plan, done)
                tell(done.users, 0, "users")
    return done


def _of_profiles(frame: pl.DataFrame, plan: Plan, done: Repair) -> pl.DataFrame:
    """The events that belong into a profile, as the edge decides it."""
    known = frame.filter(pl.col("known_item"))
    oldest = pl.col("received_at") - plan.max_age_days * _SECONDS_PER_DAY
    young = known.filter(pl.col("timestamp") >= oldest)
    done.unknown_items += len(frame) - len(known)
    done.too_old += len(known) - len(young)
    return young.select(_COLUMNS)


def _of_users(events: pl.DataFrame, people: People, plan: Plan, done: Repair) -> pl.DataFrame:
    """Events under the ids of the users whose they are, without those from before a user, or a session, left."""
    staying = _without_departed(events, people.departures(events["user_id"]), done)
    renamed = people.renamed(staying.with_columns(pl.col("user_id").alias(_TOLD_AS)))
    moved = renamed[MOVED]
    if not moved.any():
        return renamed.select(_COLUMNS)
    theirs = _without_departed(renamed, people.departures(renamed.filter(moved)["user_id"]), done)
    return _handed_over(theirs, plan, done).select(_COLUMNS)


def _without_departed(events: pl.DataFrame, left: pl.DataFrame, done: Repair) -> pl.DataFrame:
    """`left`: user_id and LEFT, the Unix second of the departure, of some users."""
    if left.is_empty():
        return events
    joined = events.join(left, on="user_id", how="left", maintain_order="left")
    staying = joined.filter(pl.col(LEFT).is_null() | (pl.col("received_at") > pl.col(LEFT))).drop(LEFT)
    done.departed += len(events) - len(staying)
    return staying


def _handed_over(events: pl.DataFrame, plan: Plan, done: Repair) -> pl.DataFrame:
    """Events of sessions under the ids that the edge gives them when it hands them over, as far as it does."""
    if not plan.schema.timed:
        if plan.rebuild:
            return events
        done.claimed += int(events[MOVED].sum())
        return events.filter(~pl.col(MOVED))
    moved = events.filter(pl.col(MOVED))
    weights = event_weights(moved["event_type"], plan.schema).tolist()
    told = map(HistoryEvent, moved["item_id"].to_list(), moved["timestamp"].to_list(), weights)
    ids = list(map(handed_over_id, moved[_TOLD_AS].to_list(), told, moved["event_id"].to_list()))
    return pl.concat([events.filter(~pl.col(MOVED)), moved.with_columns(event_id=pl.Series(ids, dtype=pl.String))])


def _in_order(frame: pl.DataFrame, plan: Plan, done: Repair) -> pl.DataFrame:
    """The events of some users with their weights, user by user in the order of arrival, each once."""
    ordered = frame.sort("user_id", "received_at", PLACE)
    once = ordered.unique(["user_id", "event_id"], keep="first", maintain_order=True)
    done.repeated += len(frame) - len(once)
    wanted = once if plan.rebuild else once.group_by("user_id", maintain_order=True).tail(NEWEST_EVENTS)
    return wanted.with_columns(pl.Series(_WEIGHT, event_weights(wanted["event_type"], plan.schema)))


def _chunks(frame: pl.DataFrame) -> Iterator[tuple[list[str], pl.DataFrame]]:
    """USERS_AT_ONCE users and their events at a time. `frame` is ordered by user."""
    for part in _by_user(frame).iter_slices(USERS_AT_ONCE):
        start, stop = int(part["stop"][0] - part["len"][0]), int(part["stop"][-1])
        yield part["value"].to_list(), frame.slice(start, stop - start)


def _by_user(events: pl.DataFrame) -> pl.DataFrame:
    """User (`value`), how many events they have (`len`) and where these end (`stop`), of events ordered by user."""
    users = events.select(pl.col("user_id").rle()).unnest("user_id")
    return users.with_columns(stop=pl.col("len").cum_sum())


def _since_departure(events: pl.DataFrame, stored: Mapping[str, Stored], done: Repair) -> pl.DataFrame:
    """Without what arrived before its user left, as their record says it."""
    left = {user: one.profile.deleted_at for user, one in stored.items() if one.profile.deleted_at}
    rows = {"user_id": list(left), LEFT: list(left.values())}
    return _without_departed(events, pl.DataFrame(rows, schema={"user_id": pl.String, LEFT: pl.Int64}), done)


def _additions(events: pl.DataFrame, plan: Plan) -> list[Addition]:
    """What the log says of each user. `events` is ordered by user."""
    times = events["timestamp"].to_list() if plan.schema.timed else repeat(None)
    told = list(map(HistoryEvent, events["item_id"].to_list(), times, events[_WEIGHT].to_list()))
    ids, visits, arrived = (events[name].to_list() for name in ("event_id", "session_id", "received_at"))
    users = _by_user(events)
    ends = users["stop"].to_list()
    return [
        Addition(user_id, told[first:end], ids[first:end], visits[first:end], plan.rebuild, arrived[first])
        for user_id, first, end in zip(users["value"].to_list(), [0, *ends], ends, strict=False)
    ]


def _bring_up(
    profiles: Profiles, chunk: Sequence[Addition], stored: Mapping[str, Stored], plan: Plan, done: Repair
) -> None:
    """Write what the records of some users lack, or count it where nothing is to be written."""
    readable = [addition for addition in chunk if addition.user_id in stored]
    claimed = [one for one in readable if stored[one.user_id].profile.merged_into is not None]
    done.claimed += sum(len(addition.events) for addition in claimed)
    readable = [one for one in readable if stored[one.user_id].profile.merged_into is None]
    lacking = [addition if plan.rebuild else missing_from(stored[addition.user_id], addition) for addition in readable]
    lacking = [addition for addition in lacking if addition.events]
    for addition, outcome in zip(lacking, _outcomes(profiles, lacking, stored, plan), strict=True):
        if isinstance(outcome, SessionMerged):  # while the log was read
            done.claimed += len(addition.events)
        elif isinstance(outcome, TandemError):
            done.failed[outcome.code] += 1
        elif outcome:
            done.users_changed += 1
            done.events_added += outcome


def _outcomes(
    profiles: Profiles, additions: Sequence[Addition], stored: Mapping[str, Stored], plan: Plan
) -> Sequence[int | TandemError]:
    if not plan.dry_run:
        return profiles.append_all(additions, AS_OF_NO_TIME, stored) if additions else []
    return [_tried(stored[addition.user_id], addition) for addition in additions]


def _tried(stored: Stored, addition: Addition) -> int | TandemError:
    """What writing it would give."""
    try:
        return with_events(stored, addition, AS_OF_NO_TIME)[1]
    except TandemError as error:
        return error


def missing_from(stored: Stored, addition: Addition) -> Addition:
    """The events of an addition that are not in a record, whether or not it remembers their ids.

    A record may hold events without their ids: a nightly load brings none, and a full record drops the oldest. There an
    event is taken for held that stands in the history, or would have left it as too old; without times, one whose item
    was seen.
    """
    profile = stored.profile
    missing = [not stored.knows(event_id) for event_id in addition.event_ids]
    if any(missing) and len(stored.event_ids) // DIGEST_BYTES < profile.n_events:
        missing = [new and not _is_held(event, profile) for new, event in zip(missing, addition.events, strict=True)]
    return msgspec.structs.replace(
        addition,
        events=list(compress(addition.events, missing)),
        event_ids=list(compress(addition.event_ids, missing)),
        session_ids=list(compress(addition.session_ids, missing)),
    )


def _is_held(event: HistoryEvent, profile: Profile) -> bool:
    """Whether a profile shows that it has had an event. A handful a user are asked: a scan of a hundred each."""
    if event.timestamp is None:
        return event.item_id in profile.seen
    if any(one.timestamp == event.timestamp and one.item_id == event.item_id for one in profile.history):
        return True
    oldest = profile.history[0].timestamp if profile.n_events > len(profile.history) > 0 else None
    return oldest is not None and event.timestamp < oldest
