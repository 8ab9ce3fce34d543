"""docs/openapi.yaml is held to the code, both ways: endpoints, parameters, limits, responses and problem types."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from contracts import errors
from contracts.errors import SessionMerged, TandemError
from contracts.event import MAX_EVENTS, MAX_EVENTS_BODY_BYTES, EventRequest
from contracts.live import MAX_LIVE_FEATURES_BYTES
from contracts.request import (
    MAX_ITEMS_PUT,
    ItemFeatures,
    ItemState,
    ItemToPut,
    MergeRequest,
    PopularRequest,
    RecommendationRequest,
    SimilarRequest,
    UserFeatures,
)
from contracts.slate import Slate
from lambda_user_tower.edge import Edge
from lambda_user_tower.health import Health
from lambda_user_tower.intake import EventsAnswer
from lambda_user_tower.items import ItemsAnswer, ItemStateTold, ItemTold
from lambda_user_tower.items_parse import MAX_ITEMS_BODY_BYTES
from lambda_user_tower.payload import MAX_QUERY_CHARACTERS
from lambda_user_tower.problems import STATUS, TYPE_PREFIX, UNEXPECTED, Problem, problem_response
from lambda_user_tower.routing import Endpoint
from lambda_user_tower.settings import LambdaSettings
from lambda_user_tower.users import MergeAnswer, UserAnswer
from tests.lambda_user_tower.conftest import body_of, http, let_in_as, post, send
from tests.toy_world import item_id

DOCUMENT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml").read_text(encoding="utf-8")
)
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
STRUCTS = [
    *(RecommendationRequest, Slate, EventRequest, EventsAnswer, Health, Problem),
    *(ItemFeatures, ItemToPut, ItemState, ItemTold, ItemsAnswer, ItemStateTold),
    *(UserFeatures, MergeRequest, UserAnswer, MergeAnswer),
]
OF_ANY_PATH = {"MethodNotAllowed"}
"""Responses of no operation: what is asked for is none."""


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """What a node says, itself or where it points to."""
    if "$ref" not in node:
        return node
    target: Any = DOCUMENT
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return resolve(target)


def bare(schema: Any) -> Any:
    """A schema without what is only said to people."""
    if isinstance(schema, dict):
        kept = {key: bare(value) for key, value in schema.items() if key not in ("description", "title")}
        return {key: value for key, value in kept.items() if (key, value) != ("required", [])}
    return [bare(part) for part in schema] if isinstance(schema, list) else schema


def test_the_operations_are_the_endpoints() -> None:
    assert set(OPERATIONS) == {str(endpoint) for endpoint in Endpoint}


def test_the_schemas_are_the_structs() -> None:
    _, expected = msgspec.json.schema_components(STRUCTS, ref_template="#/components/schemas/{name}")
    assert bare(DOCUMENT["components"]["schemas"]) == bare(expected)


PARAMETERS: dict[str, tuple[type[msgspec.Struct], dict[str, str]]] = {
    Endpoint.FOR_USER: (RecommendationRequest, {"id": "user_id", "filter.{name}": "filters"}),
    Endpoint.SIMILAR: (SimilarRequest, {"id": "item_id"}),
    Endpoint.POPULAR: (PopularRequest, {"segment.{name}": "segment"}),
}
ONLY_IN_A_BODY = {"history", "features", "session"}


@pytest.mark.parametrize("endpoint", PARAMETERS)
def test_the_parameters_are_the_fields(endpoint: str) -> None:
    struct, renamed = PARAMETERS[endpoint]
    parameters = [resolve(parameter) for parameter in OPERATIONS[endpoint]["parameters"]]
    fields = msgspec.json.schema(struct)["$defs"][struct.__name__]["properties"]
    assert {renamed.get(p["name"], p["name"]) for p in parameters} == set(fields) - ONLY_IN_A_BODY
    for parameter in parameters:
        field = bare(fields[renamed.get(parameter["name"], parameter["name"])])
        options = [option for option in field.get("anyOf", [field]) if option != {"type": "null"}]
        if "{name}" in parameter["name"]:  # one member of a map, and one value of the several that it may have
            options = [field["additionalProperties"]]
            options = [options[0].get("anyOf", options)[0]]
        field_schema = {key: value for key, value in options[0].items() if (key, value) != ("default", [])}
        field_schema |= {"default": field["default"]} if field.get("default") not in (None, [], {}) else {}
        assert parameter["schema"] == field_schema, parameter["name"]


def problem_types(response: dict[str, Any]) -> tuple[int, set[str]]:
    """Status and problem types of a response."""
    properties = response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
    return properties["status"]["const"], set(properties["type"]["enum"])


def test_every_problem_of_the_table_is_described_and_the_other_way_round() -> None:
    described: dict[int, set[str]] = {}
    for name, response in DOCUMENT["components"]["responses"].items():
        if name != "Slate":
            status, types = problem_types(response)
            described.setdefault(status, set()).update(types)
    expected: dict[int, set[str]] = {500: {TYPE_PREFIX + UNEXPECTED}}
    for kind, (status, _) in STATUS.items():
        expected.setdefault(status, set()).add(TYPE_PREFIX + kind.code)
    assert described == expected


def test_every_response_is_used_and_under_its_own_status() -> None:
    used = set()
    for operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            if "$ref" in response and "Slate" not in response["$ref"]:
                used.add(response["$ref"].rpartition("/")[2])
                assert problem_types(resolve(response))[0] == int(status)
    assert used == set(DOCUMENT["components"]["responses"]) - {"Slate"} - OF_ANY_PATH


def tell(method: str, path: str, body: object) -> dict[str, Any]:
    return http(method, path, body=json.dumps(body))


ANSWERS = {
    Endpoint.RECOMMEND: [
        post({"user_id": "warm"}),
        post({"user_id": "cool", "explain": True}),
        post({}),
        post({"session": {"history": [{"item_id": item_id(1)}]}, "explain": True}),
        post("{"),
        post({"num_items": 0}),
        post(" " * 70_000),
        http("POST", "/v1/recommendations", body="{}", headers={"content-type": "text/plain"}),
    ],
    Endpoint.FOR_USER: [
        http("GET", "/v1/users/warm/recommendations", "explain=true&filter.genre=art"),
        http("GET", "/v1/users/warm/recommendations", "filter.price=1"),
        http("GET", "/v1/users/warm/recommendations", "x" * (MAX_QUERY_CHARACTERS + 1)),
    ],
    Endpoint.SIMILAR: [
        http("GET", f"/v1/items/{item_id(3)}/similar", "explain=true"),
        http("GET", "/v1/items/nothing/similar"),
        http("GET", "/v1/items//similar"),
    ],
    Endpoint.POPULAR: [
        http("GET", "/v1/popular"),
        http("GET", "/v1/popular", "num_items=x"),
        http("GET", "/v1/popular", "window=1d&explain=true"),
        http("GET", "/v1/popular", "window=2d"),
        http("GET", "/v1/popular", "window=1d&category=art"),
    ],
    Endpoint.EVENTS: [
        send({"user_id": "told", "item_id": item_id(3), "event_id": "e1"}),
        send({"user_id": "told", "item_id": item_id(3), "event_id": "e1"}),
        send({"events": [{"user_id": "told", "item_id": "no such item"}, {"user_id": "told"}]}),
        send({"user_id": "told"}),
        send({"session_id": "visit", "item_id": item_id(3)}),
        send({"user_id": "told", "item_id": "i"}) | {"requestContext": let_in_as("somebody else")},
        send(" " * (MAX_EVENTS_BODY_BYTES + 1)),
        http("POST", "/v1/events", body="{}", headers={"content-type": "text/plain"}),
    ],
    Endpoint.PUT_ITEM: [
        tell("PUT", "/v1/items/new", {"features": {"genre": "art"}}),
        tell("PUT", "/v1/items/new", {"features": {"colour": "red"}}),
        tell("PUT", "/v1/items/new", {"features": {}}) | {"requestContext": let_in_as("u", "PUT")},
        tell("PUT", "/v1/items/new", {"features": {"title": "a" * 70_000}}),
        http("PUT", "/v1/items/new", body="{}", headers={"content-type": "text/plain"}),
    ],
    Endpoint.PUT_ITEMS: [
        tell("POST", "/v1/items", {"items": [{"item_id": "new", "features": {"genre": "art"}}, {"item_id": ""}]}),
        tell("POST", "/v1/items", {"items": []}),
        tell("POST", "/v1/items", {}) | {"requestContext": let_in_as("u")},
    ],
    Endpoint.PATCH_ITEM: [
        tell("PATCH", f"/v1/items/{item_id(199)}", {"available": None}),
        tell("PATCH", "/v1/items/nothing", {"hidden": False}),
        tell("PATCH", f"/v1/items/{item_id(199)}", {}),
    ],
    Endpoint.PUT_USER: [
        tell("PUT", "/v1/users/told", {"features": {"gender": "F"}}),
        tell("PUT", "/v1/users/told", {"features": {"age": "old"}}),
        tell("PUT", "/v1/users/told", {"features": {f"f{n}": ["x" * 100] * 5 for n in range(50)}}),
        tell("PUT", "/v1/users/told", {"features": {}}) | {"requestContext": let_in_as("somebody else", "PUT")},
        tell("PUT", "/v1/users/anonymous:s", {"features": {}}),
    ],
    Endpoint.MERGE: [
        tell("POST", "/v1/users/told/merge", {"session_id": "visit"}),
        tell("POST", "/v1/users/another/merge", {"session_id": "visit"}),
        tell("POST", "/v1/users/told/merge", {}),
    ],
    Endpoint.DELETE_USER: [
        http("DELETE", "/v1/users/told"),
        http("DELETE", "/v1/users/nobody ever"),
        http("DELETE", "/v1/users/"),
        http("DELETE", "/v1/users/told") | {"requestContext": let_in_as("somebody else", "DELETE")},
    ],
    Endpoint.HEALTH: [http("GET", "/v1/health")],
}


@pytest.fixture(scope="module")
def edge(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """One of its own: what is told here is nobody else's business."""
    copy = tmp_path_factory.mktemp("openapi") / "home"
    shutil.copytree(home, copy)
    with closing(Edge(LambdaSettings(home=copy, budget_ms=20_000))) as opened:
        yield opened


