"""API Gateway HTTP API events (payload 2.0): what was called, and the bytes that came with it.

Every part of an event is checked before it is used, whatever its type. Percent-encoding is undone exactly once: an
HTTP API hands `rawPath` over decoded already and `rawQueryString` as it came, a function URL hands both over as they
came. Sizes are checked before anything is decoded or parsed. What the parts mean is `parse.py`'s business;
`edge.py` calls it first.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from os import urandom
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from contracts.errors import MediaTypeUnsupported, RequestInvalid, RequestTooLarge
from contracts.request import MAX_BODY_BYTES

MAX_QUERY_CHARACTERS: Final = 16 * 1024
"""API Gateway itself takes 10,240 bytes of request line and headers together."""
MAX_REQUEST_ID: Final = 128

_MALFORMED_PERCENT: Final = "%(?![0-9A-Fa-f]{2})"
_JSON_TYPE: Final = r"(?ai)application/(?:[\w.+-]+\+)?json\s*(?:;.*)?"


class Call(NamedTuple):
    """What was called."""

    method: str
    path: str
    """Decoded, without the stage."""
    query: str
    """As it came, percent-encoded."""
    event: dict[str, Any]


Facts = dict[str, Any]
"""What the log should say of a call."""
Answerer = Callable[[str, Call, Facts], dict[str, Any]]
"""Id of the path, call, and facts to add to → response."""


def request_id(event: object, context: object) -> str:
    """The id of a request as API Gateway, or else Lambda, gave it; a random one where neither did."""
    http = event.get("requestContext") if isinstance(event, dict) else None
    given = http.get("requestId") if isinstance(http, dict) else None
    for candidate in (given, getattr(context, "aws_request_id", None)):
        if isinstance(candidate, str) and candidate.isprintable() and 0 < len(candidate) <= MAX_REQUEST_ID:
            return candidate
    return urandom(16).hex()


def authorised_user(event: dict[str, Any]) -> str | None:
    """The user that a JWT authoriser let in; None where callers are trusted (IAM) to speak for any user.

    Raises RequestInvalid for a token without a subject: nobody could be told from anybody.
    """
    authorizer = event.get("requestContext", {}).get("authorizer")
    jwt = authorizer.get("jwt") if isinstance(authorizer, dict) else None
    if jwt is None:
        return None
    claims = jwt.get("claims") if isinstance(jwt, dict) else None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(subject, str) or not subject:
        raise invalid("authorization", "its token has no subject")
    return subject


def read_call(event: object) -> Call:
    """What an event calls. Raises RequestInvalid, naming the part of the event, where it is no HTTP API event."""
    if not isinstance(event, dict):
        raise invalid("event", "the event is not an object")
    context = _mapping(event, "requestContext")
    http = _mapping(context, "http", "requestContext.http")
    method = _text(http, "method", "requestContext.http.method")
    path = _text(event, "rawPath")
    if _is_function_url(context):
        path = percent_decode(path, "rawPath")
    return Call(method, _without_stage(path, context), _raw_query(event), event)


def _is_function_url(context: dict[str, Any]) -> bool:
    return ".lambda-url." in str(context.get("domainName", ""))


def _without_stage(path: str, context: dict[str, Any]) -> str:
    """A path below a named stage begins with it; below `$default` it does not."""
    stage = context.get("stage", "$default")
    if stage != "$default" and isinstance(stage, str) and path.startswith(f"/{stage}/"):
        return path[len(stage) + 1 :]
    return path


def _raw_query(event: dict[str, Any]) -> str:
    """The query string; rebuilt where an event was written by hand and has only its parts."""
    query = event.get("rawQueryString")
    if query is None:
        parts = event.get("queryStringParameters") or {}
        if not isinstance(parts, dict):
            raise invalid("queryStringParameters", "it is not an object")
        try:
            query = "&".join(f"{quote(str(name))}={quote(str(value), safe=',')}" for name, value in parts.items())
        except UnicodeEncodeError as error:
            raise invalid("queryStringParameters", "it holds half a surrogate pair") from error
    if not isinstance(query, str):
        raise invalid("rawQueryString", "it is not a string")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise RequestTooLarge(
            f"rawQueryString: it has more than {MAX_QUERY_CHARACTERS} characters.", field="rawQueryString"
        )
    return query


def query_pairs(query: str) -> Iterator[tuple[str, str]]:
    """Name, decoded, and value, still encoded, of each parameter in order."""
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            yield form_decode(name, "rawQueryString"), value


def form_decode(text: str, field: str) -> str:
    """Undo the encoding of a query string, where `+` is a blank too."""
    return percent_decode(text.replace("+", " "), field)


def percent_decode(text: str, field: str) -> str:
    """Undo percent-encoding once. Raises RequestInvalid for a stray `%` and for bytes that are not UTF-8."""
    if "%" in text and re.search(_MALFORMED_PERCENT, text):
        raise invalid(field, "a % is not followed by two hexadecimal digits", fix="Write it as %25.")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError as error:
        raise invalid(field, "it is not UTF-8 under its percent-encoding") from error


def read_body(event: dict[str, Any], most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The body of an event, at most `most_bytes`.

    Raises MediaTypeUnsupported, RequestTooLarge (before decoding), RequestInvalid for what is no body at all.
    """
    _check_media_type(event.get("headers"))
    body = event.get("body")
    if body is None:
        raise invalid("body", "there is none", fix="Send a JSON object.")
    if not isinstance(body, str):
        raise invalid("body", "it is not a string")
    encoded = event.get("isBase64Encoded", False)
    if not isinstance(encoded, bool):
        raise invalid("isBase64Encoded", "it is not true or false")
    if len(body) > ((most_bytes + 2) // 3 * 4 if encoded else most_bytes):
        raise _too_large(most_bytes)
    data = _base64(body) if encoded else _utf8(body)
    if len(data) > most_bytes:
        raise _too_large(most_bytes)
    return data


def _base64(body: str) -> bytes:
    try:
        return a2b_base64(body, strict_mode=True)
    except (Base64Error, ValueError) as error:  # ValueError: a character that is not ASCII
        raise invalid("body", "it is not valid base64") from error


def _utf8(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeEncodeError as error:
        raise invalid("body", "it holds half a surrogate pair") from error


def _too_large(most_bytes: int) -> RequestTooLarge:
    what = f"body: it has more than {most_bytes} bytes and was not read."
    return RequestTooLarge(what, field="body", fix="Send less at once.")


def _check_media_type(headers: object) -> None:
    """JSON, or nothing said; never compressed. Header names are lower case in payload 2.0."""
    if not isinstance(headers, dict):
        return
    media_type = headers.get("content-type")
    if media_type not in (None, "application/json") and not _is_json(media_type):
        raise MediaTypeUnsupported("content-type: it is not application/json.", field="content-type")
    if headers.get("content-encoding", "identity") != "identity":
        raise MediaTypeUnsupported("content-encoding: a compressed body is not read.", field="content-encoding")


def _is_json(media_type: object) -> bool:
    return isinstance(media_type, str) and re.fullmatch(_JSON_TYPE, media_type) is not None


def invalid(field: str, what: str, fix: str = "") -> RequestInvalid:
    """A mistake of the client, named by the field that it is in."""
    return RequestInvalid(f"{field}: {what}.", field=field, fix=fix)


def within(error: RequestInvalid, place: str) -> RequestInvalid:
    """A mistake in one element of a list, named by where the element stands."""
    return RequestInvalid(f"{place}.{error.message}", field=f"{place}.{error.field}", fix=error.fix)


def _mapping(parent: dict[str, Any], name: str, field: str = "") -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise invalid(field or name, "it is missing or not an object")
    return value


def _text(parent: dict[str, Any], name: str, field: str = "") -> str:
    value = parent.get(name)
    if not isinstance(value, str):
        raise invalid(field or name, "it is missing or not a string")
    return value
