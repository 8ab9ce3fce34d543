"""The function that fetches experiments: there where the context names a secret, with no more than its rights."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra import experiments
from infra.context import read_deployment
from lambda_user_tower.fetch_experiments import FetchSettings
from local_mode.aws import cost_assumptions as assumed
from tests.infra.synthesis import GROWTHBOOK, REPOSITORY, Synthesised, cdk_context, several, text_of
from tests.infra.test_operations import alarms

FETCH = "lambda_user_tower.fetch_experiments.handler"
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:growthbook-AbC123"


@pytest.fixture(scope="module")
def fetching(synthesised: Callable[..., Synthesised]) -> Synthesised:
    """The largest profile, for it has a network."""
    return synthesised(profile="prod", **GROWTHBOOK)


def test_without_the_secret_nothing_is_fetched(deployment: Synthesised) -> None:
    assert FETCH not in {each["Handler"] for each in deployment.resources("AWS::Lambda::Function").values()}
    assert len(deployment.resources("AWS::Scheduler::Schedule")) == 1, "that of the nights"
    assert not [
        name
        for name in deployment.outputs()
        if name in ("ExperimentsFunction", "ExperimentsSchedule", "ExperimentsLogGroup")
    ]


def test_it_is_asked_every_five_minutes_and_never_twice_for_one(fetching: Synthesised) -> None:
    schedule = fetching.one("AWS::Scheduler::Schedule", "experiments")
    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    assert "experimentsFetch" in text_of(schedule["Target"]["Arn"])
    assert schedule["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 0}
    again = fetching.one("AWS::Lambda::EventInvokeConfig")
    assert (again["MaximumRetryAttempts"], again["MaximumEventAgeInSeconds"]) == (0, 300)
    (statement,) = fetching.statements("experimentsSchedulePolicy")
    assert statement["Action"] == "lambda:InvokeFunction"
    assert fetching.outputs()["ExperimentsSchedule"] == schedule["Name"]
    minutes = assumed.FETCHES.value * 5
    assert minutes == pytest.approx(assumed.NIGHTS.value * 24 * 60)


def test_its_environment_names_bucket_secrets_and_host(fetching: Synthesised) -> None:
    variables = fetching.function(FETCH)["Environment"]["Variables"]
    told = FetchSettings.from_env({name: text_of(each) for name, each in variables.items()})
    assert "storageReleases" in told.releases_bucket
    assert "storageExperimentsKey" in told.experiments_key_secret
    assert told.growthbook_client_key_secret == "shop/growthbook"
    assert told.growthbook_host == "https://gb.shop.example"
    assert fetching.function(FETCH)["MemorySize"] == assumed.FETCH_MB.value


def test_it_replaces_the_envelope_and_reads_two_secrets(fetching: Synthesised) -> None:
    rights = {
        (action, text_of(resource).rpartition(":")[2] if "secret:" in text_of(resource) else text_of(resource))
        for statement in fetching.statements("experimentsFetchPolicy")
        for action in several(statement["Action"])
        for resource in several(statement["Resource"])
        if not action.startswith("logs:")
    }
    on_object = {resource.rpartition("/")[0].partition("/")[2] for action, resource in rights if "Object" in action}
    assert on_object == {"experiments"}
    assert {action for action, _ in rights} == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:ListBucket",
        "secretsmanager:GetSecretValue",
    }
    secrets = {resource for action, resource in rights if action.startswith("secretsmanager")}
    assert len(secrets) == 2
    assert "shop/growthbook-??????" in secrets
    assert any("storageExperimentsKey" in each for each in secrets)


def test_a_secret_by_its_arn_is_that_one_and_the_host_has_a_default(built: dict[str, str]) -> None:
    deployment = read_deployment({**cdk_context(), **built, "growthbook_client_key_secret": ARN})
    assert experiments._secret_arn(deployment.growthbook_client_key_secret) == ARN
    assert deployment.growthbook_host == ""
    assert FetchSettings.growthbook_host == "https://cdn.growthbook.io"


def test_it_is_outside_the_network_from_which_there_is_no_way_to_growthbook(fetching: Synthesised) -> None:
    assert "VpcConfig" not in fetching.function(FETCH)
    assert fetching.resources("AWS::EC2::VPC")


def test_it_has_an_alarm_and_a_graph_and_nothing_is_found(fetching: Synthesised, prod: Synthesised) -> None:
    assert alarms(fetching).keys() - alarms(prod).keys() == {"ExperimentsNotFetched"}
    body = text_of(fetching.one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    assert "Experiments: fetches" in body
    assert fetching.violations() == []


def test_what_goes_wrong_with_experiments_is_counted_in_the_lines_of_recommend(deployment: Synthesised) -> None:
    filter_ = deployment.one("AWS::Logs::MetricFilter")
    counted_words = '?"experiments_old" ?"variant_not_served" ?"exposure_not_logged" ?"slates-dropped"'
    assert filter_["FilterPattern"] == counted_words
    assert "servingRecommendLogs" in text_of(filter_["LogGroupName"])
    (counted,) = filter_["MetricTransformations"]
    alarm = alarms(deployment)["ExperimentsFailing"]
    assert (counted["MetricName"], counted["MetricNamespace"]) == (alarm["MetricName"], alarm["Namespace"])
    assert "DefaultValue" not in counted, "without a line there is no data, and nothing to pay"


def test_the_guide_says_how_to_connect_push_and_stop() -> None:
    page = (REPOSITORY / "docs" / "deploy.md").read_text()
    section = page.split("\n## Experiments\n")[1].split("\n## ")[0]
    for part in ("growthbook_client_key_secret", "tandem experiments push", "--key-secret"):
        assert part in section, part
