"""The check before traffic moves: does the new code open what is published now?

CodeDeploy calls it before an alias is moved to a new version. It asks that version for its health; only where it opens
the current publication, or where nothing is published at all, does the alias move. AWS calls it.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

from contracts.errors import NothingPublished, SettingsInvalid
from lambda_user_tower.problems import TYPE_PREFIX
from lambda_user_tower.routing import Endpoint

VERSION_VARIABLE: Final = "TANDEM_NEW_VERSION"
"""ARN of the version that is to be checked; the deployment sets it."""


def handler(event: dict[str, Any], _: object = None) -> dict[str, str]:
    """Report to CodeDeploy whether the version may serve; returns what was reported, and why.

    Raises SettingsInvalid where it is not told which version to check.
    """
    import boto3

    version = os.environ.get(VERSION_VARIABLE, "")
    if not version:
        raise SettingsInvalid(f"{VERSION_VARIABLE} is not set.", fix="Deploy with the stack of this repository.")
    fault = _fault(boto3.client("lambda").invoke(FunctionName=version, Payload=json.dumps(health_event()).encode()))
    status = "Failed" if fault else "Succeeded"
    boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )
    return {"status": status, "reason": fault}


def _fault(invoked: dict[str, Any]) -> str:
    """Why a version may not serve, by its answer; empty where it may."""
    said = json.loads(invoked["Payload"].read())
    if "FunctionError" in invoked:
        return f"{said.get('errorType')}: {said.get('errorMessage')}"
    body = json.loads(said["body"])
    if said["statusCode"] == 200:
        return "" if body["status"] == "ok" else f"{body['status']}: {', '.join(body['degraded'])}"
    return "" if body["type"] == TYPE_PREFIX + NothingPublished.code else f"{body['type']}: {body['detail']}"


def health_event() -> dict[str, Any]:
    """The question as API Gateway would ask it."""
    method, path = Endpoint.HEALTH.split(" ")
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "requestContext": {"http": {"method": method, "path": path}, "requestId": "deploy-check"},
        "isBase64Encoded": False,
    }
