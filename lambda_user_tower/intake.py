"""Events in: first into the log, then into the profiles of their users, acknowledged after both (decision 14).

Each event gets an answer of its own, so that a client sends again only what was not taken. An event that arrives twice
counts once, one from the future happened now, a flood of one user is capped, and what neither the release nor the live
store knows stays in the log and out of the profile. Events of a session that turned out to be a user's go to that user.
It knows no HTTP; `edge.py` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from contracts.errors import (
    LogUnavailable,
    ProfilesUnavailable,
    RequestInvalid,
    SessionMerged,
    StateBusy,
    StorageFull,
    TandemError,
)
from contracts.event import Event, EventRequest, derived_id
from contracts.fitted import Catalogue
from contracts.profile import HistoryEvent
from contracts.schema import DEFAULT_EVENT_TYPE
from lambda_user_tower.counting import LiveCounter
from lambda_user_tower.event_items import OpensFreshItems, count_now, count_told, told_since
from lambda_user_tower.fresh_id import fresh_id
from lambda_user_tower.laps import Laps
from stores.event_log import EventLog
from stores.profile_leaving import handed_over_id
from stores.profiles import Addition, Profiles, Stored

SKEW_SECONDS: Final = 2
"""Clocks differ by so much; an event further ahead is told that its time was not taken."""

_DAY: Final = 86_400
_STORE_FAILED: Final = (ProfilesUnavailable, StateBusy, StorageFull, OSError)


class EventStatus(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    """In the log and in the profile."""
    DUPLICATE = "duplicate"
    """Taken before; nothing changed."""
    UNKNOWN_ITEM = "unknown-item"
    """In the log; in no profile, for neither the release that serves nor the live store knows the item."""
    TOO_OLD = "too-old"
    """In the log; in no profile."""
    INVALID = "invalid"
    """Not understood."""
    FORBIDDEN = "forbidden"
    """Of another user than the caller."""
    TOO_MANY = "too-many"
    """Its user sends too many at once: send it again later."""
    NOT_WRITTEN = "not-written"
    """The log did not take it: send it again."""
    PROFILE_NOT_WRITTEN = "profile-not-written"
    """In the log and not in the profile: send it again, it counts once."""


FAILED: Final = frozenset({EventStatus.NOT_WRITTEN, EventStatus.PROFILE_NOT_WRITTEN})
"""Failures of ours."""


class EventAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event."""

    status: EventStatus
    event_id: str | None = None
    """Its own, or the one that it was given; None where it was not understood."""
    clamped: bool = False
    """Its time lay in the future, and the moment of arrival was taken."""
    retry: bool = False
    """Whether sending it again can help; it counts once however often it is sent."""
    field: str = ""
    detail: str = ""


class EventsAnswer(msgspec.Struct, frozen=True):
    """What became of the events of a request, in their order."""

    results: list[EventAnswer]
    counts: dict[str, int]
    """Status → events."""


class Intake(NamedTuple):
    """What events are taken in with."""

    catalogue: Catalogue
    log: EventLog
    profiles: Profiles
    now_seconds: int
    per_user_minute: int
    max_age_days: int
    laps: Laps
    """Where the stages say how long they took."""
    only_user: str | None = None
    """The user whom the caller is let in as; None: a trusted caller."""
    fresh_items: OpensFreshItems | None = None
    """Knows items that were told since the release; None: nobody does."""
    counter: LiveCounter | None = None
    """Counts what is popular now; None: nobody does."""


def take_in(told: Sequence[EventRequest | RequestInvalid], intake: Intake) -> EventsAnswer:
    """Write events and say what became of each."""
    answers = [_refusal(one, intake) for one in told]
    let_in = {place: one for place, one in enumerate(told) if answers[place] is None and isinstance(one, EventRequest)}
    since = told_since((one.item_id for one in let_in.values()), intake.catalogue, intake.fresh_items)
    events = {place: _event(one, since, intake) for place, one in let_in.items()}
    stored = _read({event.user_id for event in events.values()}, intake)
    intake.laps.lap("profile")
    answers, fresh = _told_apart(answers, events, stored, intake)
    logged = _into_the_log(answers, fresh, intake)
    intake.laps.lap("log")
    _into_profiles(answers, logged, stored, intake)
    _count(answers, logged, since, intake)
    intake.laps.lap("write")
    done = [_with_time(answer, one, intake) for answer, one in zip(answers, told, strict=True) if answer is not None]
    return EventsAnswer(done, dict(Counter(str(answer.status) for answer in done)))


