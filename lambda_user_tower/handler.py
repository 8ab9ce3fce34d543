"""The Lambda function: an API Gateway HTTP API event (payload 2.0) in, a response out.

Nothing is read or opened at import: the first request, or `warm_up`, does it. No event makes `handler` raise; only
settings that make no sense do, for with them no request could be answered. AWS calls it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings


@cache
def _edge() -> Edge:
    return Edge(LambdaSettings.from_env())


def handler(event: object, context: object = None) -> dict[str, Any]:
    """What AWS calls: `POST /v1/recommendations` and the other endpoints of `routing.py`."""
    return _edge()(event, context)


def warm_up() -> None:
    """Open what is published before the first request comes. Raises NothingPublished, or why it cannot be opened."""
    _edge().serving.pin()