@pytest.mark.parametrize(("endpoint", "event"), [(name, event) for name, events in ANSWERS.items() for event in events])
def test_every_answer_is_as_described(edge: Edge, endpoint: str, event: dict[str, Any]) -> None:
    response = edge(event)
    described = resolve(OPERATIONS[endpoint]["responses"][str(response["statusCode"])])
    schema = described["content"][response["headers"]["content-type"]]["schema"]
    Draft202012Validator(schema | {"components": DOCUMENT["components"]}).validate(body_of(response))
    closed(body_of(response), schema)


def closed(answer: dict[str, Any], schema: dict[str, Any]) -> None:
    """An answer holds nothing that its schema does not name."""
    named = resolve(schema["allOf"][0] if "allOf" in schema else schema)["properties"]
    assert set(answer) <= set(named)


def every_error() -> list[type[TandemError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TandemError)]
    assert len(found) > 20
    return found


@pytest.mark.parametrize("kind", every_error())
def test_every_named_failure_is_a_problem(kind: type[TandemError]) -> None:
    more = {"user_id": "u"} if kind is SessionMerged else {}
    response = problem_response(kind("it happened.", fix="Do this.", **more), "request-1")
    Draft202012Validator(DOCUMENT["components"]["schemas"]["Problem"]).validate(json.loads(response["body"]))
    assert body_of(response)["type"] == TYPE_PREFIX + kind.code
    assert re.fullmatch("[a-z-]+", kind.code)


