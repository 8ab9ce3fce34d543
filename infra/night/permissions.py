"""Statements for what `rights.py` says, and for what AWS does in the name of jobs, the state machine and the schedule.

By hand, as in `infra/permissions.py`. The constructs of a night attach them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets

from contracts.night import NIGHTS, Step
from infra import permissions
from infra.night.plan import PROCESSING_STEPS
from infra.night.rights import Rights
from infra.search import Search
from infra.storage import Storage
from stores.nights import verdict_name

SAGEMAKER: Final = "sagemaker.amazonaws.com"
JOB_KINDS: Final = {"training": "TrainingJobs", "processing": "ProcessingJobs"}
"""Kind of job → how SageMaker calls log group and metrics of that kind."""
VERDICTS: Final = tuple(verdict_name(step) for step in PROCESSING_STEPS if step is not Step.BACKFILL)
DELIVERY_ACTIONS: Final = (
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
)
"""What AWS lists for a state machine that logs; none of them knows resources."""
TRACE_ACTIONS: Final = (
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
)


def _allow(
    actions: list[str], resources: list[str], conditions: dict[str, object] | None = None
) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions)


def arn(service: str, resource: str) -> str:
    """An ARN in the account and region of the stack."""
    return f"arn:{Aws.PARTITION}:{service}:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def of_rights(rights: Rights, storage: Storage, search: Search | None, machine: str) -> list[iam.PolicyStatement]:
    """What a function or a job may do. `machine`: name of the state machine whose executions are asked about."""
    statements = [*_objects(rights, storage)]
    if search is not None and rights.search:
        methods = [f"es:ESHttp{method}" for method in rights.search]
        statements.append(_allow(methods, [f"{search.domain_arn}/*"]))
    if rights.profiles:
        statements.append(permissions.on_table(storage.profiles, rights.profiles))
    if rights.live:
        statements.append(permissions.on_table(storage.live, rights.live))
    if rights.feed:
        statements.append(permissions.follow_feed(storage.live))
    if rights.executions:
        statements.append(_allow(["states:DescribeExecution"], [arn("states", f"execution:{machine}:*")]))
    return statements


def _objects(rights: Rights, storage: Storage) -> Iterator[iam.PolicyStatement]:
    data, releases = storage.data, storage.releases
    yield _allow(["s3:GetObject"], [*_in(data, rights.data_read), *_in(releases, rights.releases_read)])
    yield _allow(
        ["s3:ListBucket"], [each.bucket_arn for each in ((data, releases) if rights.releases_read else (data,))]
    )
    if written := [*_in(data, rights.data_write), *_in(releases, rights.releases_write)]:
        yield _allow(["s3:AbortMultipartUpload", "s3:PutObject"], written)  # large files go up in parts
    if deleted := [*_in(data, rights.data_delete), *_in(releases, rights.releases_delete)]:
        yield _allow(["s3:DeleteObject"], deleted)


def _in(bucket: s3.IBucket, keys: tuple[str, ...]) -> list[str]:
    return [bucket.arn_for_objects(key) for key in keys]


def run_job(kind: str, repository: str, code: assets.Asset) -> list[iam.PolicyStatement]:
    """What SageMaker does in the name of a job: pull the image, bring the code, write log and metrics.

    `kind`: of JOB_KINDS; `repository`: ARN of the image's.
    """
    name = JOB_KINDS[kind]
    return [
        _allow(["ecr:GetAuthorizationToken"], ["*"]),
        _allow(["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], [repository]),
        _allow(["s3:GetObject"], [code.bucket.arn_for_objects(code.s3_object_key)]),
        _allow(["s3:ListBucket"], [code.bucket.bucket_arn]),
        _allow(
            ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            [arn("logs", f"log-group:/aws/sagemaker/{name}:*")],
        ),
        _allow(
            ["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": f"/aws/sagemaker/{name}"}}
        ),
    ]


def assumed_by_jobs() -> iam.ServicePrincipal:
    """SageMaker, for jobs of this account only."""
    return iam.ServicePrincipal(SAGEMAKER, conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}})


def run_night(
    prefix: str, functions: list[str], roles: list[str], topic: str, data: s3.IBucket
) -> list[iam.PolicyStatement]:
    """What the state machine does. `functions`, `roles`: ARNs of what it calls, and of what its jobs are run as."""
    statements = [
        _allow(["lambda:InvokeFunction"], functions),
        _allow(["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": SAGEMAKER}}),
        _allow(["s3:GetObject"], [data.arn_for_objects(f"{NIGHTS}*/{name}") for name in VERDICTS]),
        _allow(["sns:Publish"], [topic]),
        _allow([*DELIVERY_ACTIONS], ["*"]),
        _allow([*TRACE_ACTIONS], ["*"]),
    ]
    for kind, plural in JOB_KINDS.items():
        job = kind.capitalize()
        actions = [f"sagemaker:{action}{job}Job" for action in ("Create", "Describe", "Stop")]
        statements.append(_allow([*actions, "sagemaker:AddTags"], [arn("sagemaker", f"{kind}-job/{prefix}-*")]))
        rule = arn("events", f"rule/StepFunctionsGetEventsForSageMaker{plural}Rule")
        statements.append(_allow(["events:DescribeRule", "events:PutRule", "events:PutTargets"], [rule]))
    return statements
