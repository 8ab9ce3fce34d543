"""A version takes over only if it opens what is published; every call to AWS fits botocore's own model of it."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from contracts.errors import SettingsInvalid
from lambda_user_tower import deploy_check
from lambda_user_tower.deploy_check import VERSION_VARIABLE, handler, health_event
from lambda_user_tower.edge import Edge
from tests.lambda_user_tower.conftest import body_of

VERSION = "arn:aws:lambda:eu-west-1:123456789012:function:recommend:7"
HOOK = {"DeploymentId": "d-ABCDEFGHI", "LifecycleEventHookExecutionId": "hook-1"}


def answered(code: int, **body: Any) -> dict[str, Any]:
    return {"statusCode": code, "body": json.dumps(body)}


def reported(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], error: str = "") -> dict[str, str]:
    """What the hook reports where a version answers so; the stubs hold every parameter against the model of AWS."""
    monkeypatch.setenv(VERSION_VARIABLE, VERSION)
    clients = {name: boto3.client(name, region_name="eu-west-1") for name in ("lambda", "codedeploy")}
    stubs = {name: Stubber(client) for name, client in clients.items()}
    payload = json.dumps(answer).encode()
    invoked = {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(payload), len(payload))}
    stubs["lambda"].add_response(
        "invoke",
        invoked | ({"FunctionError": error} if error else {}),
        {"FunctionName": VERSION, "Payload": json.dumps(health_event()).encode()},
    )
    said: dict[str, str] = {}
    stubs["codedeploy"].add_response("put_lifecycle_event_hook_execution_status", {})
    clients["codedeploy"].meta.events.register("before-parameter-build", lambda params, **_: said.update(params))
    for stub in stubs.values():
        stub.activate()
    monkeypatch.setattr(boto3, "client", lambda name: clients[name])
    outcome = handler(HOOK)
    for stub in stubs.values():
        stub.assert_no_pending_responses()
    assert (said["deploymentId"], said["lifecycleEventHookExecutionId"]) == tuple(HOOK.values())
    assert said["status"] == outcome["status"]
    return outcome


def test_a_version_that_opens_what_is_published_may_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(monkeypatch, answered(200, status="ok", degraded=[])) == {"status": "Succeeded", "reason": ""}


def test_before_the_first_release_there_is_nothing_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = reported(monkeypatch, answered(503, type="urn:tandem:problem:no-release", detail="…"))
    assert outcome["status"] == "Succeeded"


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (answered(200, status="degraded", degraded=["publication_not_opened"]), "", "publication_not_opened"),
        (answered(503, type="urn:tandem:problem:release-unreadable", detail="version 9"), "", "release-unreadable"),
        ({"errorType": "Runtime.ImportModuleError", "errorMessage": "No module"}, "Unhandled", "ImportModuleError"),
    ],
)
def test_any_other_version_may_not(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], error: str, reason: str
) -> None:
    outcome = reported(monkeypatch, answer, error)
    assert outcome["status"] == "Failed"
    assert reason in outcome["reason"]


def test_the_question_is_one_that_the_edge_answers(edge: Edge) -> None:
    response = edge(health_event())
    assert (response["statusCode"], body_of(response)["status"]) == (200, "ok")


def test_without_a_version_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VERSION_VARIABLE, raising=False)
    with pytest.raises(SettingsInvalid, match=VERSION_VARIABLE):
        deploy_check.handler(HOOK)
