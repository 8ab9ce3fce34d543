"""What the light steps of a night are told: one shape for each event, read strictly.

An unknown or missing part is RequestInvalid, naming it: a misspelt key must not become a default. Only `fail` takes
whatever it is given. `handler.py` reads them.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from contracts.errors import RequestInvalid
from contracts.night import NIGHT_PATTERN, REASON_CHARACTERS, NightInput, Outcome


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Of any step."""


class Begin(Event, frozen=True, forbid_unknown_fields=True):
    """An execution has been started."""

    execution: str
    """Its ARN."""
    input: NightInput = NightInput()


class Night(Event, frozen=True, forbid_unknown_fields=True):
    """A step of a night that has begun."""

    night: Annotated[str, msgspec.Meta(pattern=f"^{NIGHT_PATTERN}$")]
    token: Annotated[int, msgspec.Meta(ge=1)]


class Seal(Night, frozen=True, forbid_unknown_fields=True):
    """Training has ended."""

    model: str = ""
    """`s3://…/output/model` of the training job; empty: the newest complete one of the night."""


class Prepare(Night, frozen=True, forbid_unknown_fields=True):
    """The release is let through."""

    fresh: bool = False
    """Into a new index even where a finished one is there: it did not pass its verification."""


class Load(Night, frozen=True, forbid_unknown_fields=True):
    """One part of the load."""

    part: Annotated[int, msgspec.Meta(ge=0)]


class Merged(Night, frozen=True, forbid_unknown_fields=True):
    """Has the merge ended?"""

    task: str
    """As `merge` has answered."""


class Finish(Night, frozen=True, forbid_unknown_fields=True):
    """The night ends well."""

    outcome: Outcome
    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARACTERS)] = ""


class Fail(Event, frozen=True):
    """The night ends, and somebody must look."""

    execution: Any = ""
    """Its ARN."""
    state: Any = None
    """All that the state machine knows: `run`, `verdict`, `error` {Error, Cause}, and in `failed` the name of the state
    that failed, as far as it got."""


Shape = TypeVar("Shape", bound=Event)


def read(shape: type[Shape], event: object) -> Shape:
    """An event as its shape. Raises RequestInvalid, naming what is wrong and where."""
    try:
        return msgspec.convert(event, shape)
    except msgspec.ValidationError as error:
        raise RequestInvalid(
            f"the event of this step is not understood: {error}.",
            fix="A night is started with {} or some of begin, night, accept: `tandem aws run-nightly --help`.",
        ) from error
