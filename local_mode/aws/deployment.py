"""Where a deployment's things are: the outputs of its two stacks, from CloudFormation or from a file.

`infra/` writes these outputs; this is the one place that reads their names. Knows no service but CloudFormation. Every
command of `tandem aws` but the doctor starts here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import DeploymentNotFound
from local_mode.aws.account import Account, error_code, naming_aws_failures

DEFAULT_PREFIX: Final = "tandem-dev"
STACKS: Final = ("state", "service")
"""`<prefix>-state` holds what must not be lost, `<prefix>-service` what can be made again."""

_NEWER: Final = "`npx cdk deploy --all` of this version of Tandem writes it."
_DEPLOY: Final = "`npx cdk deploy --all` makes them; --prefix, --region and --profile say where they are looked for."


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The outputs of the stacks, each under the name that it has there in CamelCase."""

    prefix: str
    api_url: str
    """Without a slash at its end."""
    releases_bucket: str
    data_bucket: str
    profiles_table: str
    events_stream: str
    recommend_log_group: str
    events_log_group: str
    live_table: str = ""
    """Fresh items, who left, live counts; empty where the stacks are older than these."""
    items_log_group: str = ""
    search_endpoint: str = ""
    """URL of the search domain; empty where the profile has none."""
    night_state_machine: str = ""
    """ARN; it and what follows are empty where the stacks are older than the nightly run."""
    night_schedule: str = ""
    night_schedule_group: str = ""
    training_role: str = ""
    """ARN."""
    training_image: str = ""
    training_instance: str = ""
    training_instances: str = ""
    """How many."""
    training_spot: str = ""
    """`true` or `false`."""
    recommend_job_role: str = ""
    """ARN; it and what follows are empty where the stacks are older than jobs on demand."""
    forget_job_role: str = ""
    """ARN."""
    recommend_function: str = ""
    """ARN of its alias."""
    processing_image: str = ""
    processing_instance: str = ""
    code_archive: str = ""
    """`s3://…` of what `make build` made of the deployed version."""

    def needed(self, *names: str) -> None:
        """Raise DeploymentNotFound where one of these outputs is missing: the stacks are of an older version."""
        if missing := [_camel(name) for name in names if not getattr(self, name)]:
            raise DeploymentNotFound(f"the stacks of {self.prefix} lack the output {', '.join(missing)}.", fix=_NEWER)

    @classmethod
    def find(cls, account: Account, prefix: str) -> Deployment:
        """Ask CloudFormation. Raises DeploymentNotFound, naming the stack or the output that is missing."""
        outputs: dict[str, str] = {}
        for name in STACKS:
            outputs |= _stack_outputs(account, f"{prefix}-{name}")
        return cls.of(prefix, outputs, f"the stacks of {prefix} in {account.named_region()}")

    @classmethod
    def from_file(cls, path: Path, prefix: str) -> Deployment:
        """Read what `cdk deploy --outputs-file` wrote. Raises DeploymentNotFound."""
        try:
            stacks = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, str]])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DeploymentNotFound(
                f"{path}: not a file of outputs: {error}.",
                fix=f"`npx cdk deploy --all --outputs-file {path}` writes it.",
            ) from error
        outputs: dict[str, str] = {}
        for name in STACKS:
            if (stack := f"{prefix}-{name}") not in stacks:
                raise DeploymentNotFound(
                    f"{path}: has no stack {stack}, only {', '.join(sorted(stacks))}.", fix=_DEPLOY
                )
            outputs |= stacks[stack]
        return cls.of(prefix, outputs, str(path))

    @classmethod
    def of(cls, prefix: str, outputs: Mapping[str, str], source: str) -> Deployment:
        """From outputs by their names in the stacks; others are passed over."""
        names = {field.name: _camel(field.name) for field in fields(cls) if field.name != "prefix"}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        found = {name: outputs[camel] for name, camel in names.items() if camel in outputs}
        if missing := [camel for name, camel in names.items() if name in needed and name not in found]:
            raise DeploymentNotFound(f"{source} lack the output {', '.join(missing)}.", fix=_NEWER)
        found["api_url"] = found["api_url"].rstrip("/")
        if (endpoint := found.get("search_endpoint", "")) and "://" not in endpoint:
            found["search_endpoint"] = f"https://{endpoint}"
        return cls(prefix=prefix, **found)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _stack_outputs(account: Account, stack: str) -> dict[str, str]:
    from botocore.exceptions import ClientError

    with naming_aws_failures():
        try:
            described: dict[str, Any] = account.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        except ClientError as error:
            if error_code(error) != "ValidationError":  # what CloudFormation calls a stack that does not exist
                raise
            raise DeploymentNotFound(f"there is no stack {stack} in {account.named_region()}.", fix=_DEPLOY) from error
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
