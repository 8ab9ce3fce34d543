"""`tandem aws …`: the example of every command runs against a deployment in moto, and failures say what to do."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from data_sources.generator import WorldSettings, generate
from index_loader.publish import publish
from local_mode.aws.account import Account
from local_mode.aws.account_checks import BOOTSTRAP_PARAMETER
from local_mode.aws.deployment import Deployment
from local_mode.aws.stores import AwsStores
from stores.releases import LocalReleases
from tests.cli.test_commands import commands, example
from tests.index_loader.worlds import seal
from tests.local_mode.aws_deployment import deploy, signed_api
from tests.local_mode.night_deployment import night_outputs
from tests.toy_world import toy_model

LINE = {"level": "ERROR", "message": "request", "status": 503, "endpoint": "events", "user": "9f86d081884c7d65"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, moto_endpoint: str) -> Iterator[Path]:
    """A folder with a dataset and a home, of whose two releases both were published in the deployment `tandem-dev`."""
    folder = tmp_path_factory.mktemp("aws")
    generate(folder / "dataset", WorldSettings(users=200, items=100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
        account, local = Account(), LocalReleases(folder / ".tandem")
        for seed in range(2):
            current = local.current()
            publish(local, seal(local, toy_model(seed=seed)), None, current.etag if current else None)
        with signed_api(folder / ".tandem") as url:
            deploy(account, "tandem-dev", api_url=url, nights=night_outputs(account, "tandem-dev"))
            stores = AwsStores(Deployment.find(account, "tandem-dev"), account, folder / ".tandem")
            for release in local.ids():
                stores.releases.copy_in(local, release)
                publish(stores.releases, release, None, stores.releases.etag())
            write_lines(account)
            yield folder
        account.close()


def write_lines(account: Account) -> None:
    client = account.client("logs")
    for group in ("/aws/lambda/tandem-dev-recommend", "/aws/lambda/tandem-dev-events"):
        client.create_log_stream(logGroupName=group, logStreamName="one")
        for line in ("START RequestId: 1", json.dumps(LINE)):
            event = {"timestamp": int(time.time() * 1000), "message": line}
            client.put_log_events(logGroupName=group, logStreamName="one", logEvents=[event])


class Tandem:
    """The command line in this process: a process of its own for each command would take most of a test's time."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._output = folder, patch, output
        patch.chdir(folder)

    def aws(self, *words: str, status: int = 0, or_status: int | None = None) -> str:
        """What a command prints on stdout, and ends with that status."""
        self._patch.setattr(sys, "argv", ["tandem", "aws", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._output.readouterr()
        assert (ended.value.code or 0) in (status, or_status), printed.err
        return printed.out

    def json(self, *words: str, status: int = 0) -> dict[str, Any]:
        """The one object that it prints with --json."""
        printed: dict[str, Any] = json.loads(self.aws(*words, "--json", status=status))
        return printed


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tandem:
    return Tandem(workplace, monkeypatch, capsys)


def releases(workplace: Path) -> list[str]:
    return LocalReleases(workplace / ".tandem").ids()


ELSEWHERE = {
    "aws rehearse-serving": "starts servers of its own: tests/rehearsal runs it",
    "aws nightly-rehearsal": "likewise",
    "aws batch": "its job is really run, of this deployment nothing is: tests/rehearsal/test_asked_jobs.py",
    "aws forget": "likewise",
    "aws train": "needs the SDK of SageMaker in a process of its own: tests/local_mode/test_aws_training.py runs it",
}
EXAMPLES = sorted(name for name in commands() if name.startswith("aws ") and name not in ELSEWHERE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_every_help_runs(name: str, here: Tandem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local_mode.aws.prices.MAX_AGE_DAYS", 36_500)  # old prices stop `aws cost`, not this suite
    words = shlex.split(example(commands()[name]))[2:]
    words = [releases(here.folder)[0] if word.startswith("r2026") else word for word in words]
    # the doctor finds no CDK here, and the gate may say no to so small a world: both are answers
    here.aws(*words, or_status=1 if name in ("aws doctor", "aws seed") else None)


def test_a_slate_and_an_event_go_over_the_signed_api(here: Tandem) -> None:
    slate = here.json("recommend", "--user-id", "u_7", "--num-items", "4", "--explain")
    assert len(slate["items"]) == 4
    item = slate["items"][0]["item_id"]
    told = here.json("events", "--user-id", "u_7", "--item-id", item, "--item-id", "nothing", "--type", "click")
    assert [result["status"] for result in told["results"]] == ["accepted", "unknown-item"]
    again = here.json("recommend", "--user-id", "u_7")
    assert item not in [one["item_id"] for one in again["items"]]
    assert "For u_7: route" in here.aws("recommend", "--user-id", "u_7")


def test_what_serves_is_changed_by_hand(here: Tandem) -> None:
    first, second = releases(here.folder)[:2]
    assert here.json("publish", first, "--model", "als")["served_model"] == "als"
    assert here.json("publish", second)["release"] == second
    assert here.json("rollback")["release"] == first
    parts = here.json("status")["parts"]
    assert parts["serving"]["release"] == first
    assert parts["profiles"]["status"] == "ACTIVE"


def test_lines_are_printed_as_they_were_written_or_readably(here: Tandem) -> None:
    printed = here.aws("logs", "--function", "events", "--json")
    assert printed.splitlines() == ["START RequestId: 1", json.dumps(LINE)]
    shown = here.aws("logs", "--level", "ERROR")
    assert "ERROR   request status=503 endpoint=events user=9f86d081884c7d65" in shown
    assert "START" not in shown


def test_the_doctor_answers_no_while_a_check_fails(here: Tandem) -> None:
    before = here.json("doctor", status=1)
    assert not before["ok"]
    account = Account()
    account.client("ssm").put_parameter(Name=BOOTSTRAP_PARAMETER, Value="27", Type="String")
    found = {check["name"]: check["status"] for check in here.json("doctor", status=1)["checks"]}
    account.client("ssm").delete_parameter(Name=BOOTSTRAP_PARAMETER)
    account.close()
    assert (found["credentials"], found["bootstrap"], found["cdk_cli"]) == ("ok", "ok", "fail")
    assert "fix: Run it in the checkout of Tandem" in here.aws("doctor", status=1)


def test_a_file_of_outputs_says_where_everything_is(here: Tandem) -> None:
    account = Account()
    stacks = {}
    for name in ("tandem-dev-state", "tandem-dev-service"):
        (stack,) = account.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        stacks[name.replace("tandem-dev", "shop")] = {out["OutputKey"]: out["OutputValue"] for out in stack["Outputs"]}
    account.close()
    (here.folder / "outputs.json").write_text(json.dumps(stacks))
    where = ("--outputs", "outputs.json", "--prefix", "shop")
    assert len(here.json("recommend", "--num-items", "2", *where)["items"]) == 2


@pytest.mark.parametrize(
    ("words", "code", "fix"),
    [
        (["status", "--prefix", "nowhere"], "deployment-not-found", "npx cdk deploy --all"),
        (["recommend", "--outputs", "nowhere.json"], "deployment-not-found", "--outputs-file"),
        (["status", "--profile", "nobody"], "aws-call-failed", "aws configure"),
        (["publish", "r20260101T000000-00000000"], "release-not-found", "tandem aws status"),
        (["rollback", "--to", "p000099-00000000"], "no-release", ""),
        (["logs", "--since", "yesterday"], "request-invalid", "15m"),
        (["seed", "nowhere"], "dataset-invalid", ""),
    ],
)
def test_a_failure_has_a_name_a_fix_and_the_status_2(words: list[str], code: str, fix: str, here: Tandem) -> None:
    failure = here.json(*words, status=2)
    assert failure["error"] == code
    assert fix in failure["fix"]


@pytest.mark.parametrize(
    "words", [["doctor", "--for", "huge"], ["logs", "--level", "LOUD"], ["logs", "--function", "x"], ["events"]]
)
def test_a_wrong_word_is_a_usage_error(words: list[str], here: Tandem) -> None:
    here.aws(*words, status=2)
