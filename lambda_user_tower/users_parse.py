"""Ids and bodies of the endpoints about users → what they say, each mistake named by its field.

A user is never named as sessions without one are named here, and a session's id leaves room for that name. Whether a
feature is of the right kind is decided in `users.py`. The edge's calls about users parse with it, and events do.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from contracts.live import ANONYMOUS_PREFIX, session_user
from contracts.request import MergeRequest, UserFeatures
from contracts.schema import MAX_ID_BYTES
from lambda_user_tower.parse import decoded, refuse_anonymous, refuse_repeats, stored_id
from lambda_user_tower.payload import invalid, read_body

_FEATURES: Final = msgspec.json.Decoder(UserFeatures)
_MERGE: Final = msgspec.json.Decoder(MergeRequest)

MAX_SESSION_BYTES: Final = MAX_ID_BYTES - len(ANONYMOUS_PREFIX)
"""Of a session's id that is to be kept as a user's."""


def parse_user_id(identifier: str) -> str:
    """The id of a path below `/v1/users/`. Raises RequestInvalid."""
    refuse_anonymous(identifier)
    return stored_id(identifier, "user_id")


def parse_user_features(event: dict[str, Any]) -> dict[str, Any]:
    """The features of the body of `PUT /v1/users/{id}`. Raises RequestInvalid."""
    body = read_body(event)
    return decoded(_FEATURES, body, lambda: refuse_repeats(body, UserFeatures.__struct_fields__)).features


def parse_merge(event: dict[str, Any]) -> str:
    """The user id of the session in the body of `POST /v1/users/{id}/merge`. Raises RequestInvalid."""
    body = read_body(event)
    told = decoded(_MERGE, body, lambda: refuse_repeats(body, MergeRequest.__struct_fields__))
    return anonymous_user(told.session_id)


def anonymous_user(session_id: str) -> str:
    """The user id under which a session is kept. Raises RequestInvalid where no store holds one that long."""
    if (length := len(session_id.encode())) > MAX_SESSION_BYTES:
        what = f"it has {length} bytes of UTF-8, of a session without a user at most {MAX_SESSION_BYTES} are kept"
        raise invalid("session_id", what)
    return session_user(session_id)
