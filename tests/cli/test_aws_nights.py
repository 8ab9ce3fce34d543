"""`tandem aws run-nightly | pause | resume | train`, and the nights in `status`: the state machine runs in moto."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.night import Outcome, Step
from local_mode.aws import night_run
from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from local_mode.aws.stores import AwsStores
from tests.aws import run_machines
from tests.cli.test_aws import Tandem
from tests.local_mode.aws_deployment import deploy, signed_api
from tests.local_mode.night_deployment import PastNights, definition, night_outputs

SLOW_SECONDS = 60
DEPLOYED = "with-nights"
"""What a command finds that names no deployment; another file of the same process may have made the default one."""


@pytest.fixture(scope="module")
def account(moto_endpoint: str) -> Iterator[Account]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
        run_machines(moto_endpoint)
        account = Account()
        yield account
        account.close()


@pytest.fixture(scope="module")
def workplace(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, and three deployments: DEPLOYED, `failing` whose nights fail, `slow` whose nights go on and on."""
    folder = tmp_path_factory.mktemp("nights")
    with signed_api(folder / ".tandem") as url:
        for prefix, states in {
            DEPLOYED: definition(),
            "failing": definition(fails=True),
            "slow": definition(wait_seconds=SLOW_SECONDS),
        }.items():
            deploy(account, prefix, api_url=url, nights=night_outputs(account, prefix, states))
        deploy(account, "older", api_url=url)
        past_nights(account, DEPLOYED, folder).seeded()
        yield folder


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tandem:
    monkeypatch.setattr(night_run, "POLL_SECONDS", 0.1)
    monkeypatch.setenv("TANDEM_AWS_PREFIX", DEPLOYED)
    return Tandem(workplace, monkeypatch, capsys)


def past_nights(account: Account, prefix: str, folder: Path) -> PastNights:
    return PastNights(AwsStores(Deployment.find(account, prefix), account, folder))


def test_a_night_that_has_no_more_to_say_than_that_it_ran(here: Tandem) -> None:
    ended = here.json("run-nightly", "--accept", "few-events", "--accept", "schema")
    assert ended["execution"]["status"] == "SUCCEEDED"
    assert ended["outcome"] is None


def test_a_night_that_fails_ends_with_its_message_and_status_1(here: Tandem) -> None:
    ended = here.json("run-nightly", "--prefix", "failing", status=1)
    assert (ended["execution"]["status"], ended["execution"]["error"]) == ("FAILED", "gate-blocked")
    here.aws("run-nightly", "--prefix", "failing", status=1)


def test_started_and_left_alone(here: Tandem, account: Account) -> None:
    started = here.json("run-nightly", "--no-wait", "--prefix", "slow")
    client = account.client("stepfunctions")
    assert client.describe_execution(executionArn=started["arn"])["status"] == "RUNNING"
    failure = here.json("run-nightly", "--prefix", "slow", status=2)
    assert failure["error"] == "night-running"
    assert started["name"] in failure["message"]
    assert "--follow" in failure["fix"]
    night = here.json("status", "--prefix", "slow", status=1)["parts"]["nights"]
    assert night["running"][0]["name"] == started["name"]
    client.stop_execution(executionArn=started["arn"])
    assert here.json("run-nightly", "--prefix", "slow", "--follow", status=2)["error"] == "night-incomplete"


def test_ctrl_c_leaves_the_night_running_and_says_how_to_go_on(workplace: Path, account: Account) -> None:
    command = [sys.executable, "-m", "cli.main", "aws", "run-nightly", "--prefix", "slow"]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, cwd=workplace, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
    arn = first.split()[-1]
    assert running.returncode == 130  # as a shell says that it was interrupted
    assert "--follow" in said
    assert f"aws stepfunctions stop-execution --execution-arn {arn}" in said
    client = account.client("stepfunctions")
    assert client.describe_execution(executionArn=arn)["status"] == "RUNNING"
    client.stop_execution(executionArn=arn)


