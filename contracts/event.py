"""An event on its way: what a client may send, what the log keeps, and when two of them are the same.

`EventRequest` is one element of the body of `POST /v1/events`; `Event` is one line of the log, from which every night
trains and profiles can be rebuilt. The Lambda edge turns one into the other, the event log stores it, `batch_job` reads
it back. Nothing here knows a release: whether an item is known is written into the event by whoever knew.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Final

import msgspec

from contracts.request import Id, Word

MAX_EVENTS: Final = 500
"""Of one request: what Firehose takes in one call (PutRecordBatch)."""
MAX_EVENTS_BODY_BYTES: Final = 512 * 1024
"""500 events of 1 KB each, which the longest ids do not reach."""

DERIVED_ID_BYTES: Final = 16
"""Of an id made from an event's content: no two of 10¹² different events share one."""


class EventRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event that a client tells."""

    item_id: Id
    user_id: Id = ""
    """Not given: a visitor of whom only the session is known, who needs a `session_id` then."""
    event_type: Word | None = None
    """None: the dataset's default type."""
    timestamp: Annotated[float, msgspec.Meta(ge=0, le=4_102_444_800)] | None = None
    """Unix seconds, up to the year 2100; None: the moment of arrival."""
    value: Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)] | None = None
    """A rating, a price, seconds watched: kept in the log for training."""
    session_id: Id | None = None
    event_id: Id | None = None
    """What makes a repeated event the same one; None: derived from its content where it has a timestamp."""
    recommendation_id: Id | None = None
    """`recommendation_id` of the slate that led to it."""


class EventBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several events at once; each is validated, written and answered on its own."""

    events: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as the log keeps it. Its names are those of the dataset's events table, and a few more."""

    event_id: str
    user_id: str
    item_id: str
    event_type: str
    timestamp: int
    """Unix seconds, never after `received_at`."""
    received_at: int
    """Unix seconds."""
    value: float | None = None
    session_id: str | None = None
    recommendation_id: str | None = None
    known_item: bool = True
    """Whether the release that served then knew the item; if not, the event is in no profile."""


encode_event: Final = msgspec.json.Encoder().encode
decode_event: Final = msgspec.json.Decoder(Event).decode


def derived_id(user_id: str, item_id: str, event_type: str, timestamp: float) -> str:
    """The id of an event that came without one: equal content at the same time is the same event."""
    parts = (user_id, item_id, event_type, repr(float(timestamp)))
    text = "\0".join(f"{len(part)}:{part}" for part in parts)  # the lengths keep "a"+"bc" apart from "ab"+"c"
    return blake2b(text.encode(), digest_size=DERIVED_ID_BYTES).hexdigest()
