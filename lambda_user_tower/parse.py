"""Bytes and query strings → typed requests of `contracts.request`, every mistake named by its field.

msgspec checks types, bounds and unknown fields in one pass and allocates nothing by a number of the client's; what it
does not see (a key given twice, which of many features is wrong) is looked for here, the latter only once something
is wrong. Whether a filter or a feature exists in the release is not known here. `edge.py` calls it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from contracts.errors import RequestInvalid
from contracts.live import ANONYMOUS_PREFIX, is_anonymous
from contracts.request import FeatureValue, FilterValue, Id, PopularRequest, RecommendationRequest, SimilarRequest
from contracts.schema import MAX_ID_BYTES
from lambda_user_tower.payload import Call, form_decode, invalid, query_pairs, read_body
from lambda_user_tower.routing import Endpoint

Request = TypeVar("Request", RecommendationRequest, SimilarRequest, PopularRequest)
Decoded = TypeVar("Decoded")
AnyRequest = RecommendationRequest | SimilarRequest | PopularRequest
Reader = Callable[[str, str], Any]
"""Name and encoded value of a query parameter → its value."""

_BODY: Final = msgspec.json.Decoder(RecommendationRequest)
# Patterns are compiled where they are first used: a cold start on a good request compiles none.
_WHERE: Final = r"(?s) - at `(?:key` in `)?\$(.*)`$"
_UNKNOWN_OR_MISSING: Final = r"(?s)unknown field `(.*)`|missing required field `(.*)`"
_INTEGER: Final = r"-?[0-9]{1,9}"
"""Nine digits hold every bound and keep int() cheap, whatever is sent."""


def parse_request(endpoint: Endpoint, identifier: str, call: Call) -> AnyRequest:
    """What a call asks of an endpoint, with the id of its path. Raises RequestInvalid."""
    if endpoint is Endpoint.SIMILAR:
        return parse_similar(identifier, call.query)
    if endpoint is Endpoint.POPULAR:
        return parse_popular(call.query)
    in_body = endpoint is Endpoint.RECOMMEND
    request = parse_body(read_body(call.event)) if in_body else parse_user(identifier, call.query)
    refuse_anonymous(request.user_id)
    return request


def stored_id(identifier: str, name: str) -> str:
    """An id of a path under which something is to be stored. Raises RequestInvalid, naming it by `name`."""
    if not _is_unicode(identifier):
        raise invalid(name, "it holds half a surrogate pair")
    try:
        msgspec.convert(identifier, Id)
    except msgspec.ValidationError as error:
        raise _explained(error, None, name) from error
    if (length := len(identifier.encode())) > MAX_ID_BYTES:
        raise invalid(name, f"it has {length} bytes of UTF-8, at most {MAX_ID_BYTES} are kept")
    return identifier


def refuse_anonymous(user_id: str | None) -> None:
    """Raise RequestInvalid where a client names a user as sessions without one are named here."""
    if user_id is not None and is_anonymous(user_id):
        what = f"an id that begins with `{ANONYMOUS_PREFIX}` is a session's"
        raise invalid("user_id", what, fix="Give the session as `session_id`.")


def parse_body(body: bytes) -> RecommendationRequest:
    """The body of `POST /v1/recommendations`. Raises RequestInvalid."""
    return decoded(_BODY, body, lambda: refuse_repeats(body, RecommendationRequest.__struct_fields__))


def decoded(
    decoder: msgspec.json.Decoder[Decoded],
    body: bytes,
    check: Callable[[], None],
    members: Mapping[str, Any] | None = None,
) -> Decoded:
    """What a body says, once `check` has not refused it. Raises RequestInvalid, naming the field that is wrong.

    `members`: name of a map in the body → type of its values, where they are not those of a recommendation request.
    """
    try:
        found = decoder.decode(body)
        check()
    except msgspec.ValidationError as error:
        raise _explained(error, _tree(body), members=members or _MEMBERS) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(error, body) from error
    return found


def parse_user(user_id: str, query: str) -> RecommendationRequest:
    """The request of `GET /v1/users/{id}/recommendations`. Raises RequestInvalid."""
    readers = {"num_items": _integer, "explain": _boolean, "prefer": _word, "exclude_ids": _ids}
    fields = _read_query(query, readers, repeatable="exclude_ids", family="filter")
    fields["filters"] = {
        name: values if len(values) > 1 else values[0] for name, values in fields.pop("filter", {}).items()
    }
    return _convert({"user_id": user_id, **fields}, RecommendationRequest)


def parse_similar(item_id: str, query: str) -> SimilarRequest:
    """The request of `GET /v1/items/{id}/similar`. Raises RequestInvalid."""
    return _convert(
        {"item_id": item_id, **_read_query(query, {"num_items": _integer, "explain": _boolean})}, SimilarRequest
    )


def parse_popular(query: str) -> PopularRequest:
    """The request of `GET /v1/popular`. Raises RequestInvalid."""
    readers = {"num_items": _integer, "explain": _boolean, "category": _word, "window": _word}
    fields = _read_query(query, readers, family="segment")
    for name, values in fields.get("segment", {}).items():
        if len(values) > 1:
            raise _repeated(f"segment.{name}")
        fields["segment"][name] = values[0]
    return _convert(fields, PopularRequest)


def _read_query(query: str, readers: Mapping[str, Reader], repeatable: str = "", family: str = "") -> dict[str, Any]:
    """Query parameters by name; those named `<family>.<name>` as name → list of values under `family`."""
    fields: dict[str, Any] = {}
    for name, encoded in query_pairs(query):
        if family and name.startswith(f"{family}."):
            member = name[len(family) + 1 :]
            fields.setdefault(family, {}).setdefault(member, []).append(form_decode(encoded, name))
        elif name not in readers:
            raise invalid(name or "rawQueryString", "there is no such parameter")
        elif name == repeatable:
            fields.setdefault(name, []).extend(readers[name](name, encoded))
        elif name in fields:
            raise _repeated(name)
        else:
            fields[name] = readers[name](name, encoded)
    return fields


def _repeated(name: str) -> RequestInvalid:
    return invalid(name, "given more than once")


def _word(name: str, encoded: str) -> str:
    return form_decode(encoded, name)


def _ids(name: str, encoded: str) -> list[str]:
    """Ids between commas; a comma inside an id is written %2C."""
    return [form_decode(part, name) for part in encoded.split(",") if part]


def _integer(name: str, encoded: str) -> int:
    if not re.fullmatch(_INTEGER, encoded):
        raise invalid(name, "expected a whole number")
    return int(encoded)


def _boolean(name: str, encoded: str) -> bool:
    if encoded not in ("true", "false"):
        raise invalid(name, "expected true or false")
    return encoded == "true"


def _convert(fields: dict[str, Any], kind: type[Request]) -> Request:
    for name in ("user_id", "item_id"):
        if not _is_unicode(fields.get(name, "")):
            raise invalid(name, "it holds half a surrogate pair")
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _explained(error, fields, members=_MEMBERS) from error


def refuse_repeats(body: bytes, fields: tuple[str, ...]) -> None:
    """Raise RequestInvalid where a body that fits a type with these fields gives a key twice."""
    if not _plainly_without_repeats(body, _quoted(fields)):
        json.loads(body, object_pairs_hook=_refuse_repeated_keys)


def refuse_two_lists(body: bytes, name: str) -> None:
    """Raise RequestInvalid where a body gives its one list twice: the first would be lost.

    What repeats in an element is that element's mistake.
    """
    if body.count(f'"{name}"'.encode()) > 1:
        names = [key for key, _ in json.loads(body, object_pairs_hook=list)]
        if len(set(names)) < len(names):
            raise _repeated(name)


@cache
def _quoted(fields: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(f'"{name}"'.encode() for name in fields)


def _plainly_without_repeats(body: bytes, quoted: tuple[bytes, ...]) -> bool:
    """Whether a body that fits its type is one flat object that names no field twice: most are, and a second parse
    of it would cost as much as the first."""
    return body.count(b"{") == 1 and b"\\" not in body and all(body.count(name) < 2 for name in quoted)


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _repeated(name or "body")  # a key may be empty, the name of a field not
            seen.add(name)


def _explained(
    error: msgspec.ValidationError, tree: Any, whole: str = "body", members: Mapping[str, Any] = {}
) -> RequestInvalid:
    """A validation error as the field that it is about, or else the `whole`, and what is wrong with it."""
    message = str(error)
    where = re.search(_WHERE, message)
    path = where[1].removeprefix(".") if where else ""
    message = message[: where.start()] if where else message
    if "[...]" in path:
        path = _name_member(path, tree, members)
    if named := re.search(_UNKNOWN_OR_MISSING, message):
        path = ".".join(part for part in (path, named[1] or named[2]) if part)
    return invalid(path or whole, message[0].lower() + message[1:])


_MEMBERS: Final[dict[str, Any]] = {"features": FeatureValue, "filters": FilterValue, "segment": str}


def _name_member(path: str, tree: Any, members: Mapping[str, Any]) -> str:
    """`features[...]` as the feature that is meant: the first whose value is refused."""
    parent, _, rest = path.partition("[...]")
    found = tree.get(parent) if isinstance(tree, dict) else None
    for name, value in found.items() if isinstance(found, dict) else ():
        try:
            msgspec.json.decode(json.dumps(value), type=members[parent])
        except msgspec.MsgspecError:
            return f"{parent}.{name}{rest}"
    return parent


def _not_json(error: Exception, body: bytes) -> RequestInvalid:
    """What does not parse at all; half a surrogate pair is named by where it stands."""
    if field := _surrogate_field(_tree(body)):
        return invalid(field, "it holds half a surrogate pair")
    what = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    return invalid("body", what)


def _tree(body: bytes) -> Any:
    """A body that was refused, untyped, for looking closer; None where it does not parse to its end."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _surrogate_field(tree: Any) -> str:
    """Path of the first string that is no Unicode text, without recursion; empty where there is none."""
    rest: list[tuple[str, Any]] = [("", tree)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, str) and not _is_unicode(value):
            return path
        if isinstance(value, dict):
            rest += [(f"{path}.{key}".lstrip("."), child) for key, child in value.items()]
            rest += [(path or "body", key) for key in value]
        elif isinstance(value, list):
            rest += [(f"{path}[{position}]", child) for position, child in enumerate(value)]
    return ""


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
