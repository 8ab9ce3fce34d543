"""Context values: what each becomes, and that a wrong one is named before anything is synthesised."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aws_cdk import App

import infra.app
from contracts.errors import DeploymentInvalid
from infra.context import _READERS, read_deployment
from infra.profiles import FUNCTION_HOME
from tests.infra.synthesis import REPOSITORY, cdk_context


def _read(built_: dict[str, str], **context: Any) -> Any:
    return read_deployment({**cdk_context(), **built_, **context})


def test_without_a_word_it_is_dev_under_its_own_name(built: dict[str, str]) -> None:
    deployment = _read(built)
    assert (deployment.profile, deployment.prefix) == ("dev", "tandem-dev")


def test_values_replace_single_knobs_of_a_profile(built: dict[str, str]) -> None:
    deployment = _read(
        built,
        profile="prod",
        prefix="shop-1",
        retention_days="90",
        requests_per_second=5,
        search_instance="r7g.xlarge.search",
        alarm_email="ops@shop.example",
        jwt_issuer="https://login.shop.example/",
        jwt_audience="web,app",
        cors_origins=["https://shop.example", "http://localhost:3000"],
        settings='{"TANDEM_RERANK_DIVERSITY": "mmr", "TANDEM_BUDGET_MS": 200}',
    )
    assert (deployment.prefix, deployment.retention_days, deployment.requests_per_second) == ("shop-1", 90, 5)
    assert deployment.search.instance == "r7g.xlarge.search"
    assert deployment.search.masters == 3
    assert (deployment.jwt_audience, deployment.alarm_email) == (("web", "app"), "ops@shop.example")
    assert deployment.cors_origins == ("https://shop.example", "http://localhost:3000")
    assert (deployment.settings.rerank.diversity, deployment.settings.budget_ms) == ("mmr", 200)
    assert deployment.settings.home == FUNCTION_HOME


def test_values_of_the_night_replace_single_knobs_of_its_size(built: dict[str, str]) -> None:
    night = _read(
        built,
        profile="prod",
        night_enabled="false",
        night_schedule="cron(30 1 ? * MON-FRI *)",
        time_zone="Europe/Berlin",
        training_instance="ml.g5.12xlarge",
        training_instances="2",
        spot=False,
        poll_seconds="1",
        dataset="shop",
        effort="quick",
        tuned="temperature=0.1,passes=1.5",
    ).night
    assert (night.night_enabled, night.spot, night.training_instances, night.poll_seconds) == (False, False, 2, 1)
    assert (night.night_schedule, night.time_zone) == ("cron(30 1 ? * MON-FRI *)", "Europe/Berlin")
    assert (night.training_instance, night.dataset, night.effort) == ("ml.g5.12xlarge", "shop", "quick")
    assert night.tuned == "temperature=0.1,passes=1.5"
    assert night.processing_instance == "ml.m5.2xlarge", "what is not named stays as the profile has it"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"profile": "staging"}, "-c profile is 'staging'. Give one of mini, dev, prod."),
        ({"profil": "dev"}, "-c profil: there is no such context value."),
        ({"prefix": "Shop"}, "-c prefix is 'Shop'."),
        ({"prefix": "a" * 29}, "-c prefix is"),
        ({"retention_days": "a month"}, "-c retention_days is 'a month'. Give a whole number, 1 to 3650."),
        ({"retention_days": "0"}, "-c retention_days is '0'."),
        ({"retention_days": True}, "-c retention_days is True."),
        ({"requests_per_second": "1e3"}, "-c requests_per_second is '1e3'."),
        ({"alarm_email": "ops"}, "-c alarm_email is 'ops'. Give an e-mail address."),
        ({"cors_origins": "*"}, "-c cors_origins is '*'."),
        ({"cors_origins": "https://shop.example/path"}, "-c cors_origins is 'https://shop.example/path'."),
        ({"cors_origins": ""}, "-c cors_origins is ''."),
        ({"jwt_issuer": "http://login.example", "jwt_audience": "web"}, "-c jwt_issuer is 'http://login.example'."),
        ({"jwt_issuer": "https://login.example"}, "-c jwt_audience is missing"),
        ({"jwt_audience": "web"}, "-c jwt_issuer is missing"),
        (
            {"growthbook_client_key_secret": "sdk-abc 123"},
            "-c growthbook_client_key_secret is 'sdk-abc 123'. Give the name",
        ),
        ({"growthbook_host": "https://growthbook.example"}, "-c growthbook_client_key_secret is missing"),
        ({"growthbook_client_key_secret": "key", "growthbook_host": "growthbook.example"}, "-c growthbook_host is"),
        ({"settings": '{"TANDEM_SLATES_STREAM": "mine"}'}, "-c settings: TANDEM_SLATES_STREAM is no setting"),
        ({"search_instance": "r7g.large"}, "-c search_instance is 'r7g.large'."),
        ({"profile": "mini", "search_instance": "r7g.large.search"}, "which has no search domain"),
        ({"bundle": "no/such/folder"}, "no/such/folder: there is no bundle of the functions. Run `make build`"),
        ({"bundle": ""}, "-c bundle is ''."),
        (
            {"night_bundle": "no/such/folder"},
            "no/such/folder: there is no bundle of the functions of a night. Run `make",
        ),
        ({"jobs": "no/such/file"}, "no/such/file: there is no archive of the jobs of a night. Run `make build`"),
        ({"night_enabled": "maybe"}, "-c night_enabled is 'maybe'. Give true or false."),
        ({"night_schedule": "0 3 * * *"}, "-c night_schedule is '0 3 * * *'. Give a cron expression of EventBridge"),
        ({"night_schedule": "cron(0 3 * * * *)"}, "one of day and weekday is `?`"),
        ({"time_zone": "Mars/North"}, "-c time_zone is 'Mars/North'. Give a time zone such as Europe/Berlin."),
        ({"training_instance": "g5.xlarge"}, "-c training_instance is 'g5.xlarge'."),
        ({"training_instance": "ml.trn1.2xlarge"}, "-c training_instance is 'ml.trn1.2xlarge'."),
        ({"training_instances": 0}, "-c training_instances is 0."),
        (
            {"training_image": "pytorch:2.13"},
            "-c training_image is 'pytorch:2.13'. Give the address of an image in ECR",
        ),
        ({"processing_instance": "ml.g5.xlarge"}, "-c processing_instance is 'ml.g5.xlarge'."),
        ({"effort": "heroic"}, "-c effort is 'heroic'. Give one of quick, standard, best."),
        ({"tuned": "passes=20"}, "-c tuned: passes is 20. Give a number from 0.1 to 2, or leave it out."),
        ({"few_events_percent": 101}, "-c few_events_percent is 101. Give a whole number, 0 to 100."),
        ({"dataset": "../other"}, "-c dataset is '../other'."),
        ({"settings": "mmr"}, "-c settings is 'mmr'. Give JSON"),
        ({"settings": "[]"}, "-c settings is '[]'. Give JSON"),
        ({"settings": '{"TANDEM_BUDGET": 1}'}, "-c settings: TANDEM_BUDGET is no setting to give here."),
        ({"settings": '{"TANDEM_BUDGET_MS": "soon"}'}, "-c settings: TANDEM_BUDGET_MS is 'soon'."),
        ({"settings": '{"TANDEM_BUDGET_MS": 0}'}, "-c settings: TANDEM_BUDGET_MS is 0."),
        ({"settings": '{"TANDEM_RERANK_DIVERSITY": "none of it"}'}, "-c settings: TANDEM_R"),
        ({"settings": '{"TANDEM_LOG_KEY": "in clear text"}'}, "-c settings: TANDEM_LOG_KEY is no setting"),
        ({"settings": '{"TANDEM_RELEASES_BUCKET": "mine"}'}, "-c settings: TANDEM_RELEASES_BUCKET is no setting"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_value_is_named(built: dict[str, str], context: dict[str, Any], said: str) -> None:
    with pytest.raises(DeploymentInvalid) as raised:
        _read(built, **context)
    assert said in str(raised.value)


def test_what_cdk_keeps_in_the_context_is_none_of_ours(built: dict[str, str]) -> None:
    own = {"acknowledged-issue-numbers": [1], "availability-zones:account=1:region=x": ["a"]}
    assert _read(built, **own).profile == "dev"


def test_every_value_is_in_the_documentation() -> None:
    section = (REPOSITORY / "docs" / "deploy.md").read_text().split("\n## Context values\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == _READERS.keys()


def test_the_app_says_it_in_one_line(built: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infra.app, "App", lambda: App(context={"profile": "staging", **built}))
    with pytest.raises(SystemExit) as ended:
        infra.app.main()
    assert ended.value.code == "deployment-invalid: -c profile is 'staging'. Give one of mini, dev, prod."
