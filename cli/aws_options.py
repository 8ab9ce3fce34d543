"""The options that every command of `tandem aws` shares, and what they open.

Knows no command. `cli/aws.py` and `cli/aws_daily.py` call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from local_mode.aws.account import Account
    from local_mode.aws.deployment import Deployment
    from local_mode.aws.stores import AwsStores

DEFAULT_PREFIX: Final = "tandem-dev"
"""Of the stacks that `npx cdk deploy --all` makes where nothing else is said."""

PrefixOption = Annotated[
    str,
    typer.Option("--prefix", envvar="TANDEM_AWS_PREFIX", help="Of the stacks: PREFIX-state and PREFIX-service."),
]
OutputsOption = Annotated[
    Path | None,
    typer.Option("--outputs", help="File of `cdk deploy --outputs-file`, instead of asking CloudFormation."),
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Of ~/.aws/config; default: what the environment says.")
]
RegionOption = Annotated[
    str | None, typer.Option("--region", help="AWS region; default: what the environment or the profile says.")
]
EngineAboveOption = Annotated[
    int,
    typer.Option(
        "--engine-above", min=0, envvar="TANDEM_ENGINE_ABOVE", help="The search domain takes more items than this."
    ),
]


@dataclass(frozen=True)
class Where:
    """The four options: which deployment, by whose credentials."""

    prefix: str
    outputs: Path | None
    profile: str | None
    region: str | None

    @contextmanager
    def open(self) -> Iterator[tuple[Deployment, Account]]:
        """The deployment and the account. Raises ExtraMissing, DeploymentNotFound, AwsCallFailed."""
        from local_mode.aws.account import Account
        from local_mode.aws.deployment import Deployment

        account = Account(self.profile, self.region)
        try:
            if self.outputs is not None:
                yield Deployment.from_file(self.outputs, self.prefix), account
            else:
                yield Deployment.find(account, self.prefix), account
        finally:
            account.close()

    @contextmanager
    def stores(self, home: Path) -> Iterator[AwsStores]:
        """The stores of the deployment. Raises as `open`."""
        with self.open() as (deployment, account):
            from local_mode.aws.stores import AwsStores

            yield AwsStores(deployment, account, home)