Answers = list[EventAnswer | None]
"""[events]; None: not decided yet."""
Outcome = int | TandemError | OSError
"""How many events of a user were new, or why none was written."""


def _refusal(one: EventRequest | RequestInvalid, intake: Intake) -> EventAnswer | None:
    if isinstance(one, RequestInvalid):
        return EventAnswer(EventStatus.INVALID, field=one.field, detail=str(one))
    if intake.only_user is not None and one.user_id != intake.only_user:
        return EventAnswer(EventStatus.FORBIDDEN, one.event_id, field="user_id", detail="The caller is another user.")
    return None


def _event(told: EventRequest, since: frozenset[str], intake: Intake) -> Event:
    """An event as the log keeps it; `since`: the items of the request that were told since the release."""
    event_type = told.event_type or DEFAULT_EVENT_TYPE
    event_id = told.event_id
    if event_id is None and told.timestamp is not None:
        event_id = derived_id(told.user_id, told.item_id, event_type, told.timestamp)
    return Event(
        event_id=event_id or fresh_id(),
        user_id=told.user_id,
        item_id=told.item_id,
        event_type=event_type,
        timestamp=intake.now_seconds if told.timestamp is None else min(int(told.timestamp), intake.now_seconds),
        received_at=intake.now_seconds,
        value=told.value,
        session_id=told.session_id,
        recommendation_id=told.recommendation_id,
        known_item=told.item_id in since or intake.catalogue.ids.row(told.item_id) >= 0,
    )


def _read(users: set[str], intake: Intake) -> Mapping[str, Stored]:
    """What is stored of the users; nothing where the store fails, for then the log is all that can be written."""
    try:
        return intake.profiles.read(sorted(users)) if users else {}
    except _STORE_FAILED:
        return {}


def _told_apart(
    answers: Answers, events: Mapping[int, Event], stored: Mapping[str, Stored], intake: Intake
) -> tuple[Answers, dict[int, Event]]:
    """Duplicates and floods answered, and the events that are to be written by their place."""
    fresh: dict[int, Event] = {}
    arrived = {user: _arrived_now(record, intake.now_seconds) for user, record in stored.items()}
    ids: set[tuple[str, str]] = set()
    for place, event in events.items():
        user = event.user_id
        if (user, event.event_id) in ids or (user in stored and stored[user].knows(event.event_id)):
            answers[place] = EventAnswer(EventStatus.DUPLICATE, event.event_id)
            continue
        arrived[user] = arrived.get(user, 0) + 1
        if arrived[user] > intake.per_user_minute:
            detail = f"More than {intake.per_user_minute} events of this user in a minute."
            answers[place] = EventAnswer(EventStatus.TOO_MANY, event.event_id, retry=True, detail=detail)
            continue
        ids.add((user, event.event_id))
        fresh[place] = event
    return answers, fresh


def _arrived_now(record: Stored, now_seconds: int) -> int:
    """Events of a user that have arrived in this minute."""
    profile = record.profile
    return profile.in_minute if profile.minute == now_seconds // 60 else 0


def _into_the_log(answers: Answers, fresh: dict[int, Event], intake: Intake) -> dict[int, Event]:
    """Write to the log; the events that are in it and belong into a profile, by their place."""
    try:
        reasons = intake.log.append(list(fresh.values())) if fresh else []
    except (LogUnavailable, StorageFull, OSError):
        reasons = ["the log does not answer"] * len(fresh)
    oldest = intake.now_seconds - intake.max_age_days * _DAY
    logged = {}
    for (place, event), reason in zip(fresh.items(), reasons, strict=True):
        if reason:
            answers[place] = EventAnswer(EventStatus.NOT_WRITTEN, event.event_id, retry=True, detail=reason)
        elif not event.known_item:
            answers[place] = EventAnswer(EventStatus.UNKNOWN_ITEM, event.event_id, field="item_id")
        elif event.timestamp < oldest:
            detail = f"Older than {intake.max_age_days} days."
            answers[place] = EventAnswer(EventStatus.TOO_OLD, event.event_id, field="timestamp", detail=detail)
        else:
            logged[place] = event
    return logged


