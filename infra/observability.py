"""The alarms with the topic that they go to, and the dashboard: callers first, then nights, then what costs.

What is measured is in `measures.py` and `night_measures.py`, what is asked of logs in `questions.py`, what is wrong in
`alarms.py`. Who listens is a context value. `stacks.py` makes one.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_opensearchservice as opensearch
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra import questions
from infra.alarms import AlarmWhen, alarms
from infra.measures import EXPERIMENTS_FAILING, FRESHNESS, HOUR, MAXIMUM, MINIMUM, SUM, Measures
from infra.night_measures import OUTCOMES, NightMeasures
from infra.profiles import Deployment
from lambda_user_tower.intake import EventStatus

_WIDTH: Final = 8
"""Of 24: three graphs a row."""


class Observability(Construct):
    """One topic, its alarms, one dashboard."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, measures: Measures) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(self, "Alarms", enforce_ssl=True)
        self._let_alarms_publish()
        if deployment.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(deployment.alarm_email))
        self._count_in_lines(measures)
        self.alarms = [self._make(alarm) for alarm in alarms(measures)]
        self.dashboard = cloudwatch.Dashboard(self, "Dashboard", dashboard_name=deployment.prefix)
        self.dashboard.add_widgets(cloudwatch.AlarmStatusWidget(alarms=[*self.alarms], width=3 * _WIDTH))
        for row in _all_rows(measures):
            self.dashboard.add_widgets(*row)

    def _let_alarms_publish(self) -> None:
        """Said outright: a topic with a policy of its own, here the one for TLS, loses the default that allowed it."""
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )

    def _count_in_lines(self, measures: Measures) -> None:
        """What costs only where it happens: a metric of a filter is paid for in the hours in which it has data."""
        metric = measures.experiments_failing()
        logs.MetricFilter(
            self,
            "ExperimentsFailingLines",
            log_group=measures.serving.log_groups["Recommend"],
            filter_pattern=logs.FilterPattern.any_term(*EXPERIMENTS_FAILING),
            metric_namespace=metric.namespace,
            metric_name=metric.metric_name,
        )

    def _make(self, alarm: AlarmWhen) -> cloudwatch.Alarm:
        operators = cloudwatch.ComparisonOperator
        made = cloudwatch.Alarm(
            self,
            alarm.name,
            metric=alarm.metric,
            threshold=alarm.threshold,
            comparison_operator=operators.LESS_THAN_THRESHOLD if alarm.below else operators.GREATER_THAN_THRESHOLD,
            evaluation_periods=alarm.out_of,
            datapoints_to_alarm=alarm.periods,
            alarm_description=alarm.description,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING
            if alarm.silence_alarms
            else cloudwatch.TreatMissingData.NOT_BREACHING,  # nobody called: nothing is wrong
        )
        made.add_alarm_action(actions.SnsAction(self.topic))
        return made


def _all_rows(measures: Measures) -> list[list[cloudwatch.IWidget]]:
    """From what callers see to what is paid for."""
    rows = [*_rows(measures), *questions.rows(measures, _WIDTH)]
    if measures.domain is not None:
        rows.append(_search_row(measures.domain))
    if measures.night is not None:
        rows += _night_rows(measures.night)
    return [*rows, *_cost_rows(measures)]


def _rows(measures: Measures) -> list[list[cloudwatch.IWidget]]:
    """What callers see first, then the functions, then where things are kept."""
    functions, streams = measures.functions.values(), measures.logs
    return [
        [
            _graph("Calls", [measures.requests(), measures.client_errors(), measures.server_errors()]),
            _graph("Latency, ms", [measures.latency("p50"), measures.latency("p99")]),
            _graph("Degraded slates, %", [measures.degraded_percent()]),
        ],
        [
            _graph("Empty slates", [measures.empty_slates()]),
            _graph("Age of the data in release and index, s", [measures.release_age()]),
            _graph("Events by outcome", [measures.events(outcome) for outcome in EventStatus]),
        ],
        [
            _graph("Functions: duration p99, ms", [each.metric_duration(statistic="p99") for each in functions]),
            _graph("Functions: died", [each.metric_errors() for each in functions]),
            _graph("Functions: turned away", [each.metric_throttles() for each in functions]),
        ],
        [
            _graph("Firehose: oldest record, s", [measures.stream(log, FRESHNESS, MAXIMUM) for log in streams]),
            _graph("Firehose: records in", [measures.stream(log, "IncomingRecords", SUM) for log in streams]),
            _graph("Profiles: turned away", [measures.profile_throttles()]),
            _graph("Live data: turned away", [measures.live_throttles()]),
        ],
        _experiments_row(measures),
    ]


def _experiments_row(measures: Measures) -> list[cloudwatch.IWidget]:
    row: list[cloudwatch.IWidget] = [_graph("Experiments: slates that went wrong", [measures.experiments_failing()])]
    if measures.fetch is not None:
        fetched = measures.fetch.function
        row.append(
            _graph("Experiments: fetches, and failed ones", [fetched.metric_invocations(), fetched.metric_errors()])
        )
    return row


def _graph(title: str, metrics: list[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=metrics, width=_WIDTH, left_y_axis=cloudwatch.YAxisProps(min=0))


def _search_row(domain: opensearch.IDomain) -> list[cloudwatch.IWidget]:
    return [
        _graph("Search: latency p99, ms", [domain.metric_search_latency(statistic="p99")]),
        _graph("Search: free space, MiB", [domain.metric_free_storage_space(statistic=MINIMUM)]),
        _graph("Search: JVM memory, %", [domain.metric_jvm_memory_pressure()]),
    ]


def _night_rows(night: NightMeasures) -> list[list[cloudwatch.IWidget]]:
    """How nights ended, what the gate said, and where the time went."""
    return [
        [
            _graph("Nights", [night.own(outcome, SUM) for outcome in OUTCOMES]),
            _graph("Nights: seconds", [night.own("NightSeconds", MAXIMUM)]),
            _graph("Gate: checks", [night.own("GateWarnings", MAXIMUM), night.own("GateBlocked", MAXIMUM)]),
        ],
        [
            _graph("Recall of the index", [night.own("IndexRecall", MINIMUM)]),
            _graph("Nights: light steps, ms", night.steps()),
            _graph("Jobs in SageMaker, longest, ms", night.jobs(MAXIMUM)),
        ],
    ]


def _cost_rows(measures: Measures) -> list[list[cloudwatch.IWidget]]:
    """What the bill is made of; `tandem aws cost` has the prices."""
    rows: list[list[cloudwatch.IWidget]] = [
        [
            _graph("Paid: GB-seconds of functions, an hour", [measures.paid_gb_seconds()]),
            _graph("Paid: units of the tables, an hour", measures.paid_units()),
            _graph("Paid: bytes of logs, an hour", measures.paid_log_bytes()),
        ],
        [
            _graph(
                "Paid: bytes through Firehose, an hour",
                [measures.stream(log, "IncomingBytes", SUM, HOUR) for log in measures.logs],
            )
        ],
    ]
    if measures.night is not None:
        rows[1].append(_graph("Paid: time of jobs in SageMaker, ms a day", measures.night.jobs(SUM)))
    if (domain := measures.domain) is not None:
        nodes, used = domain.metric_nodes(period=HOUR), domain.metric("ClusterUsedSpace", period=HOUR)
        rows[1].append(
            cloudwatch.GraphWidget(title="Paid: nodes of the search domain, and MiB in use", left=[nodes], right=[used])
        )
    return rows
