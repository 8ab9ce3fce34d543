"""What is measured of the nights: Step Functions' own metrics, and what the last step of a night says (`Tandem`).

A night that published or found nothing new succeeds, another one fails; so whether nights work is AWS's to count, and
what they found is ours. It knows no thresholds; `alarms.py` and `observability.py` call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from index_loader.night.telemetry import NAMESPACE

HOUR: Final = Duration.hours(1)
DAY: Final = Duration.days(1)
"""A night a day."""
OUTCOMES: Final = ("NightPublished", "NightNothingNew", "NightFailed")
"""Each 1 for the night that ended so (`index_loader/night/ending.py`)."""
JOBS: Final = ("createTrainingJob", "createProcessingJob")
ALONE: Final = ("load", "seal")
"""Functions that stand for all: Lambda turns calls away by the account, and of these one holds most of its share, the
loader, called for several parts at once, or where there is no index the first that handles a whole release."""
SUM, MAXIMUM, MINIMUM = cloudwatch.Stats.SUM, cloudwatch.Stats.MAXIMUM, cloudwatch.Stats.MINIMUM


class NightMeasures(NamedTuple):
    """The nightly run, and what can be read of it."""

    state_machine_arn: str
    functions: Mapping[str, lambda_.IFunction]
    """By the step that they are."""
    service: str
    """Under which the functions count."""
    log: logs.ILogGroup
    """Of the state machine: an event of each state that is entered and left."""

    def executions(self, name: str, statistic: str = SUM, period: Duration = HOUR) -> cloudwatch.Metric:
        """A metric of the state machine."""
        return cloudwatch.Metric(
            namespace="AWS/States",
            metric_name=name,
            dimensions_map={"StateMachineArn": self.state_machine_arn},
            statistic=statistic,
            period=period,
        )

    def failed(self) -> cloudwatch.MathExpression:
        """Nights that failed or ran out of time; one that somebody stopped is not among them."""
        return cloudwatch.MathExpression(
            expression="FILL(failed, 0) + FILL(late, 0)",
            using_metrics={
                "failed": self.executions("ExecutionsFailed"),
                "late": self.executions("ExecutionsTimedOut"),
            },
            label="failed",
            period=HOUR,
        )

    def succeeded(self) -> cloudwatch.Metric:
        """Nights that published, or found that there is nothing new."""
        return self.executions("ExecutionsSucceeded")

    def duration(self) -> cloudwatch.Metric:
        """Milliseconds of a night, known when it has ended."""
        return self.executions("ExecutionTime", MAXIMUM)

    def own(self, name: str, statistic: str, period: Duration = DAY) -> cloudwatch.Metric:
        """A metric of ours."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={"service": self.service},
            statistic=statistic,
            period=period,
        )

    def throttles(self) -> cloudwatch.Metric:
        """Calls that Lambda turned away, of the function that stands for all."""
        function = next(self.functions[name] for name in ALONE if name in self.functions)
        return function.metric_throttles(period=HOUR)

    def steps(self) -> list[cloudwatch.IMetric]:
        """Milliseconds of each light step."""
        return [
            function.metric_duration(statistic=MAXIMUM, period=HOUR, label=name)
            for name, function in self.functions.items()
        ]

    def jobs(self, statistic: str) -> list[cloudwatch.IMetric]:
        """Milliseconds of trainings and of processing jobs, of every state machine in the account."""
        resource = f"arn:{Aws.PARTITION}:states:{Aws.REGION}:{Aws.ACCOUNT_ID}:sagemaker"
        return [
            cloudwatch.Metric(
                namespace="AWS/States",
                metric_name="ServiceIntegrationTime",
                dimensions_map={"ServiceIntegrationResourceArn": f"{resource}:{job}.sync"},
                statistic=statistic,
                period=DAY,
                label=job.removeprefix("create"),
            )
            for job in JOBS
        ]
