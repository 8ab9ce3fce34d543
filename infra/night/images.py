"""The containers of the jobs: addresses of images in ECR, and the repositories that they are pulled from.

AWS's own PyTorch images lie in an account that differs by region; CDK's table of regional facts becomes a mapping in
the template. A region that the table does not have fails at deploy (`Fn::FindInMap`) and needs an image that is named.
`construct.py` calls it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from aws_cdk import Aws, Stack
from aws_cdk.region_info import FactName

from contracts.training_image import REPOSITORY, image_tag


class Image(NamedTuple):
    """One image."""

    address: str
    repository_arn: str


def image_for(stack: Stack, named: str, instance: str) -> Image:
    """The image that is named, or AWS's own for an instance type."""
    if named:
        return _named(named)
    account = stack.regional_fact(FactName.DLC_REPOSITORY_ACCOUNT)
    address = f"{account}.dkr.ecr.{Aws.REGION}.{Aws.URL_SUFFIX}/{REPOSITORY}:{image_tag(instance)}"
    return Image(address, _arn(account, Aws.REGION, REPOSITORY))


def _named(address: str) -> Image:
    parts = re.match(r"(\d+)\.dkr\.ecr\.([a-z0-9-]+)\.[a-z.]+/([^:@]+)", address)
    assert parts is not None  # noqa: S101  # `context.py` has checked it
    return Image(address, _arn(*parts.groups()))


def _arn(account: str, region: str, repository: str) -> str:
    return f"arn:{Aws.PARTITION}:ecr:{region}:{account}:repository/{repository}"
