"""What is known of whoever asks, as experiments may target by it.

`id` is what people are put into arms by: the user's id, or `anonymous:<session>` of a visitor. The other names are what
a condition may speak of, and `conditions.py` refuses the rest: an attribute that nobody sends matches nobody, silently.
The Lambda edge and `tandem experiments assign` call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TEXTS: Final = ("id", "user_id", "session_id", "country", "segment")
"""Strings; only `id` is always there."""
NUMBERS: Final = ("events",)
"""Always there: SDKs of other languages and versions do not agree on how a missing number compares."""
FEATURES: Final = "features"
"""A user's own features, targeted as `features.<name>`; a name with a dot in it cannot be."""


def attributes_of(
    identity: str,
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    country: str | None = None,
    segment: str | None = None,
    events: int = 0,
    features: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The attributes of one request; what is not known is left out.

    `identity`: user id, or `anonymous:<session>`; an empty one takes part in no experiment. `events`: how many of the
    user's own are known.
    """
    known = {"user_id": user_id, "session_id": session_id, "country": country, "segment": segment}
    attributes: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    attributes["id"] = identity
    attributes["events"] = events
    if features:
        attributes[FEATURES] = dict(features)
    return attributes


def is_text(name: str) -> bool:
    """Whether a condition may compare this attribute with strings and booleans."""
    return name in TEXTS or (name.startswith(f"{FEATURES}.") and name.count(".") == 1 and not name.endswith("."))
