"""A deployment in moto: both stacks by CloudFormation, their buckets, table, stream and log groups, and a signed API.

CloudFormation makes what moto's can make (buckets, a table, log groups); stream and table of live data, which it
cannot, are made beside it.
The API is the real edge behind a server that recomputes the signature of every request, as the IAM authoriser does.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from local_mode.aws.account import Account
from local_mode.dev_server import DevServer
from local_mode.dynamodb_local.server import create_live_table

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), SignedHeaders=(?P<signed>[^,]+), "
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


def deploy(
    account: Account,
    prefix: str,
    api_url: str = "https://api.invalid",
    search: str = "",
    nights: Mapping[str, str] | None = None,
) -> None:
    """Make both stacks of a deployment; `nights`: outputs of what its nights have (`night_deployment.py`)."""
    cloudformation = account.client("cloudformation")
    for name, template in (("state", _state(prefix, search)), ("service", _service(prefix, api_url, nights or {}))):
        body = msgspec.json.encode(template).decode()
        cloudformation.create_stack(StackName=f"{prefix}-{name}", TemplateBody=body)
    create_live_table(account.client("dynamodb"), f"{prefix}-live")
    account.client("s3").create_bucket(
        Bucket=f"{prefix}-lake", CreateBucketConfiguration={"LocationConstraint": account.named_region()}
    )
    account.client("firehose").create_delivery_stream(
        DeliveryStreamName=f"{prefix}-events",
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::123456789012:role/stream",
            "BucketARN": f"arn:aws:s3:::{prefix}-lake",
        },
    )


def _state(prefix: str, search: str) -> dict[str, Any]:
    table = {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "user_id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "user_id", "KeyType": "HASH"}],
    }
    return {
        "Resources": {
            "Releases": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{prefix}-releases"}},
            "Data": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{prefix}-data"}},
            "Profiles": {"Type": "AWS::DynamoDB::Table", "Properties": table},
        },
        "Outputs": {
            "ReleasesBucket": {"Value": {"Ref": "Releases"}},
            "DataBucket": {"Value": {"Ref": "Data"}},
            "ProfilesTable": {"Value": {"Ref": "Profiles"}},
            "LiveTable": {"Value": f"{prefix}-live"},
            **({"SearchEndpoint": {"Value": search}} if search else {}),
        },
    }


def _service(prefix: str, api_url: str, nights: Mapping[str, str]) -> dict[str, Any]:
    groups = {
        name: {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": f"/aws/lambda/{prefix}-{name.lower()}"}}
        for name in ("Recommend", "Events")
    }
    return {
        "Resources": groups,
        "Outputs": {
            "ApiUrl": {"Value": api_url},
            "EventsStream": {"Value": f"{prefix}-events"},
            "RecommendLogGroup": {"Value": {"Ref": "Recommend"}},
            "EventsLogGroup": {"Value": {"Ref": "Events"}},
            **{name: {"Value": value} for name, value in nights.items()},
        },
    }


@contextmanager
def signed_api(home: Path) -> Iterator[str]:
    """The address of an API that serves a home folder to whoever signs with the fake credentials of the tests."""
    edge = Edge(LambdaSettings(home=home, log_level="ERROR", budget_ms=5_000))
    with serving(lambda event, context: _authorised(event) or edge(event, context)) as url:
        yield url
    edge.close()


@contextmanager
def serving(handler: Callable[[dict[str, Any], object], dict[str, Any]]) -> Iterator[str]:
    """The address of a server that answers with `handler`."""
    server = DevServer(handler, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _authorised(event: dict[str, Any]) -> dict[str, Any] | None:
    """None where the signature is the one that these credentials make of this request, else API Gateway's refusal."""
    found = _AUTHORIZATION.fullmatch(event["headers"].get("authorization", ""))
    if found and found["signature"] == _signature(event, found["signed"].split(";"), found["scope"].split("/")[1]):
        return None
    body = '{"message":"Forbidden"}'
    return {"statusCode": 403, "headers": {"content-type": "application/json"}, "body": body}


def _signature(event: dict[str, Any], signed: list[str], region: str) -> str:
    """The signature of a request, computed from what arrived."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = event["headers"]
    request = AWSRequest(
        method=event["requestContext"]["http"]["method"],
        url=f"http://{headers['host']}{event['rawPath']}",
        data=event.get("body", "").encode(),
        headers={name: headers[name] for name in signed},
    )
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("testing", "testing", "testing"), "execute-api", region)
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))
