"""What is measured of serving, as metrics of CloudWatch: AWS's own, and those that the functions write (`Tandem`).

One definition for alarms and dashboard; nights are in `night_measures.py`. It knows no thresholds; `alarms.py`,
`observability.py` and `questions.py` call it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_opensearchservice as opensearch

from contracts.candidates import Degraded
from infra.api import STAGE, Api
from infra.events import ParquetLog
from infra.experiments import ExperimentsFetch
from infra.night_measures import NightMeasures
from infra.profiles import Deployment
from infra.serving import Serving, service_name
from infra.storage import Storage
from lambda_user_tower.intake import FAILED, EventStatus
from lambda_user_tower.telemetry import NAMESPACE

MINUTE: Final = Duration.minutes(1)
MINUTES: Final = Duration.minutes(5)
"""Of what is rare: a sum over one minute would only flicker."""
HOUR: Final = Duration.hours(1)
"""Of what is paid for, and of what moves slowly."""
_MB_OF_A_GB: Final = 1_024
PROFILE_OPERATIONS: Final = (
    dynamodb.Operation.BATCH_GET_ITEM,
    dynamodb.Operation.GET_ITEM,
    dynamodb.Operation.PUT_ITEM,
)
LIVE_OPERATIONS: Final = (*PROFILE_OPERATIONS, dynamodb.Operation.QUERY, dynamodb.Operation.UPDATE_ITEM)
"""What the functions do (`permissions.py`)."""
EXPERIMENTS_FAILING: Final = (
    *(Degraded.EXPERIMENTS_OLD, Degraded.VARIANT_NOT_SERVED, Degraded.EXPOSURE_NOT_LOGGED),
    "slates-dropped",  # a line of `serving_log.py`
)
"""What an experiment must not have: users who are not in their variant or are not counted, slates that nobody knows."""
FRESHNESS: Final = "DeliveryToS3.DataFreshness"
"""Age of the oldest record that Firehose has not delivered, in seconds."""
SUM, AVERAGE = cloudwatch.Stats.SUM, cloudwatch.Stats.AVERAGE
MAXIMUM, MINIMUM = cloudwatch.Stats.MAXIMUM, cloudwatch.Stats.MINIMUM


class Measures(NamedTuple):
    """The parts of a deployment that are watched, and what can be read of them."""

    deployment: Deployment
    storage: Storage
    serving: Serving
    api: Api
    logs: tuple[ParquetLog, ...]
    domain: opensearch.IDomain | None
    night: NightMeasures | None = None
    """None: no nightly run is deployed."""
    fetch: ExperimentsFetch | None = None
    """None: experiments are pushed."""

    @property
    def functions(self) -> dict[str, lambda_.IFunction]:
        """Those that answer callers, by name."""
        serving = self.serving
        return {"recommend": serving.recommend_alias, "events": serving.events_alias, "items": serving.items_alias}

    def requests(self) -> cloudwatch.Metric:
        """Calls of the API, whatever became of them."""
        return self._api("Count", SUM)

    def client_errors(self) -> cloudwatch.Metric:
        """Answers of 400 to 499, those of API Gateway itself included (403, 429)."""
        return self._api("4xx", SUM)

    def server_errors(self) -> cloudwatch.Metric:
        """Answers of 500 and above."""
        return self._api("5xx", SUM)

    def server_error_percent(self) -> cloudwatch.MathExpression:
        """Of all calls."""
        return _percent("5xx", self.server_errors(), self.requests())

    def latency(self, statistic: str) -> cloudwatch.Metric:
        """Milliseconds, as callers see them less the network."""
        return self._api("Latency", statistic)

    def _api(self, name: str, statistic: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/ApiGateway",
            metric_name=name,
            dimensions_map={"ApiId": self.api.http.api_id, "Stage": STAGE},
            statistic=statistic,
            period=MINUTE,
        )

    def degraded_percent(self) -> cloudwatch.MathExpression:
        """Slates for which something was missing, of all slates: each slate counts 0 or 1."""
        degraded = self._own("recommend", "Degraded", AVERAGE)
        return cloudwatch.MathExpression(
            expression="100 * share", using_metrics={"share": degraded}, label="degraded %", period=MINUTE
        )

    def experiments_failing(self) -> cloudwatch.Metric:
        """Lines of recommend with one of EXPERIMENTS_FAILING, counted by a filter; no such line, no data.

        A deployment whose functions write no line a request (TANDEM_LOG_LEVEL) has none either.
        """
        name = f"ExperimentsFailing-{self.deployment.prefix}"  # what a filter counts by words has no dimension
        return cloudwatch.Metric(namespace=NAMESPACE, metric_name=name, statistic=SUM, period=MINUTES)

    def empty_slates(self) -> cloudwatch.Metric:
        """Slates without an item, which only a filter can bring about."""
        return self._own("recommend", "Empty", SUM)

    def release_age(self, period: Duration = MINUTE) -> cloudwatch.Metric:
        """Seconds since the data of the release ended, and with it those of its index: they move together."""
        return self._own("recommend", "ReleaseAge", MAXIMUM, period)

    def events(self, outcome: EventStatus) -> cloudwatch.Metric:
        """Events that were answered so."""
        return self._own("events", f"Events-{outcome}", SUM)

    def events_failed(self) -> cloudwatch.MathExpression:
        """Events that were not kept, or not whole, by our own failure."""
        failed = {f"failed{number}": self.events(outcome) for number, outcome in enumerate(sorted(FAILED))}
        return cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({name}, 0)" for name in failed),
            using_metrics=dict(failed),
            label="not taken",
            period=MINUTE,
        )

    def _own(self, function: str, name: str, statistic: str, period: Duration = MINUTE) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={"service": service_name(self.deployment, function)},
            statistic=statistic,
            period=period,
        )

    def profile_throttles(self) -> cloudwatch.IMetric:
        """Requests of profiles that DynamoDB turned away."""
        return self.storage.profiles.metric_throttled_requests_for_operations(
            operations=[*PROFILE_OPERATIONS], period=MINUTES
        )

    def live_throttles(self) -> cloudwatch.IMetric:
        """Requests of live data that DynamoDB turned away."""
        return self.storage.live.metric_throttled_requests_for_operations(operations=[*LIVE_OPERATIONS], period=MINUTES)

    def stream(self, log: ParquetLog, name: str, statistic: str, period: Duration = MINUTES) -> cloudwatch.Metric:
        """A metric of the stream of one log."""
        return log.stream.metric(name, statistic=statistic, period=period)

    def paid_gb_seconds(self) -> cloudwatch.MathExpression:
        """Of the functions that answer callers: memory times the time that they ran."""
        deployment = self.deployment
        memory = dict.fromkeys(("recommend", "items"), deployment.recommend_memory_mb)
        memory["events"] = deployment.events_memory_mb
        ran = {name: function.metric_duration(statistic=SUM, period=HOUR) for name, function in self.functions.items()}
        parts = (f"FILL({name}, 0) * {memory[name] / _MB_OF_A_GB / 1_000:.9f}" for name in ran)
        return cloudwatch.MathExpression(
            expression=" + ".join(parts), using_metrics={**ran}, label="GB-seconds", period=HOUR
        )

    def paid_units(self) -> list[cloudwatch.IMetric]:
        """Read and write units of the tables."""
        units: list[cloudwatch.IMetric] = []
        for name, table in (("profiles", self.storage.profiles), ("live", self.storage.live)):
            units += [
                table.metric_consumed_read_capacity_units(statistic=SUM, period=HOUR, label=f"{name}, read"),
                table.metric_consumed_write_capacity_units(statistic=SUM, period=HOUR, label=f"{name}, written"),
            ]
        return units

    def paid_log_bytes(self) -> list[cloudwatch.IMetric]:
        """Bytes that each log group took."""
        groups = {**self.serving.log_groups, "Access": self.api.access_log}
        return [
            cloudwatch.Metric(
                namespace="AWS/Logs",
                metric_name="IncomingBytes",
                dimensions_map={"LogGroupName": group.log_group_name},
                statistic=SUM,
                period=HOUR,
                label=name,
            )
            for name, group in groups.items()
        ]


def _percent(label: str, part: cloudwatch.IMetric, whole: cloudwatch.IMetric) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        expression="100 * part / whole", using_metrics={"part": part, "whole": whole}, label=f"{label} %", period=MINUTE
    )
