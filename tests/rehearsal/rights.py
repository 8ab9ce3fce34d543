"""What the roles of the stacks allow, and what was called in their names: both as actions on ARNs, to be held together.

Statements are read from the templates and resolved as the rehearsal resolves everything, so that a call of the
rehearsal and a resource of a policy have the same names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from local_mode.rehearsal.deployed import Deployed
from local_mode.rehearsal.stand_ins import ACCOUNT, REGION

_HERE: Final = f"{REGION}:{ACCOUNT}"

ACTIONS: Final = {
    ("s3", "GetObject"): "s3:GetObject",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "PutObject"): "s3:PutObject",
    ("s3", "CreateMultipartUpload"): "s3:PutObject",
    ("s3", "UploadPart"): "s3:PutObject",
    ("s3", "CompleteMultipartUpload"): "s3:PutObject",
    ("s3", "DeleteObject"): "s3:DeleteObject",
    ("s3", "DeleteObjects"): "s3:DeleteObject",
    ("dynamodb", "BatchGetItem"): "dynamodb:BatchGetItem",
    ("dynamodb", "BatchWriteItem"): "dynamodb:BatchWriteItem",
    ("dynamodb", "GetItem"): "dynamodb:GetItem",
    ("dynamodb", "PutItem"): "dynamodb:PutItem",
    ("dynamodb", "DeleteItem"): "dynamodb:DeleteItem",
    ("dynamodb", "Query"): "dynamodb:Query",
    ("dynamodb", "Scan"): "dynamodb:Scan",
    ("dynamodb", "UpdateItem"): "dynamodb:UpdateItem",
    ("secretsmanager", "GetSecretValue"): "secretsmanager:GetSecretValue",
    ("stepfunctions", "DescribeExecution"): "states:DescribeExecution",
    ("sns", "Publish"): "sns:Publish",
    ("lambda", "Invoke"): "lambda:InvokeFunction",
    ("es", "DELETE"): "es:ESHttpDelete",
    ("es", "GET"): "es:ESHttpGet",
    ("es", "HEAD"): "es:ESHttpHead",
    ("es", "POST"): "es:ESHttpPost",
    ("es", "PUT"): "es:ESHttpPut",
}
"""Call → the permission that IAM asks for it; a call that is not here fails the test until somebody looks it up."""


class Called(NamedTuple):
    """A permission that was needed, and the ARN of what it was needed on."""

    action: str
    on: str


def calls_of(record: Path, domain: str) -> dict[str, set[Called]]:
    """Who → what they needed. `domain`: name of the search domain, which the calls themselves do not have."""
    found: dict[str, set[Called]] = {}
    for line in record.read_text().splitlines():
        call = json.loads(line)
        action = ACTIONS[call["service"], call["operation"]]
        for arn in _arns(call["service"], call["on"], action, domain):
            found.setdefault(call["function"], set()).add(Called(action, arn))
    return found


def _arns(service: str, on: dict[str, Any], action: str, domain: str) -> Iterator[str]:
    if service == "s3" and action == "s3:ListBucket":
        yield f"arn:aws:s3:::{on['Bucket']}"
    elif service == "s3":
        yield from (f"arn:aws:s3:::{on['Bucket']}/{key}" for key in on.get("Keys", [on.get("Key")]))
    elif service == "dynamodb":
        index = f"/index/{on['IndexName']}" if "IndexName" in on else ""
        yield f"arn:aws:dynamodb:{_HERE}:table/{on['TableName']}{index}"
    elif service == "es":
        yield f"arn:aws:es:{_HERE}:domain/{domain}/{on['url'].lstrip('/')}"
    elif service == "secretsmanager":
        yield f"arn:aws:secretsmanager:{_HERE}:secret:{on['SecretId']}-AbCdEf"  # six characters that AWS adds
    else:
        yield on[{"stepfunctions": "executionArn", "sns": "TopicArn", "lambda": "FunctionName"}[service]]


def allowed(deployed: Deployed, role: str) -> set[tuple[str, str]]:
    """(action, ARN with wildcards) of everything that a role may do; `role`: its ARN."""
    name, found = role.rpartition("/")[2], set()
    for stack in deployed.stacks.values():
        for policy in stack.of_type("AWS::IAM::Policy").values():
            if name in stack.value(policy["Roles"]):
                for statement in policy["PolicyDocument"]["Statement"]:
                    assert statement["Effect"] == "Allow"
                    resources = stack.value(statement["Resource"])
                    found |= {(action, arn) for action in _several(statement["Action"]) for arn in _several(resources)}
    return found


def covers(action: str, arn: str, call: Called) -> bool:
    """Whether a statement allows a call."""
    return action == call.action and fnmatchcase(call.on, arn)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
