"""Which endpoint answers to a method and a path.

An id is whatever stands between the fixed parts of its path, slashes included, for ids are opaque. Where several paths
of one method fit, the one with the longest fixed end is meant: `GET /v1/items/a/similar` asks for what is like `a`,
`PUT /v1/items/a/similar` tells the item `a/similar`. It does not know what endpoints do; `parse.py` and `edge.py` map
each to its answer and `docs/openapi.yaml` is held to this list.
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
    PUT_ITEMS = "POST /v1/items"
    PUT_ITEM = "PUT /v1/items/{id}"
    PATCH_ITEM = "PATCH /v1/items/{id}"
    PUT_USER = "PUT /v1/users/{id}"
    DELETE_USER = "DELETE /v1/users/{id}"
    MERGE = "POST /v1/users/{id}/merge"
    HEALTH = "GET /v1/health"


class _Pattern(NamedTuple):
    endpoint: Endpoint
    method: str
    before: str
    after: str

    def identifier(self, path: str) -> str | None:
        """The id in a path that fits; None for one that does not, or whose fixed parts share characters."""
        if not (path.startswith(self.before) and path.endswith(self.after)):
            return None
        end = len(path) - len(self.after)
        return path[len(self.before) : end] if end >= len(self.before) else None


def _pattern(endpoint: Endpoint) -> _Pattern:
    method, path = endpoint.split(" ")
    before, _, after = path.partition("{id}")
    return _Pattern(endpoint, method, before, after)


_FIXED: Final = {
    (pattern.method, pattern.before): pattern for pattern in map(_pattern, Endpoint) if "{" not in pattern.endpoint
}
_WITH_ID: Final = tuple(
    sorted(
        (pattern for pattern in map(_pattern, Endpoint) if "{" in pattern.endpoint),
        key=lambda pattern: -len(pattern.after),
    )
)


def find_endpoint(method: str, path: str) -> tuple[Endpoint, str]:
    """The endpoint and the id in its path (empty where it has none). Raises RouteNotFound, MethodNotAllowed."""
    if (fixed := _FIXED.get((method, path))) is not None:
        return fixed.endpoint, ""
    for pattern in _WITH_ID:
        if method == pattern.method and (identifier := pattern.identifier(path)) is not None:
            return pattern.endpoint, identifier
    raise _refusal(path)


def _refusal(path: str) -> RouteNotFound | MethodNotAllowed:
    """What is wrong with a call that no endpoint answers: its method, or its path."""
    fitting = [pattern for (_, fixed), pattern in _FIXED.items() if fixed == path]
    fitting += [pattern for pattern in _WITH_ID if pattern.identifier(path) is not None]
    if not fitting:
        return RouteNotFound("the path is none of this API.", fix="See docs/openapi.yaml.")
    allowed = tuple(dict.fromkeys(pattern.method for pattern in fitting))
    where = f"{fitting[0].before}…" if "{" in fitting[0].endpoint else path
    return MethodNotAllowed(f"{where}: use {' or '.join(allowed)}.", allowed=allowed)
