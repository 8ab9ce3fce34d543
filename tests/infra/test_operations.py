"""Alarms and pages hold each other; the dashboard reads what is written; what costs by number is what is deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from typer.main import get_command

from cli.main import app
from contracts.night import Step
from contracts.slate import Route
from index_loader.night import ending
from infra import context, questions
from infra.alarms import PAGES
from local_mode.aws import cost_assumptions as assumed
from tests.infra.synthesis import GROWTHBOOK, PROFILES, REPOSITORY, Synthesised, text_of

PAGE: Final = (REPOSITORY / PAGES).read_text()
PARTS: Final = ("Means", "Look", "Do", "Over")
CONSTRUCT: Final = re.compile(r"^observability(\w+?)[0-9A-F]{8}$")


def alarms(deployment: Synthesised) -> dict[str, dict[str, Any]]:
    """Alarm → its properties, by the name that infra/alarms.py gives it."""
    found = {}
    for logical, properties in deployment.resources("AWS::CloudWatch::Alarm").items():
        (name,) = CONSTRUCT.findall(logical)
        found[name] = properties
    return found


def sections() -> dict[str, str]:
    """Heading of the third level → its text."""
    parts = re.split(r"^### (.+)$", PAGE, flags=re.MULTILINE)
    return {name: text.partition("\n## ")[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def metrics_of(alarm: dict[str, Any]) -> int:
    """What is billed of an alarm: every metric that it reads."""
    return sum("MetricStat" in each for each in alarm["Metrics"]) if "Metrics" in alarm else 1


def test_every_alarm_ends_with_the_link_to_its_page(deployment: Synthesised) -> None:
    for name, alarm in alarms(deployment).items():
        assert alarm["AlarmDescription"].endswith(f" {PAGES}#{name.lower()}"), name
        assert len(alarm["AlarmDescription"]) <= 1_024, f"{name}: more than CloudWatch takes"


def test_every_alarm_has_a_page_and_every_page_an_alarm(synthesised: Callable[..., Synthesised]) -> None:
    all_of_them = [*({"profile": profile} for profile in PROFILES), {"profile": "prod", **GROWTHBOOK}]
    made = {name for context in all_of_them for name in alarms(synthesised(**context))}
    assert sections().keys() == made


@pytest.mark.parametrize("name", sections())
def test_a_page_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over(name: str) -> None:
    found = re.findall(r"^\*\*(\w+)\.\*\* (.+)$", sections()[name], flags=re.MULTILINE)
    assert [part for part, _ in found] == list(PARTS), name


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= anchors


def test_commands_steps_and_context_values_of_the_page_exist() -> None:
    group = get_command(app).commands["aws"]  # type: ignore[attr-defined]
    asked = re.findall(r"tandem aws ([a-z-]+)((?: --[a-z-]+)*)", PAGE)
    assert len(asked) > 30
    for command, options in asked:
        assert command in group.commands, command
        known = {name for parameter in group.commands[command].params for name in parameter.opts}
        assert set(options.split()) <= known, command
    assert set(re.findall(r"--from ([a-z]+)", PAGE)) <= set(Step)
    assert set(re.findall(r"-c ([a-z_]+)", PAGE)) <= context._READERS.keys()


def dashboard(deployment: Synthesised) -> list[dict[str, Any]]:
    body = text_of(deployment.one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    return [widget["properties"] for widget in json.loads(body)["widgets"]]


def test_a_night_s_metrics_are_those_that_its_functions_write(dev: Synthesised) -> None:
    body = text_of(dev.one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    written = [*ending.METRICS.values(), "NightSeconds", "GateWarnings", "GateBlocked", "IndexRecall"]
    for name in written:
        assert f'"{name}","service","tandem-dev-night"' in body, name
    blocked = alarms(dev)["GateBlocked"]
    assert (blocked["MetricName"], blocked["Statistic"], blocked["Period"]) == ("GateBlocked", "Minimum", 86_400)
    assert (blocked["EvaluationPeriods"], blocked["DatapointsToAlarm"]) == (2, 2)


def test_silence_is_wrong_of_nights_alone(deployment: Synthesised) -> None:
    silent = {name for name, alarm in alarms(deployment).items() if alarm["TreatMissingData"] == "breaching"}
    assert silent == {"NoNight"}
    none = alarms(deployment)["NoNight"]
    assert none["Period"] * none["EvaluationPeriods"] == 36 * 3_600
    assert (none["MetricName"], none["ComparisonOperator"], none["Threshold"]) == (
        "ExecutionsSucceeded",
        "LessThanThreshold",
        1,
    )


def test_no_alarm_looks_back_further_than_cloudwatch_does(deployment: Synthesised) -> None:
    """Seven days, and one where a period is shorter than an hour."""
    for name, alarm in alarms(deployment).items():
        stats = [each["MetricStat"]["Period"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
        period = alarm.get("Period") or max(stats)
        assert period * alarm["EvaluationPeriods"] <= (7 if period >= 3_600 else 1) * 86_400, name


def test_the_dashboard_asks_the_lines_for_fields_that_they_have(dev: Synthesised) -> None:
    asked = {widget["title"]: widget["query"] for widget in dashboard(dev) if "query" in widget}
    for stage in questions.RECOMMEND_STAGES:
        assert f"pct({stage}_ms, 99)" in asked["recommend: stages, p99 ms"]
    assert "<servingEventsLogs" in asked["events: stages, p99 ms"]
    assert "<nightLog" in asked["Nights: states by seconds"]
    for route in Route:
        assert f'strcontains(route, "{route}")' in asked["Slates by route"]
        assert not [other for other in Route if route in other and route is not other], "else it would count twice"


def test_what_is_paid_for_is_on_the_dashboard(deployment: Synthesised) -> None:
    titles = [widget.get("title", "") for widget in dashboard(deployment)]
    paid = [title for title in titles if title.startswith("Paid")]
    assert len(paid) == 5 + (deployment.profile != "mini")


def test_the_bill_counts_the_alarms_that_are_deployed(deployment: Synthesised) -> None:
    billed = sum(map(metrics_of, alarms(deployment).values()))
    searching = assumed.SEARCH_ALARM_METRICS.value if deployment.profile != "mini" else 0
    assert billed == assumed.ALARM_METRICS.value + searching


def test_the_bill_has_the_sizes_that_are_deployed(deployment: Synthesised) -> None:
    from cli.aws_cost import sizes_of
    from infra.profiles import PROFILES as SIZES

    sizes = sizes_of(SIZES[deployment.profile](f"tandem-{deployment.profile}"))
    recommend = deployment.function("lambda_user_tower.handler.handler")
    assert recommend["MemorySize"] == sizes.recommend_mb
    endpoints = deployment.resources("AWS::EC2::VPCEndpoint").values()
    zones = sum(len(each["SubnetIds"]) for each in endpoints if each["VpcEndpointType"] == "Interface")
    assert zones == sizes.endpoint_zones
    domains = list(deployment.resources("AWS::OpenSearchService::Domain").values())
    assert bool(domains) is (sizes.search is not None)
    for domain in domains:
        cluster = domain["ClusterConfig"]
        assert sizes.search is not None
        assert (cluster["InstanceType"], cluster["InstanceCount"]) == (sizes.search.instance, sizes.search.nodes)
        assert cluster.get("DedicatedMasterCount", 0) == sizes.search.masters