def test_a_plan_is_drawn_and_is_one_object(here: Tandem, account: Account) -> None:
    assert here.json("run-nightly", "--dry-run", "--from", "seal", status=2)["error"] == "night-incomplete"
    night = past_nights(account, DEPLOYED, here.folder).begun(1)
    planned = here.json("run-nightly", "--dry-run", "--from", "seal")
    assert not planned["can_begin"]
    assert planned["plan"]["night"] == night
    assert [step["step"] for step in planned["plan"]["steps"]] == [*Step]
    drawn = here.aws("run-nightly", "--dry-run")
    for text in ("no night", "world", "1 ml.m5.xlarge (spot)", "the dataset alone", "0 objects"):
        assert text in drawn
    assert here.json("run-nightly", "--dry-run")["can_begin"]


def test_nights_are_turned_off_and_on(here: Tandem) -> None:
    off = here.json("pause")
    assert (off["schedule"]["state"], off["changed"]) == ("DISABLED", True)
    assert not here.json("pause")["changed"]
    assert f"npx cdk destroy {DEPLOYED}-service" in here.aws("pause")
    on = here.json("resume")
    assert (on["schedule"]["state"], on["changed"]) == ("ENABLED", True)
    assert on["next_run"].startswith("20")
    here.aws("resume")


def test_the_status_shows_the_last_nights(here: Tandem, account: Account) -> None:
    past = past_nights(account, "failing", here.folder)
    past.ended(past.begun(4), Outcome.PUBLISHED)
    night = past.begun(5)
    past.ended(night, Outcome.FAILED, "r2 is worse than r1")
    part: dict[str, Any] = here.json("status", "--prefix", "failing", status=1)["parts"]["nights"]
    assert not part["ok"]
    assert [one["outcome"] for one in part["last"]] == ["failed", "published"]
    drawn = here.aws("status", "--prefix", "failing", status=1)
    assert "Last nights" in drawn
    assert "r2 is worse than r1" in drawn
    assert "10 min" in drawn
    older = here.json("status", "--prefix", "older", status=1)["parts"]["nights"]
    assert older["ok"]
    assert "npx cdk deploy" in older["found"]


@pytest.mark.parametrize(
    ("words", "code", "fix"),
    [
        (["run-nightly", "--prefix", "older"], "deployment-not-found", "npx cdk deploy"),
        (["run-nightly", "--dry-run", "--prefix", "older"], "deployment-not-found", "npx cdk deploy"),
        (["pause", "--prefix", "older"], "deployment-not-found", "npx cdk deploy"),
        (["resume", "--prefix", "older"], "deployment-not-found", "npx cdk deploy"),
        (["train", "--prefix", "older"], "deployment-not-found", "npx cdk deploy"),
        (["run-nightly", "--night", "yesterday"], "request-invalid", "tandem aws status"),
        (["run-nightly", "--from", "seal", "--night", "n000099-20260101"], "request-invalid", "tandem aws status"),
        (["run-nightly", "--from", "publish", "--prefix", "slow"], "night-incomplete", "tandem aws run-nightly"),
        (["train", "--night", "n000099-20260101"], "night-incomplete", "tandem aws status"),
        (["train", "--dataset", "nothing"], "dataset-invalid", "tandem aws seed"),
        (["train", "--dataset", "world", "--code", "nowhere.tar.gz"], "bundle-not-built", "make build"),
    ],
)
def test_a_failure_has_a_name_a_fix_and_the_status_2(words: list[str], code: str, fix: str, here: Tandem) -> None:
    failure = here.json(*words, status=2)
    assert failure["error"] == code
    assert fix in failure["fix"]


@pytest.mark.parametrize(
    "words",
    [
        ["run-nightly", "--from", "lunch"],
        ["run-nightly", "--accept", "anything"],
        ["train", "--effort", "huge"],
        ["train", "--dataset", "world", "--night", "n000001-20261126"],
        ["train", "--seed", "-1"],
    ],
)
def test_a_wrong_word_is_a_usage_error(words: list[str], here: Tandem) -> None:
    here.aws(*words, status=2)


def test_help_names_every_step(here: Tandem) -> None:
    shown = " ".join(here.aws("run-nightly", "--help").split())
    assert all(step in shown for step in Step)
