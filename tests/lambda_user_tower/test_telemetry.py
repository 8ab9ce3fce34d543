"""What AWS is told: lines of JSON, metrics in the embedded format, and never a user's id."""

from __future__ import annotations

import io
import json
import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from lambda_user_tower.telemetry import NAMESPACE, Telemetry
from tests.lambda_user_tower.conftest import http, post, send
from tests.toy_world import item_id


@pytest.fixture
def service(request: pytest.FixtureRequest) -> str:
    """A name of a test's own: Powertools keeps a logger, with the stream that it began with, for each."""
    name: str = request.node.name
    return name


@pytest.fixture
def lines(home: Path, service: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """What is written while a slate, a problem and two events are answered."""
    settings = LambdaSettings(home=home, service=service, log_key="k", budget_ms=20_000)
    with closing(Edge(settings, Telemetry(settings))) as edge:
        edge(post({"user_id": "alice@example.com"}))
        edge(http("GET", "/v1/nothing"))
        edge(send({"events": [{"user_id": "alice@example.com", "item_id": item_id(3)}, {}]}))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_lines_say_what_was_answered_to_whom(lines: list[dict[str, Any]], service: str) -> None:
    requests = [line for line in lines if line.get("message") == "request"]
    assert [line["status"] for line in requests] == [200, 404, 200]
    assert [line["level"] for line in requests] == ["INFO"] * 3
    assert all(line["service"] == service for line in requests)
    assert requests[0]["route"] == "unknown"
    assert len(requests[0]["user"]) == 16
    assert requests[2]["events"] == {"accepted": 1, "invalid": 1}
    for line, stages in ((requests[0], ("profile", "retrieval", "rerank")), (requests[2], ("profile", "log", "write"))):
        took = [line[f"{stage}_ms"] for stage in ("open", *stages)]
        assert all(ms >= 0 for ms in took)
        assert 0 < sum(took) <= line["ms"]
    assert not any("alice" in json.dumps(line) for line in lines)


def test_metrics_are_counted_per_answer(lines: list[dict[str, Any]]) -> None:
    metrics = [line for line in lines if "_aws" in line]
    assert len(metrics) == 2, "a problem has its line, and API Gateway counts it"
    for line in metrics:
        (described,) = line["_aws"]["CloudWatchMetrics"]
        assert (described["Namespace"], described["Dimensions"]) == (NAMESPACE, [["service"]])
        assert {metric["Name"] for metric in described["Metrics"]} <= set(line)
    slate, events = metrics
    assert (slate["Degraded"], slate["Empty"]) == ([0], [0])
    assert slate["ReleaseAge"][0] >= 0
    assert (events["Events-accepted"], events["Events-invalid"]) == ([1], [1])


def test_the_level_decides(home: Path, service: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = LambdaSettings(home=home, service=service, log_level="ERROR")
    log = Telemetry(settings)
    log.answered(200, {"ms": 1.0})
    log.answered(503, {"ms": 1.0})
    log.answered(200, {"ms": 1.0, "events": {"accepted": 1}})
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in found if "message" in line] == [503]
    assert len([line for line in found if "_aws" in line]) == 1, "what is not written as a line is counted all the same"


def test_the_key_of_pseudonyms_is_a_secret(
    moto_endpoint: str, service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    with closing(boto3.client("secretsmanager")) as secrets:
        secrets.create_secret(Name="tandem-log-key", SecretString="s3cret")  # of a stand-in
    settings = LambdaSettings(service=service, log_key_secret="tandem-log-key")  # noqa: S106
    keyed = Telemetry(settings)
    assert keyed.pseudonym("u") == Telemetry(replace(settings, log_key="s3cret", log_key_secret="")).pseudonym("u")
    lost = Telemetry(replace(settings, log_key_secret="gone"))  # noqa: S106
    assert lost.pseudonym("u") != keyed.pseudonym("u")
    assert any(json.loads(line)["message"] == "log-key-not-read" for line in capsys.readouterr().out.splitlines())


def test_nothing_is_written_twice(service: str) -> None:
    """The runtime's own handler on the root logger must not repeat what Powertools writes."""
    root = io.StringIO()
    handler = logging.StreamHandler(root)
    logging.getLogger().addHandler(handler)
    try:
        Telemetry(LambdaSettings(service=service)).write("INFO", "something")
    finally:
        logging.getLogger().removeHandler(handler)
    assert root.getvalue() == ""
