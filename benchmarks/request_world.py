"""The published toy world that `request.py` asks, and retrieval and re-ranking of it without the edge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contracts.deadline import Deadline
from contracts.fitted import to_bundle
from contracts.profile import HistoryEvent
from contracts.release import Publication
from contracts.request import RecommendationRequest
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from reranking.rerank import rerank
from reranking.rules import SlateRules
from retrieval.recommend import find_candidates
from stores.profiles import SqliteProfiles
from stores.publications import now_text
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases
from tests.toy_world import NOW, item_id, toy_model


def published_edge(home: Path, n_items: int, dim: int, n_users: int, n_events: int) -> Edge:
    """An edge over a toy release and users with random histories."""
    publish_toy(home, n_items, dim)
    draw = np.random.default_rng(0)
    with SqliteProfiles(home / "profiles.sqlite") as profiles:
        for user in range(n_users):
            rows = draw.choice(n_items, n_events, replace=False)
            profiles.append(user_id(user), [HistoryEvent(item_id(row), NOW + i) for i, row in enumerate(rows)])
            profiles.put_features(user_id(user), {"gender": "F", "age": 31})
    return Edge(LambdaSettings(home=home))


def publish_toy(home: Path, n_items: int, dim: int) -> None:
    """A toy release that serves."""
    releases, folder = LocalReleases(home), home / "run"
    model = toy_model(n_items=n_items, dim=dim, n_categories=7, n_cold=n_items // 50, hidden=dim)
    write_bundle(folder, to_bundle(model), TrainingFacts(n_items=n_items, dim=dim, watermark=NOW))
    release = releases.seal(folder).id
    publication = Publication(
        id="p1", sequence=1, release=release, served_model="two_tower", gate=None, created_at=now_text()
    )
    releases.publish(publication, None)


def user_id(user: int) -> str:
    """The id of a user of this world."""
    return f"u{user:06d}"


def events_of(n_users: int, places: int) -> list[dict[str, Any]]:
    """One event per user, as API Gateway sends it."""
    path = "/v1/recommendations"
    return [_event(path, json.dumps({"user_id": user_id(user), "num_items": places})) for user in range(n_users)]


def item_of(row: int) -> str:
    """The id of an item of this world."""
    return item_id(row)


def sent(body: dict[str, Any]) -> dict[str, Any]:
    """What a user did, as API Gateway sends it."""
    return _event("/v1/events", json.dumps(body))


def _event(path: str, body: str) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "content-length": str(len(body))},
        "requestContext": {
            "http": {"method": "POST", "path": path},
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": False,
    }


def core_of(edge: Edge, places: int) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """Retrieval and re-ranking for the user of an event, without store, parsing, slate and log."""
    served = edge.serving.pin()
    model = served.model
    rules = SlateRules(places)
    known: dict[str, tuple[RecommendationRequest, Any]] = {}

    def core(event: dict[str, Any], _: object) -> dict[str, Any]:
        body = event["body"]
        if body not in known:  # once, before the calls that count
            request = RecommendationRequest(**json.loads(body))
            known[body] = request, edge.storage.profiles.get(request.user_id or "")
        request, profile = known[body]
        found = find_candidates(model, model.index, profile, request, served.retrieval, Deadline(150), NOW)
        rerank(found, model.items, rules, served.rerank, NOW)
        return {}

    return core
