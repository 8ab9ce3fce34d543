"""The body of `POST /v1/events` → typed events, each mistake named by the event and the field that it is in.

One event is refused without the others: a batch is taken apart first, and each element is decoded on its own. One that
names no user is its session's. What a release knows of an event is decided in `intake.py`. `edge.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import RequestInvalid
from contracts.event import MAX_EVENTS_BODY_BYTES, EventBatch, EventRequest
from contracts.schema import MAX_ID_BYTES
from lambda_user_tower.parse import decoded, refuse_anonymous, refuse_repeats, refuse_two_lists
from lambda_user_tower.payload import invalid, read_body, within
from lambda_user_tower.users_parse import anonymous_user

_BATCH: Final = msgspec.json.Decoder(EventBatch)
_EVENT: Final = msgspec.json.Decoder(EventRequest)
_FIELDS: Final = EventRequest.__struct_fields__
_IDS: Final = ("user_id", "item_id", "session_id", "event_id", "recommendation_id")


class Told(NamedTuple):
    """What a client told."""

    events: Sequence[EventRequest | RequestInvalid]
    """In their order, with the reason in place of those that cannot be understood."""
    single: bool
    """One event, not in a batch."""


def parse_events(event: dict[str, Any]) -> Told:
    """The events of a call. Raises RequestInvalid where the body is neither an event nor a batch of at most 500."""
    body = read_body(event, MAX_EVENTS_BODY_BYTES)
    if not _is_batch(body):
        return Told([_event(body)], single=True)
    raw = decoded(_BATCH, body, lambda: refuse_two_lists(body, "events")).events
    return Told([_event_or_reason(element, place) for place, element in enumerate(raw)], single=False)


def _is_batch(body: bytes) -> bool:
    """Whether a body is meant as a batch: it begins with the one field that a batch has."""
    return body.lstrip(b" \t\r\n{")[:8] == b'"events"'


def _event_or_reason(element: msgspec.Raw, place: int) -> EventRequest | RequestInvalid:
    try:
        return _event(bytes(element))
    except RequestInvalid as error:
        return within(error, f"events[{place}]")


def _event(body: bytes) -> EventRequest:
    event = decoded(_EVENT, body, lambda: refuse_repeats(body, _FIELDS))
    refuse_anonymous(event.user_id)
    _check_ids(event)
    if event.user_id:
        return event
    if event.session_id is None:
        raise invalid("user_id", "it is missing", fix="Give it, or the session_id of a visitor without one.")
    return msgspec.structs.replace(event, user_id=anonymous_user(event.session_id))


def _check_ids(event: EventRequest) -> None:
    for name in _IDS:
        if (value := getattr(event, name)) is not None and len(value) * 4 > MAX_ID_BYTES:  # 4: bytes of a character
            length = len(value.encode())
            if length > MAX_ID_BYTES:
                raise invalid(name, f"it has {length} bytes of UTF-8, at most {MAX_ID_BYTES} are kept")
