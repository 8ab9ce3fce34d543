"""A published toy world and an edge that serves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contracts.fitted import FittedModel, to_bundle
from contracts.profile import HistoryEvent
from contracts.release import Publication
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from stores.profiles import SqliteProfiles
from stores.publications import now_text
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases
from tests.toy_world import NOW, item_id, toy_model

Response = dict[str, Any]


def seal(home: Path, model: FittedModel) -> str:
    """A model as a sealed release; its id."""
    folder = home / uuid4().hex
    facts = TrainingFacts(n_items=len(model.items), dim=model.items.two_tower.shape[1], watermark=model.watermark)
    write_bundle(folder, to_bundle(model), facts)
    return LocalReleases(home).seal(folder).id


def publish(home: Path, release: str, **changes: Any) -> Publication:
    """Move the pointer to a release."""
    releases = LocalReleases(home)
    current = releases.current()
    sequence = releases.next_sequence()
    publication = Publication(
        id=f"p{sequence}",
        sequence=sequence,
        release=release,
        gate=None,
        previous=None if current is None else current.publication.id,
        created_at=now_text(),
        **{"served_model": "two_tower", **changes},
    )
    releases.publish(publication, None if current is None else current.etag)
    return publication


def http(method: str, path: str, query: str = "", body: str | None = None, **rest: Any) -> dict[str, Any]:
    """An event as API Gateway sends it."""
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json", "host": "example.test"},
        "requestContext": {"http": {"method": method, "path": path}, "requestId": "request-1", "stage": "$default"},
        "isBase64Encoded": False,
    }
    return event | ({} if body is None else {"body": body}) | rest


def post(body: object) -> dict[str, Any]:
    return http("POST", "/v1/recommendations", body=body if isinstance(body, str) else json.dumps(body))


def send(body: object) -> dict[str, Any]:
    """Events as API Gateway hands them over."""
    return http("POST", "/v1/events", body=body if isinstance(body, str) else json.dumps(body))


def let_in_as(user_id: str, method: str = "POST", path: str = "/v1/events") -> dict[str, Any]:
    """A request context in which a JWT authoriser has let somebody in."""
    claims = {"sub": user_id, "iss": "https://issuer.test"}
    context = http(method, path)["requestContext"]
    return context | {"authorizer": {"jwt": {"claims": claims, "scopes": None}}}


def body_of(response: Response) -> Any:
    return json.loads(response["body"])


@pytest.fixture(scope="session")
def toy() -> FittedModel:
    return toy_model(unavailable=(1,), expired=(2,))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, toy: FittedModel) -> Path:
    """A folder with one publication, and the profiles of `warm` (twenty events) and `cool` (two)."""
    folder = tmp_path_factory.mktemp("home")
    publish(folder, seal(folder, toy))
    with SqliteProfiles(folder / "profiles.sqlite") as profiles:
        for user, rows in (("warm", range(0, 100, 5)), ("cool", (3, 8))):
            profiles.append(user, [HistoryEvent(item_id(row), NOW - 100 + row) for row in rows])
        profiles.put_features("cool", {"gender": "M", "age": 30})
    return folder


@pytest.fixture(scope="session")
def edge(home: Path) -> Iterator[Edge]:
    with closing(Edge(LambdaSettings(home=home, budget_ms=20_000))) as opened:
        yield opened


@pytest.fixture(scope="session")
def ask(edge: Edge) -> Callable[[dict[str, Any]], Any]:
    """The body of the answer to an event that is right."""

    def asked(event: dict[str, Any]) -> Any:
        response = edge(event)
        assert response["statusCode"] == 200, response
        return body_of(response)

    return asked
