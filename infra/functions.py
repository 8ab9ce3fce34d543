"""One Lambda function with a role, a log group and permissions of its own, and nothing that CDK would add.

What a function is told and may do comes from its construct: `serving.py` and `night/functions.py`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import Duration, RemovalPolicy, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import permissions
from infra.network import ISOLATED, Network
from infra.profiles import Deployment
from infra.storage import log_group

RUNTIME: Final = lambda_.Runtime.PYTHON_3_14
"""What the bundles' wheels are built for."""
LEAST_STORAGE_MB: Final = 512
"""Which every function has, and with a snapshot no more."""


class FunctionPlan(NamedTuple):
    """One function before it is made."""

    name: str
    handler: str
    memory_mb: int
    timeout_seconds: int
    environment: dict[str, str]
    role: iam.Role
    statements: list[iam.PolicyStatement]
    network: Network | None = None
    snapshot: bool = True
    """Whether versions are published with a snapshot, and calls traced."""
    storage_mb: int = LEAST_STORAGE_MB
    """Of /tmp."""


class Made(NamedTuple):
    """A function, and where it writes its log."""

    function: lambda_.Function
    log_group: logs.LogGroup


def make_function(scope: Construct, deployment: Deployment, code: lambda_.Code, plan: FunctionPlan) -> Made:
    """A function that may do what its statements say."""
    network, snapshot = plan.network, plan.snapshot
    group = log_group(scope, f"{plan.name}Logs", deployment)
    policy = iam.Policy(
        scope,
        f"{plan.name}Policy",
        statements=[permissions.write_logs(group), *plan.statements],
        roles=[plan.role],
    )
    made = lambda_.Function(
        scope,
        plan.name,
        code=code,
        handler=plan.handler,
        runtime=RUNTIME,
        architecture=lambda_.Architecture.ARM_64,  # a fifth cheaper; the bundles' wheels are built for it
        memory_size=plan.memory_mb,
        timeout=Duration.seconds(plan.timeout_seconds),
        ephemeral_storage_size=Size.mebibytes(plan.storage_mb) if plan.storage_mb > LEAST_STORAGE_MB else None,
        environment=plan.environment,
        role=plan.role.without_policy_updates(),
        log_group=group,
        tracing=lambda_.Tracing.ACTIVE if snapshot else lambda_.Tracing.DISABLED,
        snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if snapshot else None,
        current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.DESTROY),  # a snapshot costs
        vpc=network.vpc if network else None,
        vpc_subnets=ISOLATED if network else None,
        security_groups=[network.function_group] if network else None,
    )
    made.node.add_dependency(policy)  # a snapshot is taken at once, and needs the rights
    return Made(made, group)


def function_role(scope: Construct, name: str) -> iam.Role:
    """A role that Lambda takes on, with no rights yet."""
    return iam.Role(scope, name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
