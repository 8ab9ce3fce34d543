"""What each function may do: one statement per service, no action and no resource that its code does not use.

Written by hand, for the grants of CDK give whole families of actions (`s3:GetObject*`, `s3:List*`). A test holds the
actions that the running functions call to these. `serving.py` attaches them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from infra.storage import POINTER_KEY
from stores.experiments import CURRENT_KEY
from stores.live_table import COUNT, FEED, ITEM, MERGE, TOMBSTONE

RELEASE_KEYS: Final = ("releases/*", "publications/*", POINTER_KEY)
"""What serving reads of the bucket (`stores/releases.py`)."""
NETWORK_ACTIONS: Final = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)
"""What Lambda does in the name of a function that is in a VPC."""


def _allow(actions: list[str], resources: list[str]) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=actions, resources=resources)


def write_logs(group: logs.ILogGroup) -> iam.PolicyStatement:
    """Its own log group, which exists already."""
    return _allow(["logs:CreateLogStream", "logs:PutLogEvents"], [group.log_group_arn])


def send_traces() -> iam.PolicyStatement:
    """X-Ray knows no resources."""
    return _allow(["xray:PutTelemetryRecords", "xray:PutTraceSegments"], ["*"])


def join_network() -> iam.PolicyStatement:
    """The interfaces do not exist when the statement is written; AWS's own managed policy says `*` too."""
    return _allow([*NETWORK_ACTIONS], ["*"])


def read_releases(bucket: s3.IBucket) -> list[iam.PolicyStatement]:
    """Releases, publications and the pointer.

    Listing is how S3 tells "there is no pointer yet" (404) from "you may not look" (403): before the first release the
    answer is `no-release`, not an error.
    """
    return [
        _allow(["s3:GetObject"], [bucket.arn_for_objects(key) for key in RELEASE_KEYS]),
        _allow(["s3:ListBucket"], [bucket.bucket_arn]),
    ]


def read_profiles(table: dynamodb.ITableV2) -> iam.PolicyStatement:
    """One record a request."""
    return _allow(["dynamodb:GetItem"], [table.table_arn])


def write_profiles(table: dynamodb.ITableV2) -> iam.PolicyStatement:
    """The records of a batch, and a conditional write of each that changed; a refused one says what was there."""
    return _allow(["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem"], [table.table_arn])


def read_live(table: dynamodb.ITableV2) -> list[iam.PolicyStatement]:
    """What changed since the last look, and the counts of what is popular; never who left, nor whose a session was."""
    return [_feed(table), _live(table, ["dynamodb:Query"], [COUNT])]


def write_items(table: dynamodb.ITableV2) -> list[iam.PolicyStatement]:
    """The catalogue between two nights, and how much of it serving has to know."""
    return [_feed(table), _live(table, ["dynamodb:BatchGetItem", "dynamodb:UpdateItem"], [ITEM])]


def write_users(table: dynamodb.ITableV2) -> list[iam.PolicyStatement]:
    """Who left and whose a session was; which items an event may be of, and what is popular."""
    return [
        _live(table, ["dynamodb:UpdateItem"], [TOMBSTONE, MERGE]),
        _live(table, ["dynamodb:BatchGetItem", "dynamodb:UpdateItem"], [ITEM]),
        _live(table, ["dynamodb:PutItem"], [COUNT]),
    ]


def on_table(table: dynamodb.ITableV2, actions: Sequence[str]) -> iam.PolicyStatement:
    """What a job or a step of a night does with all records of a table."""
    return _allow([f"dynamodb:{action}" for action in actions], [table.table_arn])


def follow_feed(table: dynamodb.ITableV2) -> iam.PolicyStatement:
    """What of live data serving has to know, by time of change."""
    return _allow(["dynamodb:Query"], [_feed_arn(table)])


def _live(table: dynamodb.ITableV2, actions: list[str], kinds: list[str]) -> iam.PolicyStatement:
    """Records of some kinds: the kind is the partition key, which IAM can look at."""
    return iam.PolicyStatement(actions=actions, resources=[table.table_arn], conditions=_of_kinds(kinds))


def _feed(table: dynamodb.ITableV2) -> iam.PolicyStatement:
    """Items by time of change, for functions that answer callers."""
    return iam.PolicyStatement(actions=["dynamodb:Query"], resources=[_feed_arn(table)], conditions=_of_kinds([ITEM]))


def _of_kinds(kinds: list[str]) -> dict[str, object]:
    return {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": kinds}}


def _feed_arn(table: dynamodb.ITableV2) -> str:
    return f"{table.table_arn}/index/{FEED}"


def write_log(*streams: firehose.IDeliveryStream) -> iam.PolicyStatement:
    """Rows of these logs."""
    return _allow(["firehose:PutRecordBatch"], [each.delivery_stream_arn for each in streams])


def read_secret(*arns: str) -> iam.PolicyStatement:
    """Keys: that under which user ids are hashed in logs, that under which payloads are signed."""
    return _allow(["secretsmanager:GetSecretValue"], [*arns])


def read_experiments(bucket: s3.IBucket) -> iam.PolicyStatement:
    """The envelope; who reads releases may list the bucket already."""
    return _allow(["s3:GetObject"], [bucket.arn_for_objects(CURRENT_KEY)])


def publish_experiments(bucket: s3.IBucket) -> list[iam.PolicyStatement]:
    """The envelope, read and replaced. Listing: as in `read_releases`, before there is one."""
    return [
        _allow(["s3:GetObject", "s3:PutObject"], [bucket.arn_for_objects(CURRENT_KEY)]),
        _allow(["s3:ListBucket"], [bucket.bucket_arn]),
    ]


def invoke(function_arn: str) -> iam.PolicyStatement:
    """One version of one function."""
    return _allow(["lambda:InvokeFunction"], [function_arn])


def report_check(group: codedeploy.ILambdaDeploymentGroup) -> iam.PolicyStatement:
    """Whether the alias may move."""
    return _allow(["codedeploy:PutLifecycleEventHookExecutionStatus"], [group.deployment_group_arn])
