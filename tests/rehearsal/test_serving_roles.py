"""What the functions really call, noted from botocore in the rehearsal, against what their roles allow in the stacks.

Nothing is called that a role does not allow, on a thing that it does not name; and nothing is allowed that is never
called, but what is listed here with its reason.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from local_mode.rehearsal.serving import behind_a_gateway
from local_mode.rehearsal.stand_ins import (
    EXPERIMENTS_SECRET,
    EXPOSURES,
    LIVE_TABLE,
    RELEASES,
    SECRET,
    SLATES,
    STREAM,
    TABLE,
    StandIns,
)
from local_mode.rehearsal.synthesis import Assembly
from local_mode.rehearsal.tested import ask as ask_all
from local_mode.rehearsal.tested import begin, check_logs, end, names
from local_mode.rehearsal.walk import live_walk, walk
from tests.infra.synthesis import Synthesised, several, text_of
from tests.rehearsal.conftest import Night, ask, noted
from tests.toy_world import item_id

POLICIES: Final = {
    "handler": "servingRecommendPolicy",
    "events": "servingEventsPolicy",
    "items": "servingItemsPolicy",
}
"""Function, by the name of its handler → its policy in the templates."""

IAM_ACTIONS: Final = {
    ("s3", "GetObject"): "s3:GetObject",
    ("dynamodb", "GetItem"): "dynamodb:GetItem",
    ("dynamodb", "BatchGetItem"): "dynamodb:BatchGetItem",
    ("dynamodb", "PutItem"): "dynamodb:PutItem",
    ("dynamodb", "Query"): "dynamodb:Query",
    ("dynamodb", "UpdateItem"): "dynamodb:UpdateItem",
    ("firehose", "PutRecordBatch"): "firehose:PutRecordBatch",
    ("secretsmanager", "GetSecretValue"): "secretsmanager:GetSecretValue",
    ("es", "GET"): "es:ESHttpGet",
    ("es", "POST"): "es:ESHttpPost",
}
"""Call → the permission that IAM asks for it; a call that is not here fails the test until somebody looks it up."""

NEVER_CALLED: Final = {
    "s3:ListBucket": "no call: with it S3 answers 404, not 403, where there is no pointer yet",
    "logs:CreateLogStream": "called by Lambda itself, not by the function's code",
    "logs:PutLogEvents": "called by Lambda itself, not by the function's code",
    "xray:PutTraceSegments": "called by Lambda's daemon, not by the function's code",
    "xray:PutTelemetryRecords": "called by Lambda's daemon, not by the function's code",
}


class Called(NamedTuple):
    """A permission that was needed, and a part of the name of what it was needed on."""

    action: str
    on: str
    kind: str = ""
    """Of records of live data: the partition key, which the policies look at."""


TOLD: Final = {"genre": "books", "title": "A new book", "price": 12.5}
"""Features of a new item in the toy world."""


@pytest.fixture(scope="module")
def dev(assembly: Assembly) -> Synthesised:
    return Synthesised("dev", assembly.folder, set())


@pytest.fixture(scope="module")
def called(
    recording_bundle: Path, standing: StandIns, night: Night, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[Called]]:
    """Function → what it needed on a day with everything: both kinds of index, batches, live data, an experiment."""
    folder = tmp_path_factory.mktemp("day")
    record = folder / "calls.jsonl"
    with noted(recording_bundle, standing, record, folder) as functions, behind_a_gateway(functions) as api:
        night.publish(0, searched=False)
        assert ask(api.url, "POST", "/v1/recommendations", {"user_id": "u"})[0] == 200
        night.publish(1)
        for function in functions.values():
            function.restore()
        begin(api.url)
        tested = ask_all(api.url, names("visitor"))
        end(api.url)
        list(walk(api.url, "carol"))
        list(live_walk(api.url, "carol", item_id(1), TOLD))
        _tell_of_items_and_users(api.url)
        several_users = [{"user_id": f"u{n}", "item_id": item_id(n)} for n in range(5)]
        assert ask(api.url, "POST", "/v1/events", {"events": several_users})[0] == 200
        assert ask(api.url, "GET", "/v1/health")[0] == 200
        assert len([*check_logs(tested)]) == 2  # raises where a row of either log is missing
    found: dict[str, set[Called]] = {name: set() for name in POLICIES}
    for line in record.read_text().splitlines():
        call = json.loads(line)
        action = IAM_ACTIONS[call["service"], call["operation"]]
        on = call["on"]
        found[call["function"]] |= {Called(action, _on(call["service"], on), kind) for kind in on.get("Kinds", [""])}
    return found


def _tell_of_items_and_users(url: str) -> None:
    """What a day has beside recommendations: a batch of items, an event of one of them, a session that signs in."""
    batch = {"items": [{"item_id": f"batch-{n}", "features": TOLD} for n in range(3)]}
    for method, path, body in (
        ("POST", "/v1/items", batch),
        ("POST", "/v1/events", {"session_id": "s", "item_id": "batch-0"}),
        ("POST", "/v1/recommendations", {"session": {"session_id": "s"}}),
        ("POST", "/v1/users/dave/merge", {"session_id": "s"}),
        ("POST", "/v1/events", {"session_id": "s", "item_id": "batch-1"}),
        ("PUT", "/v1/users/dave", {"features": {"gender": "F"}}),
        *(("GET", f"/v1/popular?window={window}", None) for window in ("1h", "7d")),
    ):
        status, answer = ask(url, method, path, body)
        assert status == 200, answer


def _on(service: str, on: dict[str, Any]) -> str:
    """The thing in the names of the stacks: a pattern of an ARN's end."""
    if service == "s3":
        assert on["Bucket"] == RELEASES
        return f"storageReleases/{on['Key']}"
    if service == "dynamodb":
        table = {TABLE: "storageProfiles", LIVE_TABLE: "storageLive"}[on["TableName"]]
        return f"{table}/index/{on['IndexName']}" if "IndexName" in on else table
    if service == "firehose":
        return {STREAM: "EventsStream", EXPOSURES: "ExposuresStream", SLATES: "SlatesStream"}[on["DeliveryStreamName"]]
    if service == "secretsmanager":
        return {SECRET: "LogKey", EXPERIMENTS_SECRET: "ExperimentsKey"}[on["SecretId"]]
    return {"es": ":domain/"}[service]


