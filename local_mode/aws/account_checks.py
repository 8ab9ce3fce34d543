"""Is the account ready? Credentials, region, bootstrap, image, quota and role, one function and one call each.

A call that is not allowed is no failure of the account: the finding is a warning that names the IAM action. Nothing is
changed, and no secret is read or shown. `doctor.py` runs these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from local_mode.aws.account import DENIED, Account, error_code, refused, unreached
from local_mode.aws.findings import Finding, Status, Wanted
from local_mode.aws.training_image import default_image, read_image

BOOTSTRAP_PARAMETER: Final = "/cdk-bootstrap/hnb659fds/version"
"""Of the qualifier that CDK uses by default."""
BOOTSTRAP_VERSION: Final = 6
"""Least that the default synthesizer of aws-cdk-lib 2.275.0 takes."""
SEARCH_ROLE: Final = "AWSServiceRoleForAmazonOpenSearchService"
_QUOTA_CODES: Final = {
    "ml.g4dn.xlarge for training job usage": "L-3F53BF0F",
    "ml.g4dn.xlarge for spot training job usage": "L-944F78BB",
    "ml.g5.xlarge for training job usage": "L-B6D80D9C",
}
"""November 2026. The answer's name is held against ours, so that a code that changed cannot say something wrong."""

Check = Callable[[Account, Wanted], Finding]


def looked_at(name: str, action: str, check: Check, account: Account, wanted: Wanted) -> Finding:
    """What a check finds, or why it could not look. `action`: the IAM action that it needs."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return check(account, wanted)
    except ClientError as error:
        if error_code(error) in DENIED:
            return Finding(name, Status.WARN, f"not looked at: {action} is not allowed.", f"Allow {action}.")
        named = refused(error)
    except BotoCoreError as error:
        named = unreached(error)
    return Finding(name, Status.FAIL, named.message, named.fix)


def credentials(account: Account, _: Wanted) -> Finding:
    """Who signs."""
    who = account.client("sts").get_caller_identity()
    return Finding("credentials", Status.OK, f"account {who['Account']} as {who['Arn']}")


def region(account: Account, _: Wanted) -> Finding:
    """Where."""
    if account.region is None:
        return Finding("region", Status.FAIL, "no region is set.", "Give --region, or set AWS_REGION.")
    return Finding("region", Status.OK, account.region)


def bootstrap(account: Account, _: Wanted) -> Finding:
    """Whether CDK can put its assets somewhere, and by roles that fit."""
    from botocore.exceptions import ClientError

    fix = f"AWS_REGION={account.named_region()} npx cdk bootstrap"
    try:
        version = int(account.client("ssm").get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"])
    except ClientError as error:
        if error_code(error) != "ParameterNotFound":
            raise
        return Finding("bootstrap", Status.FAIL, "CDK is not bootstrapped in this account and region.", fix)
    if version < BOOTSTRAP_VERSION:
        found = f"CDK's bootstrap stack has version {version}, {BOOTSTRAP_VERSION} is needed."
        return Finding("bootstrap", Status.FAIL, found, fix)
    return Finding("bootstrap", Status.OK, f"version {version}")


def image(account: Account, wanted: Wanted) -> Finding:
    """Whether the training container is in the region; SageMaker pulls from nowhere else."""
    from botocore.exceptions import ClientError

    here = account.named_region()
    found = read_image(wanted.image) if wanted.image else default_image(here, gpu=wanted.trains_on_gpu)
    if found is None and wanted.image:
        return Finding("image", Status.FAIL, f"{wanted.image} is no image of ECR with a tag.", "Give it in full.")
    if found is None:
        return Finding("image", Status.WARN, f"AWS's registry in {here} is not known here.", "Name one with --image.")
    if found.region != here:
        return Finding("image", Status.FAIL, f"{found.address} is not in {here}.", "Copy it there, or use --region.")
    try:
        account.client("ecr").describe_images(
            registryId=found.account, repositoryName=found.repository, imageIds=[{"imageTag": found.tag}]
        )
    except ClientError as error:
        if error_code(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
            raise
        return Finding("image", Status.FAIL, f"{found.address} is not there.", "Name another one with --image.")
    return Finding("image", Status.OK, found.address)


def quota(account: Account, wanted: Wanted) -> Finding:
    """Whether a GPU may be had for training; accounts begin with none."""
    instance = wanted.training_instance
    if not wanted.trains_on_gpu:
        return Finding("gpu_quota", Status.OK, f"not needed: {instance} trains.")
    names = [f"{instance} for {kind}training job usage" for kind in ("", "spot ")]
    values = {name: _applied(account, name) for name in names}
    found = ", ".join(f"{name}: {'not known' if value is None else f'{value:g}'}" for name, value in values.items())
    if all(value is not None and value >= 1 for value in values.values()):
        return Finding("gpu_quota", Status.OK, found)
    some = any(value is None or value >= 1 for value in values.values())
    wants = [name for name, value in values.items() if value is None or value < 1]
    return Finding("gpu_quota", Status.WARN if some else Status.FAIL, found, _ask_for(wants, account.named_region()))


def _applied(account: Account, name: str) -> float | None:
    """The quota of that name; None where it is not to be found by its code."""
    from botocore.exceptions import ClientError

    if name not in _QUOTA_CODES:
        return None
    client = account.client("service-quotas")
    try:
        found = client.get_service_quota(ServiceCode="sagemaker", QuotaCode=_QUOTA_CODES[name])["Quota"]
    except ClientError as error:
        if error_code(error) != "NoSuchResourceException":
            raise
        return None
    return float(found["Value"]) if found["QuotaName"] == name else None


def _ask_for(names: list[str], here: str) -> str:
    """How to get the first of these quotas; an increase can take days."""
    name = names[0]
    if name not in _QUOTA_CODES:
        return f"Ask for {name!r} in the console under Service Quotas, Amazon SageMaker; it can take days."
    return (
        "It can take days: aws service-quotas request-service-quota-increase --service-code sagemaker "
        f"--quota-code {_QUOTA_CODES[name]} --desired-value 1 --region {here}"
    )


def search_role(account: Account, wanted: Wanted) -> Finding:
    """Whether the role by which OpenSearch puts a domain into a VPC is there; an account has at most one of it."""
    from botocore.exceptions import ClientError

    if wanted.profile == "mini":
        return Finding("search_role", Status.OK, "not needed: mini has no search domain.")
    try:
        account.client("iam").get_role(RoleName=SEARCH_ROLE)
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        fix = "aws iam create-service-linked-role --aws-service-name opensearchservice.amazonaws.com"
        if wanted.profile == "dev":
            return Finding("search_role", Status.OK, "not there; only a domain in a VPC (prod) needs it.")
        return Finding("search_role", Status.FAIL, f"{SEARCH_ROLE} does not exist.", fix)
    return Finding("search_role", Status.OK, "exists, so no stack may create it again.")
