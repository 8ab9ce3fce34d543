"""Which endpoint answers to a method and a path.

An id is whatever stands between the fixed parts of its path, slashes included, for ids are opaque. It does not know
what endpoints do; `parse.py` and `edge.py` map each to its answer and `docs/openapi.yaml` is held to this list.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from contracts.errors import MethodNotAllowed, RouteNotFound


class Endpoint(StrEnum):
    """Everything that can be called, as OpenAPI and API Gateway name it."""

    RECOMMEND = "POST /v1/recommendations"
    FOR_USER = "GET /v1/users/{id}/recommendations"
    SIMILAR = "GET /v1/items/{id}/similar"
    POPULAR = "GET /v1/popular"
    EVENTS = "POST /v1/events"
    HEALTH = "GET /v1/health"


class _Pattern(NamedTuple):
    endpoint: Endpoint
    method: str
    before: str
    after: str


def _pattern(endpoint: Endpoint) -> _Pattern:
    method, path = endpoint.split(" ")
    before, _, after = path.partition("{id}")
    return _Pattern(endpoint, method, before, after)


_FIXED: Final = {pattern.before: pattern for pattern in map(_pattern, Endpoint) if not pattern.after}
_WITH_ID: Final = tuple(pattern for pattern in map(_pattern, Endpoint) if pattern.after)


def find_endpoint(method: str, path: str) -> tuple[Endpoint, str]:
    """The endpoint and the id in its path (empty where it has none). Raises RouteNotFound, MethodNotAllowed."""
    pattern, identifier = _match(path)
    if method != pattern.method:
        raise MethodNotAllowed(
            f"{pattern.before}…: use {pattern.method}." if pattern.after else f"{path}: use {pattern.method}.",
            allowed=(pattern.method,),
        )
    return pattern.endpoint, identifier


def _match(path: str) -> tuple[_Pattern, str]:
    if (pattern := _FIXED.get(path)) is not None:
        return pattern, ""
    for pattern in _WITH_ID:
        if path.startswith(pattern.before) and path.endswith(pattern.after):
            if len(path) < len(pattern.before) + len(pattern.after):
                break  # both parts share characters, e.g. a path that ends where its id would begin
            return pattern, path[len(pattern.before) : len(path) - len(pattern.after)]
    raise RouteNotFound("the path is none of this API.", fix="See docs/openapi.yaml.")
