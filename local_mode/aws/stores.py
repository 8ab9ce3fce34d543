"""The stores of a deployment, reached from this machine with the credentials of an account.

The same classes that the functions use, given clients of the account's profile and region. `seed.py`, `status.py` and
the CLI work through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.errors import ServerUnavailable
from contracts.fitted import HEAD_ITEMS
from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from stores.dynamodb_fresh_items import DynamoDBFreshItems
from stores.dynamodb_identities import DynamoDBIdentities
from stores.dynamodb_profiles import DynamoDBProfiles
from stores.s3_bucket import Bucket
from stores.s3_releases import S3Releases
from stores.search_engine import connect, loader_client

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PING_SECONDS: Final = 5.0
"""A domain answers in milliseconds; one inside a VPC never does, from outside."""


@dataclass(frozen=True)
class AwsStores:
    """What a deployment keeps; each is reached when it is first asked for."""

    deployment: Deployment
    account: Account
    home: Path
    """Folder on this machine; files of releases are kept under `aws/` in it."""

    @property
    def folder(self) -> Path:
        """This deployment's part of the home folder."""
        return self.home / "aws" / self.deployment.releases_bucket

    @cached_property
    def releases(self) -> S3Releases:
        return S3Releases(self.deployment.releases_bucket, self.folder, client=self.account.client("s3"))

    @cached_property
    def profiles(self) -> DynamoDBProfiles:
        return DynamoDBProfiles(self.deployment.profiles_table, client=self.account.client("dynamodb"))

    @cached_property
    def fresh_items(self) -> DynamoDBFreshItems:
        """Raises DeploymentNotFound where the stacks are older than live data."""
        self.deployment.needed("live_table")
        return DynamoDBFreshItems(self.deployment.live_table, client=self.account.client("dynamodb"))

    @cached_property
    def identities(self) -> DynamoDBIdentities:
        """Raises DeploymentNotFound where the stacks are older than live data."""
        self.deployment.needed("live_table")
        return DynamoDBIdentities(self.deployment.live_table, client=self.account.client("dynamodb"))

    @cached_property
    def data(self) -> Bucket:
        return Bucket(self.deployment.data_bucket, client=self.account.client("s3"))

    def engine_for(self, n_items: int, above: int = HEAD_ITEMS) -> OpenSearch | None:
        """A loader's client where a release of `n_items` is searched in the domain; None where it is searched itself.

        To be closed. Raises as `needs_engine`.
        """
        if not self.needs_engine(n_items, above):
            return None
        return loader_client(
            self.deployment.search_endpoint,
            region=self.account.named_region(),
            credentials=self.account.credentials(),
        )

    def needs_engine(self, n_items: int, above: int = HEAD_ITEMS) -> bool:
        """Whether a release of so many items belongs into the domain.

        Raises ServerUnavailable where it does and this machine does not reach one.
        """
        if n_items <= above:
            return False
        if not self.deployment.search_endpoint:
            raise ServerUnavailable(
                f"{n_items} items, and {self.deployment.prefix} has no search domain: it serves at most {above}.",
                fix="Deploy it with profile dev or prod: npx cdk deploy --all -c profile=dev.",
            )
        if problem := self.engine_problem():
            raise ServerUnavailable(
                f"{self.deployment.search_endpoint}: {problem}",
                fix="A domain in a VPC is reached from inside it only: run this there (CloudShell with a VPC).",
            )
        return True

    def engine_problem(self) -> str:
        """Why the domain does not answer; empty where it does."""
        from opensearchpy.exceptions import OpenSearchException

        client = self.search(PING_SECONDS)
        try:
            client.info()
        except OpenSearchException as error:
            return f"{type(error).__name__}: {error}"
        finally:
            client.close()
        return ""

    def search(self, timeout_seconds: float) -> OpenSearch:
        """A client of the domain that there is; to be closed."""
        return connect(
            self.deployment.search_endpoint,
            region=self.account.named_region(),
            credentials=self.account.credentials(),
            timeout_seconds=timeout_seconds,
        )
