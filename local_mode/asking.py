"""Ask the deployed handler from this process: a request body in, the decoded answer out.

Turns the body into the event that API Gateway's HTTP API would send (payload 2.0), so that a laptop takes the very
path of production. The CLI and the demo call it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import TandemError
from lambda_user_tower.edge import Edge
from local_mode.engine import local_settings
from stores.releases import LocalReleases

_PATIENCE_MS: Final = 2_000
"""Budget of a request: nobody's page waits for it here, and a machine that trains beside it is slow."""


def ask(home: Path, body: dict[str, Any]) -> dict[str, Any]:
    """The handler's answer to a recommendation request. Raises TandemError with the code of its problem."""
    edge = Edge(replace(local_settings(home), budget_ms=_PATIENCE_MS, log_level="ERROR"))
    try:
        response = edge(recommendation_event(body))
    finally:
        edge.close()
    answer: dict[str, Any] = msgspec.json.decode(response["body"])
    if response["statusCode"] != 200:
        error = TandemError(answer.get("detail", answer["title"]))
        error.code = answer["type"].rpartition(":")[2]
        raise error
    return answer


def recommendation_event(body: dict[str, Any]) -> dict[str, Any]:
    """A request as the HTTP API hands it over."""
    path = "/v1/recommendations"
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": path}, "requestId": "local"},
        "body": msgspec.json.encode(body).decode(),
        "isBase64Encoded": False,
    }


def titles(home: Path, item_ids: list[str]) -> dict[str, str]:
    """What the serving release calls some items, as far as it knows them; empty where it has no titles."""
    store = LocalReleases(home)
    model = store.open(store.serving().publication.release, head_only=True)
    rows = model.items.ids.rows(item_ids)
    known = [(item, row) for item, row in zip(item_ids, rows.tolist(), strict=True) if row >= 0]
    return {item: model.titles[row] for item, row in known} if model.titles else {}
