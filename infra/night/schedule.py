"""When nights begin: a schedule of EventBridge that starts the state machine with an empty input.

`tandem aws pause` and `resume` turn it off and on; a deploy touches it only where one of its own values has changed.
`construct.py` makes one.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra.profiles import Deployment

WINDOW_MINUTES: Final = 15
"""EventBridge starts within it, when it has least to do."""
START_TRIES: Final = 24
START_SECONDS: Final = 3_600
"""A start that is refused is tried again for an hour; a night that would begin later is the next one. There is no queue
for the starts that fail: nobody would start them by hand, and the metric that counts them has an alarm."""


class NightSchedule(Construct):
    """One schedule in a group of its own, and the role that it starts with."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, machine: sfn.StateMachine) -> None:
        super().__init__(scope, construct_id)
        size = deployment.night
        self.group_name, self.name = f"{deployment.prefix}-nights", f"{deployment.prefix}-night"
        group = scheduler.CfnScheduleGroup(self, "Group", name=self.group_name)
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
            ),
        )
        policy = iam.Policy(
            self,
            "Policy",
            statements=[iam.PolicyStatement(actions=["states:StartExecution"], resources=[machine.state_machine_arn])],
            roles=[role],
        )
        self.schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            name=self.name,
            group_name=self.group_name,
            description=f"Starts the night of {deployment.prefix}",
            schedule_expression=size.night_schedule,
            schedule_expression_timezone=size.time_zone,
            state="ENABLED" if size.night_enabled else "DISABLED",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(
                mode="FLEXIBLE", maximum_window_in_minutes=WINDOW_MINUTES
            ),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=machine.state_machine_arn,
                role_arn=role.role_arn,
                input="{}",
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=START_TRIES, maximum_event_age_in_seconds=START_SECONDS
                ),
            ),
        )
        self.schedule.node.add_dependency(group, policy)