def _into_profiles(answers: Answers, logged: Mapping[int, Event], stored: Mapping[str, Stored], intake: Intake) -> None:
    places: dict[str, list[int]] = {}
    for place, event in logged.items():
        places.setdefault(event.user_id, []).append(place)
    additions = [_addition(user, [logged[place] for place in at], intake) for user, at in places.items()]
    outcomes = _with_their_users(additions, _append(additions, stored, intake), intake)
    for at, outcome in zip(places.values(), outcomes, strict=True):
        for place in at:
            answers[place] = _outcome(logged[place], outcome)


def _addition(user_id: str, events: Sequence[Event], intake: Intake) -> Addition:
    schema = intake.catalogue.schema
    return Addition(
        user_id,
        [
            HistoryEvent(
                event.item_id,
                event.timestamp if schema.timed else None,
                schema.event_weights.of(event.event_type),
            )
            for event in events
        ],
        [event.event_id for event in events],
        [event.session_id for event in events],
        received_at=intake.now_seconds,
    )


def _append(additions: Sequence[Addition], stored: Mapping[str, Stored], intake: Intake) -> Sequence[Outcome]:
    """[additions] what became of each user's events."""
    if not additions:
        return []
    try:
        return intake.profiles.append_all(additions, intake.now_seconds, stored)
    except _STORE_FAILED as error:
        return [error] * len(additions)


def _with_their_users(additions: Sequence[Addition], outcomes: Sequence[Outcome], intake: Intake) -> list[Outcome]:
    """[additions] their outcomes; of a session that is a user's, what became of its events with that user."""
    moved = {
        at: _moved(additions[at], outcome.user_id)
        for at, outcome in enumerate(outcomes)
        if isinstance(outcome, SessionMerged)
    }
    again = dict(zip(moved, _append(list(moved.values()), {}, intake), strict=True))
    return [again.get(at, outcome) for at, outcome in enumerate(outcomes)]


def _moved(addition: Addition, user_id: str) -> Addition:
    """Under the ids that the merge of the session gave or will give: an event of both counts once."""
    told = zip(addition.events, addition.event_ids, strict=True)
    ids = [handed_over_id(addition.user_id, event, event_id) for event, event_id in told]
    return msgspec.structs.replace(addition, user_id=user_id, event_ids=ids)


def _count(answers: Answers, logged: Mapping[int, Event], since: frozenset[str], intake: Intake) -> None:
    """Count the events that were accepted: each once, for what is sent again then is a duplicate."""
    accepted = {place for place, one in enumerate(answers) if one is not None and one.status is EventStatus.ACCEPTED}
    taken = [event for place, event in logged.items() if place in accepted]
    count_told(taken, since, intake.fresh_items, intake.now_seconds)
    count_now(taken, intake.catalogue.schema, intake.counter, intake.now_seconds)


def _outcome(event: Event, outcome: Outcome) -> EventAnswer:
    if isinstance(outcome, int):  # 0 where another request has been faster with the same event: it is in the profile
        return EventAnswer(EventStatus.ACCEPTED, event.event_id)
    if isinstance(outcome, _STORE_FAILED):
        return EventAnswer(EventStatus.PROFILE_NOT_WRITTEN, event.event_id, retry=True)
    return EventAnswer(EventStatus.PROFILE_NOT_WRITTEN, event.event_id, detail=str(getattr(outcome, "code", "")))


def _with_time(answer: EventAnswer, told: EventRequest | RequestInvalid, intake: Intake) -> EventAnswer:
    """Say where the moment of arrival was taken for a time in the future."""
    if isinstance(told, RequestInvalid) or told.timestamp is None:
        return answer
    ahead = told.timestamp - intake.now_seconds > SKEW_SECONDS
    return msgspec.structs.replace(answer, clamped=True) if ahead else answer
