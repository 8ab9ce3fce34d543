"""The functions of a night, one per light step, from one bundle, each with the rights of its line in `rights.py`.

Those that talk to the search domain run beside it where it is in a network; the others stay outside, for inside there
is no way to Step Functions. `construct.py` makes one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import Aws
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from contracts.night_settings import NightSettings
from infra import permissions
from infra.functions import LEAST_STORAGE_MB, FunctionPlan, function_role, make_function
from infra.network import Network
from infra.night.permissions import of_rights
from infra.night.plan import FUNCTION_SECONDS, NightPlan, functions_of
from infra.night.rights import FUNCTIONS
from infra.profiles import Deployment
from infra.search import Search
from infra.serving import service_name
from infra.storage import Storage

LIGHT_MEMORY_MB: Final = 512
"""Of those that move documents and ask the domain: the SDKs take a fifth of it, and CPU comes with memory."""
WHOLE_RELEASE: Final = frozenset({"seal", "prepare", "load", "verify", "publish"})
"""Functions that bring the files of a release, and open them."""
SERVICE: Final = "night"
"""What their log lines and metrics go by, behind the prefix."""


class Around(NamedTuple):
    """What the functions of a night work with, in the stack that holds data."""

    storage: Storage
    search: Search | None
    network: Network | None


class NightFunctions(Construct):
    """Every function that the plan calls, by the name of its step."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        deployment: Deployment,
        plan: NightPlan,
        around: Around,
    ) -> None:
        super().__init__(scope, construct_id)
        self._deployment, self._around = deployment, around
        self._code = lambda_.Code.from_asset(str(deployment.night.night_bundle))
        self.functions: dict[str, lambda_.Function] = {}
        self.log_groups: dict[str, logs.LogGroup] = {}
        for name in functions_of(plan):
            made = make_function(self, deployment, self._code, self._plan(name))
            self.functions[name], self.log_groups[name] = made

    def _plan(self, name: str) -> FunctionPlan:
        rights, size = FUNCTIONS[name], self._deployment.night
        statements = of_rights(rights, self._around.storage, self._around.search, machine_name(self._deployment))
        network = self._around.network if rights.search else None
        if network is not None:
            statements.append(permissions.join_network())
        whole = name in WHOLE_RELEASE
        return FunctionPlan(
            name.capitalize(),
            f"index_loader.night.handler.{name}",
            size.night_memory_mb if whole else LIGHT_MEMORY_MB,
            FUNCTION_SECONDS[name],
            self._settings().to_env(),
            function_role(self, f"{name.capitalize()}Role"),
            statements,
            network,
            snapshot=False,
            storage_mb=size.night_storage_mb if whole else LEAST_STORAGE_MB,
        )

    def _settings(self) -> NightSettings:
        """What a function is told; the class refuses at synth what it would refuse at the first call."""
        (storage, search, _), size = self._around, self._deployment.night
        return NightSettings(
            data_bucket=storage.data.bucket_name,
            releases_bucket=storage.releases.bucket_name,
            live_table=storage.live.table_name,
            opensearch_url=search.endpoint if search else "",
            opensearch_region=Aws.REGION if search else "",
            dataset=size.dataset,
            engine_above=size.engine_above,
            service=service_name(self._deployment, SERVICE),
            prefix=self._deployment.prefix,
        )


def machine_name(deployment: Deployment) -> str:
    """Of the state machine: given, for its functions must name it, and it them."""
    return f"{deployment.prefix}-{SERVICE}"
