"""Failures as HTTP: the one table from exception class to status, and RFC 9457 problem documents.

A client's mistake is explained to the client. A failure of ours is named by its code and nothing else: paths and
places go to the log, under the request id that the problem carries. `edge.py` calls it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from contracts.errors import (
    ItemNotFound,
    LiveDataUnavailable,
    LogUnavailable,
    MediaTypeUnsupported,
    MethodNotAllowed,
    NothingPublished,
    ParityBroken,
    ProfilesUnavailable,
    ReleaseCorrupt,
    ReleaseNotFound,
    ReleaseUnreadable,
    RequestInvalid,
    RequestTooLarge,
    RouteNotFound,
    SessionMerged,
    StateBusy,
    StorageFull,
    StoreUnavailable,
    TandemError,
    UserForbidden,
)

TYPE_PREFIX: Final = "urn:tandem:problem:"
MEDIA_TYPE: Final = "application/problem+json"
_MAX_DETAIL: Final = 500
"""Characters; a message may quote the client, who may have sent 64 KB."""

STATUS: Final[dict[type[TandemError], tuple[int, str]]] = {
    RequestInvalid: (400, "The request is not valid"),
    UserForbidden: (403, "The caller is let in as a user who may not do this"),
    RouteNotFound: (404, "No endpoint answers to this path"),
    ItemNotFound: (404, "Nobody has told of this item"),
    MethodNotAllowed: (405, "The path exists, the method does not"),
    SessionMerged: (409, "The session is another user's"),
    RequestTooLarge: (413, "The request is too large"),
    MediaTypeUnsupported: (415, "The body is not plain JSON"),
    NothingPublished: (503, "Nothing is published yet"),
    ReleaseNotFound: (503, "The published release cannot be opened"),
    ReleaseCorrupt: (503, "The published release cannot be opened"),
    ReleaseUnreadable: (503, "The published release cannot be opened"),
    ParityBroken: (503, "The published release cannot be opened"),
    LogUnavailable: (503, "The event log does not answer"),
    ProfilesUnavailable: (503, "The profile store does not answer"),
    LiveDataUnavailable: (503, "The store of live data does not answer"),
    StateBusy: (503, "Another process writes to the store"),
    StorageFull: (503, "There is no room left"),
    StoreUnavailable: (503, "The release store does not answer"),
    TandemError: (500, "The request failed on our side"),
}
"""Exception class → HTTP status and title; a class that is not listed is what its nearest listed base is."""

UNEXPECTED: Final = "internal-error"
"""Code of the problem that an exception without a name of ours becomes."""

_OURS: Final = 500
"""Status from which a failure is ours, and its details are for the log only."""

_OF_OURS: Final = "The log has more under the request id that `instance` names."


_encode: Final = msgspec.json.Encoder().encode
_NO_STORE: Final = {"cache-control": "no-store"}
"""A slate is for one user at one moment."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    """The request id, to be found in the log."""
    field: str = ""
    """Which part of the request is wrong, where that is known."""


def problem_of(error: Exception, request_id: str) -> Problem:
    """The problem that an exception becomes."""
    kinds = type(error).__mro__ if isinstance(error, TandemError) else (TandemError,)
    status, title = next(STATUS[kind] for kind in kinds if kind in STATUS)
    code = error.code if isinstance(error, TandemError) else UNEXPECTED
    told = status < _OURS or isinstance(error, NothingPublished)  # what to do first is no secret
    detail = printable(str(error)) if told else _OF_OURS
    return Problem(f"{TYPE_PREFIX}{code}", title, status, detail, request_id, printable(getattr(error, "field", "")))


def problem_response(error: Exception, request_id: str) -> dict[str, Any]:
    """An exception as the response that API Gateway expects (payload 2.0)."""
    problem = problem_of(error, request_id)
    headers = {"content-type": MEDIA_TYPE, **_NO_STORE}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return {"statusCode": problem.status, "headers": headers, "body": _encode(problem).decode()}


def ok_response(answer: msgspec.Struct, status: int = 200) -> dict[str, Any]:
    """An answer as the response that API Gateway expects."""
    headers = {"content-type": "application/json", **_NO_STORE}
    return {"statusCode": status, "headers": headers, "body": _encode(answer).decode()}


def printable(text: str) -> str:
    """Text that any encoder takes: lone surrogates are written out, and it is cut to a readable length."""
    cut = text if len(text) <= _MAX_DETAIL else text[:_MAX_DETAIL] + "…"
    return cut.encode(errors="backslashreplace").decode()
