"""The functions of `lambda_user_tower`, from one bundle: recommend, events, items, and the check of a deploy.

Each has a role, a log group and permissions of its own. Versions are published with a snapshot of the opened release
(SnapStart); callers reach the alias `live`, which CodeDeploy moves only after `deploy_check` has asked the new version
whether it opens what is published. `api.py` puts the API in front; `stacks.py` makes one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from aws_cdk import Aws
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import permissions
from infra.events import Events
from infra.functions import FunctionPlan, function_role, make_function
from infra.network import Network
from infra.profiles import Deployment
from infra.search import Search
from infra.storage import Storage
from lambda_user_tower.deploy_check import VERSION_VARIABLE
from lambda_user_tower.settings import LambdaSettings

ALIAS: Final = "live"
CHECK_MEMORY_MB: Final = 512
"""It makes one call, but imports the SDK first; CPU comes with memory."""
CHECK_TIMEOUT_SECONDS: Final = 90
"""The new version may open its publication twice: when it is restored, and when the pointer has moved since."""


class Surroundings(NamedTuple):
    """What the functions use, whichever stack it is in."""

    storage: Storage
    events: Events
    search: Search | None
    network: Network | None
    recommend_role: iam.Role


class Serving(Construct):
    """recommend, events and items behind their aliases, and the gate between two versions."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, around: Surroundings) -> None:
        super().__init__(scope, construct_id)
        self._deployment, self._around = deployment, around
        self._code = lambda_.Code.from_asset(str(deployment.bundle))
        self._application = codedeploy.LambdaApplication(self, "Application")
        self.log_groups: dict[str, logs.LogGroup] = {}
        self.recommend, self.events, self.items = self._make_recommend(), self._make_events(), self._make_items()
        self.recommend_alias = self._alias("Recommend", self.recommend)
        self.events_alias = self._alias("Events", self.events)
        self.items_alias = self._alias("Items", self.items)
        self.deploy_check = self._gate()

    def _settings(self, name: str) -> LambdaSettings:
        """What a function is told; the class refuses at synth what it would refuse at cold start."""
        storage = self._around.storage
        return replace(
            self._deployment.settings,
            releases_bucket=storage.releases.bucket_name,
            profiles_table=storage.profiles.table_name,
            events_stream=self._around.events.events.stream.delivery_stream_name,
            live_table=storage.live.table_name,
            log_key_secret=storage.log_key.secret_arn,
            service=service_name(self._deployment, name),
        )

    def _settings_of_recommend(self) -> LambdaSettings:
        """The only function that experiments are about, and so the only one that logs what was served."""
        logs = self._around.events
        return replace(
            self._settings("recommend"),
            exposures_stream=logs.exposures.stream.delivery_stream_name,
            slates_stream=logs.slates.stream.delivery_stream_name,
            experiments_key_secret=self._around.storage.experiments_key.secret_arn,
        )

    def _make_recommend(self) -> lambda_.Function:
        """The only function that searches, and so the only one that profile `prod` puts beside the domain."""
        deployment, around, storage = self._deployment, self._around, self._around.storage
        settings = self._settings_of_recommend()
        statements = [
            *self._read_all(),
            permissions.read_profiles(storage.profiles),
            *permissions.read_live(storage.live),
            permissions.read_experiments(storage.releases),
            permissions.read_secret(storage.experiments_key.secret_arn),
            permissions.write_log(around.events.exposures.stream, around.events.slates.stream),
        ]
        if around.search is not None:
            settings = replace(settings, opensearch_url=around.search.endpoint, opensearch_region=Aws.REGION)
            statements.append(around.search.reading())
        if around.network is not None:
            statements.append(permissions.join_network())
        return self._make(
            FunctionPlan(
                "Recommend",
                "lambda_user_tower.handler.handler",
                deployment.recommend_memory_mb,
                deployment.recommend_timeout_seconds,
                settings.to_env(),
                around.recommend_role,
                statements,
                around.network,
            )
        )

    def _make_events(self) -> lambda_.Function:
        """Never searches: it is told of no engine, and stays outside the network."""
        deployment, around = self._deployment, self._around
        return self._make(
            FunctionPlan(
                "Events",
                "lambda_user_tower.handler.events",
                deployment.events_memory_mb,
                deployment.events_timeout_seconds,
                self._settings("events").to_env(),
                function_role(self, "EventsRole"),
                [
                    *self._read_all(),
                    permissions.write_profiles(around.storage.profiles),
                    *permissions.write_users(around.storage.live),
                    permissions.write_log(around.events.events.stream),
                ],
            )
        )

    def _make_items(self) -> lambda_.Function:
        """Encodes by what the release holds, as recommend does, so it has its size; it knows no user and no engine.

        Without a snapshot, which would cost more than all its calls: a back end waits seconds for the first answer.
        """
        deployment, storage = self._deployment, self._around.storage
        return self._make(
            FunctionPlan(
                "Items",
                "lambda_user_tower.handler.items",
                deployment.recommend_memory_mb,
                deployment.events_timeout_seconds,
                self._settings("items").to_env(),
                function_role(self, "ItemsRole"),
                [
                    *permissions.read_releases(storage.releases),
                    permissions.read_secret(storage.log_key.secret_arn),
                    *permissions.write_items(storage.live),
                ],
                snapshot=False,
            )
        )

    def _read_all(self) -> list[iam.PolicyStatement]:
        storage = self._around.storage
        return [
            *permissions.read_releases(storage.releases),
            permissions.read_secret(storage.log_key.secret_arn),
            permissions.send_traces(),
        ]

    def _make(self, plan: FunctionPlan) -> lambda_.Function:
        made = make_function(self, self._deployment, self._code, plan)
        self.log_groups[plan.name] = made.log_group
        return made.function

    def _alias(self, name: str, function: lambda_.Function) -> lambda_.Alias:
        return lambda_.Alias(self, f"{name}Live", alias_name=ALIAS, version=function.current_version)

    def _gate(self) -> lambda_.Function:
        """Move all aliases after one check: they are of one bundle, and the others wait for recommend."""
        group = codedeploy.LambdaDeploymentGroup(
            self,
            "RecommendDeployment",
            application=self._application,
            alias=self.recommend_alias,
            deployment_config=codedeploy.LambdaDeploymentConfig.ALL_AT_ONCE,
        )
        new_version = self.recommend.current_version.function_arn
        check = self._make(
            FunctionPlan(
                "DeployCheck",
                "lambda_user_tower.deploy_check.handler",
                CHECK_MEMORY_MB,
                CHECK_TIMEOUT_SECONDS,
                {VERSION_VARIABLE: new_version},
                function_role(self, "DeployCheckRole"),
                [permissions.invoke(new_version), permissions.report_check(group)],
                snapshot=False,
            )
        )
        group.add_pre_hook(check)
        self.recommend_alias.node.add_dependency(check)  # else the check might still ask the version before
        for alias in (self.events_alias, self.items_alias):
            alias.node.add_dependency(self.recommend_alias)
        return check


def service_name(deployment: Deployment, function: str) -> str:
    """What a function's log lines, metrics and traces go by: two deployments may share an account."""
    return f"{deployment.prefix}-{function}"
