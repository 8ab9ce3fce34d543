"""Which container trains: AWS's own PyTorch image, by region, and what an address of an image is made of.

AWS keeps the images in an account per group of regions. The accounts are those of aws-cdk-lib 2.275.0 (regional fact
`DLC_REPOSITORY_ACCOUNT`, November 2026); a region that is not here needs an image that is named. The tags are in
`contracts/training_image.py`. `account_checks.py` looks whether the image is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from contracts.training_image import CPU_TAG, GPU_TAG, REPOSITORY

_MOST_REGIONS: Final = "763104351884"
_ACCOUNTS: Final = {
    **dict.fromkeys(
        (
            *("ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1"),
            *("eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1"),
            *("us-east-1", "us-east-2", "us-west-1", "us-west-2"),
        ),
        _MOST_REGIONS,
    ),
    "ap-east-1": "871362719292",
    "ap-east-2": "975050140332",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ap-southeast-6": "633930458069",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
}
"""Region → the account of its registry."""

_ADDRESS: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<repository>[^:@]+):(?P<tag>.+)"
)


@dataclass(frozen=True)
class Image:
    """An image in a registry of ECR."""

    account: str
    region: str
    repository: str
    tag: str

    @property
    def address(self) -> str:
        domain = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        return f"{self.account}.dkr.ecr.{self.region}.{domain}/{self.repository}:{self.tag}"


def read_image(address: str) -> Image | None:
    """The parts of an address; None where it is none of ECR with a tag."""
    found = _ADDRESS.fullmatch(address)
    return Image(**found.groupdict()) if found else None


def default_image(region: str, *, gpu: bool) -> Image | None:
    """AWS's own image in a region; None where this table does not know its account."""
    account = _ACCOUNTS.get(region)
    return Image(account, region, REPOSITORY, GPU_TAG if gpu else CPU_TAG) if account else None
