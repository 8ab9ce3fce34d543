"""The function that brings experiments from GrowthBook, every five minutes, and only where the context asks for it.

It fetches a payload with a client key from a secret that somebody else made, checks it, signs it and writes the
envelope that serving reads. Without it envelopes are pushed (`tandem experiments push`). It never runs in the network,
from which there is no way to GrowthBook, and serving never waits for it. `stacks.py` makes one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aws_cdk import Aws, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from infra import permissions
from infra.functions import FunctionPlan, function_role, make_function
from infra.profiles import Deployment
from infra.storage import Storage
from lambda_user_tower.fetch_experiments import FetchSettings

EVERY_MINUTES: Final = 5
"""A change in GrowthBook is served within this and a look of serving's (TANDEM_EXPERIMENTS_CHECK_SECONDS)."""
MEMORY_MB: Final = 512
"""Of a payload of 256 KB and the SDKs; CPU comes with memory."""
TIMEOUT_SECONDS: Final = 60
"""One call of GrowthBook and three of AWS; what hangs longer is the next one's to do."""


class ExperimentsFetch(Construct):
    """One function, its schedule, and the role that each has."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, storage: Storage) -> None:
        super().__init__(scope, construct_id)
        code = lambda_.Code.from_asset(str(deployment.bundle))
        made = make_function(self, deployment, code, self._plan(deployment, storage))
        self.function, self.log_group = made
        # a fetch that failed is not tried again: the next one begins from what is published then
        self.function.configure_async_invoke(retry_attempts=0, max_event_age=Duration.minutes(EVERY_MINUTES))
        self.schedule_name = f"{deployment.prefix}-experiments"
        self._schedule()

    def _plan(self, deployment: Deployment, storage: Storage) -> FunctionPlan:
        client_key = _secret_arn(deployment.growthbook_client_key_secret)
        return FunctionPlan(
            "Fetch",
            "lambda_user_tower.fetch_experiments.handler",
            MEMORY_MB,
            TIMEOUT_SECONDS,
            _settings(deployment, storage).to_env(),
            function_role(self, "FetchRole"),
            [
                *permissions.publish_experiments(storage.releases),
                permissions.read_secret(storage.experiments_key.secret_arn, client_key),
            ],
            snapshot=False,
        )

    def _schedule(self) -> None:
        role = iam.Role(
            self,
            "ScheduleRole",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
            ),
        )
        policy = iam.Policy(
            self, "SchedulePolicy", statements=[permissions.invoke(self.function.function_arn)], roles=[role]
        )
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            name=self.schedule_name,
            description="Fetches experiments from GrowthBook",
            schedule_expression=f"rate({EVERY_MINUTES} minutes)",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self.function.function_arn,
                role_arn=role.role_arn,
                input="{}",
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(maximum_retry_attempts=0),
            ),
        )
        schedule.node.add_dependency(policy)


def _settings(deployment: Deployment, storage: Storage) -> FetchSettings:
    """What the function is told; the class refuses at synth what it would refuse at the first call."""
    found = FetchSettings(
        releases_bucket=storage.releases.bucket_name,
        experiments_key_secret=storage.experiments_key.secret_arn,
        growthbook_client_key_secret=deployment.growthbook_client_key_secret,
    )
    return replace(found, growthbook_host=deployment.growthbook_host or found.growthbook_host)


def _secret_arn(secret: str) -> str:
    """Of a secret by its name or its ARN: AWS adds six characters to a name, which only it knows."""
    if secret.startswith("arn:"):
        return secret
    return f"arn:{Aws.PARTITION}:secretsmanager:{Aws.REGION}:{Aws.ACCOUNT_ID}:secret:{secret}-??????"