def test_the_examples_are_requests() -> None:
    for example in OPERATIONS[Endpoint.RECOMMEND]["requestBody"]["content"]["application/json"]["examples"].values():
        msgspec.convert(example["value"], RecommendationRequest)
    events = OPERATIONS[Endpoint.EVENTS]["requestBody"]["content"]["application/json"]
    for example in events["examples"].values():
        for event in example["value"].get("events", [example["value"]]):
            msgspec.convert(event, EventRequest)
    batch = events["schema"]["oneOf"][1]["properties"]["events"]
    assert batch["maxItems"] == MAX_EVENTS
    for item in example_of(Endpoint.PUT_ITEMS)["items"]:
        msgspec.convert(item, ItemToPut)
    items = OPERATIONS[Endpoint.PUT_ITEMS]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert items["items"]["maxItems"] == MAX_ITEMS_PUT


BODIES = {
    Endpoint.PUT_ITEM: ItemFeatures,
    Endpoint.PATCH_ITEM: ItemState,
    Endpoint.PUT_USER: UserFeatures,
    Endpoint.MERGE: MergeRequest,
}


@pytest.mark.parametrize("endpoint", BODIES)
def test_the_examples_of_a_body_are_of_its_struct(endpoint: Endpoint) -> None:
    msgspec.convert(example_of(endpoint), BODIES[endpoint])
    schema = OPERATIONS[endpoint]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": f"#/components/schemas/{BODIES[endpoint].__name__}"}


def example_of(endpoint: Endpoint) -> Any:
    examples = OPERATIONS[endpoint]["requestBody"]["content"]["application/json"]["examples"]
    return next(iter(examples.values()))["value"]


def test_the_document_says_the_limit_of_a_body() -> None:
    assert "65,536 bytes" in OPERATIONS[Endpoint.RECOMMEND]["description"]
    assert f"{MAX_EVENTS_BODY_BYTES:,} bytes" in OPERATIONS[Endpoint.EVENTS]["description"]
    assert f"{MAX_ITEMS_BODY_BYTES:,} bytes" in OPERATIONS[Endpoint.PUT_ITEMS]["description"]
    assert f"{MAX_LIVE_FEATURES_BYTES:,} bytes" in OPERATIONS[Endpoint.PUT_ITEM]["description"]
