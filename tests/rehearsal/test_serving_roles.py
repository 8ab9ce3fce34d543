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
from local_mode.rehearsal.stand_ins import RELEASES, SECRET, STREAM, TABLE, StandIns
from local_mode.rehearsal.synthesis import Assembly
from local_mode.rehearsal.walk import walk
from tests.infra.synthesis import Synthesised, several, text_of
from tests.rehearsal.conftest import Night, ask, noted
from tests.toy_world import item_id

POLICIES: Final = {"handler": "servingRecommendPolicy", "events": "servingEventsPolicy"}
"""Function, by the name of its handler → its policy in the templates."""

IAM_ACTIONS: Final = {
    ("s3", "GetObject"): "s3:GetObject",
    ("dynamodb", "GetItem"): "dynamodb:GetItem",
    ("dynamodb", "BatchGetItem"): "dynamodb:BatchGetItem",
    ("dynamodb", "PutItem"): "dynamodb:PutItem",
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


@pytest.fixture(scope="module")
def dev(assembly: Assembly) -> Synthesised:
    return Synthesised("dev", assembly.folder, set())


@pytest.fixture(scope="module")
def called(
    recording_bundle: Path, standing: StandIns, night: Night, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[Called]]:
    """Function → what it needed on a day with everything: both kinds of index, single events, a batch, a restore."""
    folder = tmp_path_factory.mktemp("day")
    record = folder / "calls.jsonl"
    with noted(recording_bundle, standing, record, folder) as functions, behind_a_gateway(functions) as api:
        night.publish(0, searched=False)
        assert ask(api.url, "POST", "/v1/recommendations", {"user_id": "u"})[0] == 200
        night.publish(1)
        for function in functions.values():
            function.restore()
        list(walk(api.url, "carol"))
        several_users = [{"user_id": f"u{n}", "item_id": item_id(n)} for n in range(5)]
        assert ask(api.url, "POST", "/v1/events", {"events": several_users})[0] == 200
        assert ask(api.url, "GET", "/v1/health")[0] == 200
    found: dict[str, set[Called]] = {name: set() for name in POLICIES}
    for line in record.read_text().splitlines():
        call = json.loads(line)
        action = IAM_ACTIONS[call["service"], call["operation"]]
        found[call["function"]].add(Called(action, _on(call["service"], call["on"])))
    return found


def _on(service: str, on: dict[str, Any]) -> str:
    """The thing in the names of the stacks: a pattern of an ARN's end."""
    if service == "s3":
        assert on["Bucket"] == RELEASES
        return f"storageReleases/{on['Key']}"
    names = {"dynamodb": ("TableName", TABLE), "firehose": ("DeliveryStreamName", STREAM)}
    if service in names and (name := names[service][0]) in on:
        assert on[name] == names[service][1]
    if service == "secretsmanager":
        assert on["SecretId"] == SECRET
    return {"dynamodb": "Profiles", "firehose": "Stream", "secretsmanager": "LogKey", "es": ":domain/"}[service]


def _allowed(dev: Synthesised, function: str) -> list[tuple[str, str]]:
    """(action, resource as text) of everything that a function's policies allow."""
    statements = [
        statement
        for name, policy in dev.resources("AWS::IAM::Policy").items()
        if POLICIES[function] in name
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert statements
    return [
        (action, text_of(resource))
        for statement in statements
        for action in several(statement["Action"])
        for resource in several(statement["Resource"])
    ]


def _covers(action: str, resource: str, call: Called) -> bool:
    if action != call.action:
        return False
    if call.action == "s3:GetObject":
        key = call.on.partition("/")[2]
        return "storageReleases" in resource and fnmatchcase(key, resource.rpartition(">/")[2])
    return call.on in resource


@pytest.mark.parametrize("function", POLICIES)
def test_everything_that_is_called_is_allowed(function: str, called: dict[str, set[Called]], dev: Synthesised) -> None:
    allowed = _allowed(dev, function)
    assert called[function]
    refused = [call for call in called[function] if not any(_covers(*each, call) for each in allowed)]
    assert refused == []


@pytest.mark.parametrize("function", POLICIES)
def test_everything_that_is_allowed_is_called_or_has_its_reason(
    function: str, called: dict[str, set[Called]], dev: Synthesised
) -> None:
    allowed = {action for action, _ in _allowed(dev, function)}
    used = {call.action for call in called[function]}
    assert allowed - used <= NEVER_CALLED.keys()
