"""What the dashboard asks of log lines: routes, variants, times of stages and steps, why slates were poorer, failures.

A question costs when somebody looks (half a cent a gigabyte that is read), a metric every month: what has many values,
or is looked at after something else has gone wrong, is asked here. The fields are those of `lambda_user_tower`'s lines.
`observability.py` puts the answers on the dashboard, docs/operations.md has more of them.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch

from contracts.slate import Route
from infra.measures import Measures

RECOMMEND_STAGES: Final = ("open", "profile", "assignment", "retrieval", "rerank", "exposure")
EVENT_STAGES: Final = ("open", "profile", "log", "write")
"""Of a request, in order (`lambda_user_tower/laps.py`); what `ms` has beyond their sum is reading and writing JSON."""
_REQUESTS: Final = 'filter message = "request"'


def routes() -> list[str]:
    """Slates by route. No name of a route is part of another, so finding one in the field is being it."""
    counts = ", ".join(f'sum(strcontains(route, "{route}")) as {route}' for route in Route)
    return [f"{_REQUESTS} and ispresent(route)", f"stats {counts} by bin(5m)"]


def stages(names: tuple[str, ...], marker: str) -> list[str]:
    """The slowest hundredth of each stage, of lines that have the field `marker`."""
    times = ", ".join(f"pct({name}_ms, 99) as {name}" for name in names)
    return [f"{_REQUESTS} and ispresent({marker})", f"stats pct(ms, 99) as whole, {times} by bin(5m)"]


def degraded() -> list[str]:
    """What was missing, most often first."""
    return [
        f"{_REQUESTS} and ispresent(degraded.0)",
        "stats count(*) as slates by degraded.0",
        "sort slates desc",
    ]


def variants() -> list[str]:
    """Slates by variant: all that a user is in, behind each other."""
    return [f"{_REQUESTS} and ispresent(variant)", "stats count(*) as slates by variant", "sort slates desc"]


def failures() -> list[str]:
    """Problems that are ours, newest last time first."""
    return ['filter level = "ERROR"', "stats count(*) as times, max(@timestamp) as last by problem", "sort last desc"]


def steps() -> list[str]:
    """Each state of each night with its seconds, from its first entry to its last exit, what took longest first."""
    return [
        "filter type like /State(Entered|Exited)$/",
        "stats (max(event_timestamp) - min(event_timestamp)) / 1000 as seconds by details.name, execution_arn",
        "sort seconds desc",
        "limit 40",
    ]


def rows(measures: Measures, width: int) -> list[list[cloudwatch.IWidget]]:
    """Answers as widgets, three a row."""
    groups = {name: group.log_group_name for name, group in measures.serving.log_groups.items()}
    recommend, events, items = [groups["Recommend"]], [groups["Events"]], [groups["Items"]]
    kinds = cloudwatch.LogQueryVisualizationType

    def asked(
        title: str, lines: list[str], of: list[str], view: cloudwatch.LogQueryVisualizationType
    ) -> cloudwatch.IWidget:
        return cloudwatch.LogQueryWidget(title=title, query_lines=lines, log_group_names=of, view=view, width=width)

    return [
        [
            asked("Slates by route", routes(), recommend, kinds.STACKEDAREA),
            asked("recommend: stages, p99 ms", stages(RECOMMEND_STAGES, "route"), recommend, kinds.LINE),
            asked("events: stages, p99 ms", stages(EVENT_STAGES, "log_ms"), events, kinds.LINE),
        ],
        [
            asked("What was missing in degraded slates", degraded(), recommend, kinds.TABLE),
            asked("Slates by variant", variants(), recommend, kinds.TABLE),
            asked("Failures of ours", failures(), [*recommend, *events, *items], kinds.TABLE),
            *(
                [asked("Nights: states by seconds", steps(), [measures.night.log.log_group_name], kinds.TABLE)]
                if measures.night
                else []
            ),
        ],
    ]