class Allowed(NamedTuple):
    """A right."""

    action: str
    resource: str
    """As text."""
    kinds: tuple[str, ...] = ("",)
    """Partition keys that it is limited to."""


def _allowed(dev: Synthesised, function: str) -> list[Allowed]:
    """Everything that a function's policies allow."""
    statements = [
        statement
        for name, policy in dev.resources("AWS::IAM::Policy").items()
        if POLICIES[function] in name
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert statements
    return [
        Allowed(action, text_of(resource), _kinds(statement))
        for statement in statements
        for action in several(statement["Action"])
        for resource in several(statement["Resource"])
    ]


def _kinds(statement: dict[str, Any]) -> tuple[str, ...]:
    keys = statement.get("Condition", {}).get("ForAllValues:StringEquals", {}).get("dynamodb:LeadingKeys")
    return tuple(keys) if keys else ("",)


def _covers(allowed: Allowed, call: Called) -> bool:
    if allowed.action != call.action or call.kind not in allowed.kinds:
        return False
    if call.action == "s3:GetObject":
        key = call.on.partition("/")[2]
        return "storageReleases" in allowed.resource and fnmatchcase(key, allowed.resource.rpartition(">/")[2])
    table, _, index = call.on.partition("/index/")
    return table in allowed.resource and (f"/index/{index}" in allowed.resource) is bool(index)


@pytest.mark.parametrize("function", POLICIES)
def test_everything_that_is_called_is_allowed(function: str, called: dict[str, set[Called]], dev: Synthesised) -> None:
    allowed = _allowed(dev, function)
    assert called[function]
    refused = [call for call in called[function] if not any(_covers(each, call) for each in allowed)]
    assert refused == []


@pytest.mark.parametrize("function", POLICIES)
def test_everything_that_is_allowed_is_called_or_has_its_reason(
    function: str, called: dict[str, set[Called]], dev: Synthesised
) -> None:
    allowed = [each for each in _allowed(dev, function) if each.action not in NEVER_CALLED]
    assert [each for each in allowed if not any(_covers(each, call) for call in called[function])] == []
    single = {each._replace(kinds=(kind,)) for each in allowed for kind in each.kinds if kind}
    calls = {(call.action, call.kind) for call in called[function]}
    assert {(each.action, *each.kinds) for each in single} <= calls, "a kind of records that is not touched"
