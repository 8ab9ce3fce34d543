"""What there is of a deployment in an account, by its tags: what it costs, and whether it is to outlive the stacks.

It only looks. Everything that the stacks make carries the tag `deployment`; what AWS makes beside them is found by its
name. Asked before `make destroy` it says what will be lost, afterwards what is left. `cli/aws_leftovers.py` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from local_mode.aws.account import Account, error_code, naming_aws_failures
from local_mode.aws.deployment import STACKS

TAG: Final = "deployment"
"""Set by `infra/stacks.py`, its value is the prefix; `profile` beside it."""
KEEPS_DATA: Final = "prod"
"""The profile whose data outlives its stacks (`keep_data` in infra/profiles.py)."""


class Kind(NamedTuple):
    """A kind of thing."""

    bills: str
    """How it costs while it is there; empty: nothing."""
    holds_data: bool = False
    """Whether profile `prod` keeps it."""


KINDS: Final[dict[str, Kind]] = {
    "s3": Kind("by GB", holds_data=True),
    "dynamodb": Kind("by GB", holds_data=True),
    "es": Kind("by the hour, whether it is asked or not", holds_data=True),
    "secretsmanager": Kind("by the month", holds_data=True),
    "lambda": Kind("by GB and hour, for the snapshots of versions"),
    "ec2": Kind("by the hour, where it is an endpoint"),
    "logs": Kind("by GB"),
    "cloudwatch": Kind("by the month"),
    "firehose": Kind("by GB that comes"),
    "cloudformation": Kind("nothing itself, but what it holds"),
    "sagemaker": Kind(""),
}
"""Service in an ARN → what it is; another one costs only what is done with it. Jobs of SageMaker are records."""
OTHER: Final = Kind("")


@dataclass(frozen=True)
class Left:
    """One thing that is there."""

    kind: str
    name: str
    bills: str
    on_purpose: str = ""
    """Why it stays when the stacks go; empty: it goes with them."""


def look(account: Account, prefix: str) -> list[Left]:
    """Everything of a deployment, what costs first. Raises AwsCallFailed."""
    with naming_aws_failures():
        looks = (_tagged, _stacks, _beside, _waiting_secrets)  # the last are tagged, too, and said better there
        found = {left.name: left for each in looks for left in each(account, prefix)}
    return sorted(found.values(), key=lambda left: (not left.bills, bool(left.on_purpose), left.kind, left.name))


def unexpected(found: list[Left]) -> list[Left]:
    """What costs and was not meant to stay."""
    return [left for left in found if left.bills and not left.on_purpose]


def _tagged(account: Account, prefix: str) -> Iterator[Left]:
    pages = account.client("resourcegroupstaggingapi").get_paginator("get_resources")
    for page in pages.paginate(TagFilters=[{"Key": TAG, "Values": [prefix]}]):
        for resource in page["ResourceTagMappingList"]:
            tags = {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
            yield _of(resource["ResourceARN"], tags.get("profile", ""))


def _of(arn: str, profile: str) -> Left:
    service = arn.split(":")[2]
    kind = KINDS.get(service, OTHER)
    kept = f"profile {KEEPS_DATA} keeps its data" if kind.holds_data and profile == KEEPS_DATA else ""
    return Left(service, arn, kind.bills, kept)


def _stacks(account: Account, prefix: str) -> Iterator[Left]:
    """Moto and AWS both let stacks be found by tag; by name they are found while they are being deleted, too."""
    from botocore.exceptions import ClientError

    client = account.client("cloudformation")
    for name in STACKS:
        try:
            stack = client.describe_stacks(StackName=f"{prefix}-{name}")["Stacks"][0]
        except ClientError as error:
            if error_code(error) != "ValidationError":  # what CloudFormation calls a stack that does not exist
                raise
            continue
        if stack["StackStatus"] != "DELETE_COMPLETE":
            yield Left("cloudformation", stack["StackId"], f"{stack['StackStatus']}: {KINDS['cloudformation'].bills}")


def _waiting_secrets(account: Account, prefix: str) -> Iterator[Left]:
    """Deleted, with a week or more in which they can be fetched back; AWS asks nothing for these days."""
    pages = account.client("secretsmanager").get_paginator("list_secrets")
    filters = [{"Key": "tag-key", "Values": [TAG]}, {"Key": "tag-value", "Values": [prefix]}]
    for page in pages.paginate(IncludePlannedDeletion=True, Filters=filters):
        for secret in page["SecretList"]:
            if "DeletedDate" in secret:
                yield Left("secretsmanager", secret["ARN"], "", "deleted, it waits until nobody wants it back")


def _beside(account: Account, prefix: str) -> Iterator[Left]:
    """Log groups that no stack makes: of CDK's own small functions, and of all jobs of SageMaker in the account."""
    logs = account.client("logs")
    shared = "jobs of every deployment write there"
    for start, purpose in ((f"/aws/lambda/{prefix}-", ""), ("/aws/sagemaker/", shared)):
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=start):
            for group in page["logGroups"]:
                yield Left("logs", _group_arn(group), KINDS["logs"].bills, purpose)


def _group_arn(group: dict[str, Any]) -> str:
    arn: str = group["arn"]
    return arn.removesuffix(":*")
