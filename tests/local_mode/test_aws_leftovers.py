"""What is left of a deployment: found by tag and name in moto, told apart by purpose, and never touched."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from local_mode.aws.account import Account
from local_mode.aws.leftovers import Left, look, unexpected
from tests.local_mode.aws_deployment import deploy

REPOSITORY: Final = Path(__file__).resolve().parents[2]


@pytest.fixture
def account(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    account = Account()
    yield account
    account.close()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"left-{abs(hash(request.node.nodeid)) % 10**8}"


def make(account: Account, prefix: str, profile: str) -> None:
    """A bucket, a table, a secret and a log group with the tags that the stacks give."""
    tags = [{"Key": "deployment", "Value": prefix}, {"Key": "profile", "Value": profile}]
    s3 = account.client("s3")
    s3.create_bucket(Bucket=f"{prefix}-data", CreateBucketConfiguration={"LocationConstraint": account.named_region()})
    s3.put_bucket_tagging(Bucket=f"{prefix}-data", Tagging={"TagSet": tags})
    account.client("dynamodb").create_table(
        TableName=f"{prefix}-profiles",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "user_id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}],
        Tags=tags,
    )
    account.client("secretsmanager").create_secret(Name=f"{prefix}-key", SecretString="k", Tags=tags)
    account.client("logs").create_log_group(
        logGroupName=f"/{prefix}/own", tags={tag["Key"]: tag["Value"] for tag in tags}
    )
    account.client("logs").create_log_group(logGroupName=f"/aws/lambda/{prefix}-CustomS3AutoDelete")


def kinds(found: list[Left]) -> list[str]:
    return sorted(left.kind for left in found)


def test_of_prod_the_data_stays_on_purpose_and_nothing_else(account: Account, prefix: str) -> None:
    make(account, prefix, "prod")
    found = look(account, prefix)
    kept = [left for left in found if prefix in left.name and left.on_purpose]
    assert kinds(kept) == ["dynamodb", "s3", "secretsmanager"]
    assert kinds(unexpected(found)) == ["logs", "logs"], "its own group, and that of CDK's function"


def test_of_dev_nothing_is_meant_to_stay(account: Account, prefix: str) -> None:
    make(account, prefix, "dev")
    assert kinds(unexpected(look(account, prefix))) == ["dynamodb", "logs", "logs", "s3", "secretsmanager"]


def test_a_deleted_secret_waits_and_costs_nothing(account: Account, prefix: str) -> None:
    make(account, prefix, "dev")
    account.client("secretsmanager").delete_secret(SecretId=f"{prefix}-key")
    found = look(account, prefix)
    (secret,) = (left for left in found if left.kind == "secretsmanager")
    assert (secret.bills, "waits" in secret.on_purpose) == ("", True)
    assert "secretsmanager" not in kinds(unexpected(found))


def test_stacks_that_are_still_there_are_found_with_their_state(account: Account, prefix: str) -> None:
    deploy(account, prefix)
    stacks = [left for left in look(account, prefix) if left.kind == "cloudformation"]
    assert len(stacks) == 2
    assert all("CREATE_COMPLETE" in left.bills for left in stacks)
    account.client("cloudformation").delete_stack(StackName=f"{prefix}-service")
    assert kinds(look(account, prefix)).count("cloudformation") == 1


def test_logs_of_jobs_are_the_account_s(account: Account, prefix: str) -> None:
    logs = account.client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/TrainingJobs")["logGroups"]:
        logs.create_log_group(logGroupName="/aws/sagemaker/TrainingJobs")
    found = look(account, prefix)
    assert [left.kind for left in found] == ["logs"]
    assert unexpected(found) == []


def command(*options: str) -> Result:
    return CliRunner().invoke(app, ["aws", "leftovers", *options])


def test_the_command_says_no_where_something_costs(account: Account, prefix: str) -> None:
    assert command("--prefix", prefix, "--json").exit_code == 0
    make(account, prefix, "dev")
    after = command("--prefix", prefix, "--json")
    told = json.loads(after.stdout)
    assert (after.exit_code, told["ok"], len(told["unexpected"])) == (1, False, 5)
    before = command("--prefix", prefix, "--before")
    assert before.exit_code == 0
    assert "is deleted" in before.stdout
    pages = account.client("dynamodb").get_paginator("list_tables").paginate()
    names = [table for page in pages for table in page["TableNames"] if prefix in table]
    assert names == [f"{prefix}-profiles"], "it looks and deletes nothing"


@pytest.fixture
def destroy(tmp_path: Path) -> Any:
    """`make destroy` with stand-ins for `tandem` and `npx` that write down how they were called."""
    calls = tmp_path / "calls"
    for name in ("tandem", "npx"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def run(*options: str, says: str = "") -> tuple[int, list[str]]:
        outer = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}  # of a `make test ARGS=…` around this
        environment = {name: value for name, value in os.environ.items() if name not in outer}
        environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        make = ["make", "-s", "destroy", f"BIN={tmp_path}", *options]
        done = subprocess.run(make, cwd=REPOSITORY, env=environment, input=says, capture_output=True, text=True)
        return done.returncode, calls.read_text().splitlines() if calls.exists() else []

    return run


LOOKS: Final = "tandem aws leftovers --prefix tandem-dev --before"


def test_destroying_asks_first_and_takes_only_the_name_for_an_answer(destroy: Any) -> None:
    status, calls = destroy(says="yes\n")
    assert status != 0
    assert calls == [LOOKS]


def test_destroying_runs_with_the_same_context_and_looks_again(destroy: Any) -> None:
    status, calls = destroy(says="tandem-dev\n")
    assert status == 0
    assert calls == [
        LOOKS,
        "npx cdk destroy --all --force -c profile=dev -c prefix=tandem-dev",
        "tandem aws leftovers --prefix tandem-dev",
    ]


def test_a_script_can_destroy_another_deployment(destroy: Any) -> None:
    status, calls = destroy("PROFILE=mini", "PREFIX=shop-test", "YES=1", "ARGS=-c alarm_email=a@b.example")
    assert status == 0
    assert calls[1] == ("npx cdk destroy --all --force -c profile=mini -c prefix=shop-test -c alarm_email=a@b.example")
