"""The doctor against moto: each check in each of its outcomes, by what the account and the machine really hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.training_image import CPU_TAG, GPU_TAG
from local_mode.aws import account_checks, machine_checks
from local_mode.aws.account import Account
from local_mode.aws.doctor import examine, examine_machine
from local_mode.aws.findings import Finding, Status, Wanted
from local_mode.aws.training_image import default_image, read_image
from tests.aws import REGION
from tests.local_mode.aws_deployment import serving

ACCOUNT = "123456789012"
OWN_IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/trainer:1"
ON_DEMAND, SPOT = "ml.g4dn.xlarge for training job usage", "ml.g4dn.xlarge for spot training job usage"


@pytest.fixture(autouse=True)
def _moto(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)


@pytest.fixture
def account() -> Iterator[Account]:
    account = Account()
    yield account
    account.close()


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_everything_is_looked_at_in_the_order_in_which_a_deployment_fails() -> None:
    names = [finding.name for finding in examine(None, None, Wanted())]
    assert names == [
        *("credentials", "region", "bootstrap", "image", "gpu_quota", "search_role"),
        *("python", "node", "cdk_cli", "bundle"),
    ]


def test_who_and_where_are_said_and_no_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-indeed")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-token")
    findings = examine(None, None, Wanted())
    assert ACCOUNT in by_name(findings)["credentials"].found
    assert by_name(findings)["region"].found == REGION
    assert "very-secret-indeed" not in str(findings)
    assert "token-token" not in str(findings)


def test_without_credentials_there_is_one_failure_and_the_rest_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = by_name(examine(None, None, Wanted()))
    assert found["credentials"].status is Status.FAIL
    assert "aws sso login" in found["credentials"].fix
    for name in ("bootstrap", "image", "gpu_quota", "search_role"):
        assert found[name] == Finding(name, Status.WARN, "not looked at: no credentials that work.")
    assert found["python"].status is Status.OK


def test_a_profile_that_does_not_exist_is_said() -> None:
    found = by_name(examine("somebody", None, Wanted()))
    assert found["credentials"].status is Status.FAIL
    assert "somebody" in found["credentials"].found


def test_without_a_region_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert by_name(examine(None, None, Wanted()))["region"].status is Status.FAIL
    assert by_name(examine(None, "eu-west-1", Wanted()))["region"].found == "eu-west-1"


def test_credentials_that_no_longer_work_say_sign_in(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing("ExpiredTokenException", monkeypatch, "STS"):
        found = by_name(examine(None, None, Wanted()))["credentials"]
    assert found.status is Status.FAIL
    assert "Sign in again" in found.fix


@pytest.mark.parametrize(
    ("version", "status"), [(None, Status.FAIL), ("5", Status.FAIL), ("6", Status.OK), ("27", Status.OK)]
)
def test_the_bootstrap_is_of_a_version_that_fits(version: str | None, status: Status, account: Account) -> None:
    client = account.client("ssm")
    if version is not None:
        client.put_parameter(Name=account_checks.BOOTSTRAP_PARAMETER, Value=version, Type="String", Overwrite=True)
    found = account_checks.bootstrap(account, Wanted())
    assert found.status is status
    assert found.fix == ("" if status is Status.OK else f"AWS_REGION={REGION} npx cdk bootstrap")
    if version is not None:
        client.delete_parameter(Name=account_checks.BOOTSTRAP_PARAMETER)


def test_an_image_is_there_or_not(account: Account) -> None:
    assert account_checks.image(account, Wanted(image=OWN_IMAGE)).status is Status.FAIL
    client = account.client("ecr")
    client.create_repository(repositoryName="trainer")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    client.put_image(repositoryName="trainer", imageManifest=json.dumps(manifest), imageTag="1")
    assert account_checks.image(account, Wanted(image=OWN_IMAGE)) == Finding("image", Status.OK, OWN_IMAGE)
    other = account_checks.image(account, Wanted(image=OWN_IMAGE.replace(":1", ":2")))
    assert other.status is Status.FAIL
    assert "--image" in other.fix


def test_an_image_of_another_region_or_of_no_registry_is_refused(account: Account) -> None:
    elsewhere = account_checks.image(account, Wanted(image=OWN_IMAGE.replace(REGION, "us-east-1")))
    assert (elsewhere.status, REGION in elsewhere.found) == (Status.FAIL, True)
    assert account_checks.image(account, Wanted(image="pytorch")).status is Status.FAIL


def test_aws_own_image_is_that_of_the_region_and_of_the_instance(account: Account) -> None:
    """moto has no registry of AWS: what is asked for is what it does not find."""
    found = account_checks.image(account, Wanted()).found
    assert found.startswith(f"763104351884.dkr.ecr.{REGION}.amazonaws.com/pytorch:{CPU_TAG}")
    assert GPU_TAG in account_checks.image(account, Wanted(profile="prod")).found
    assert default_image("mars-north-1", gpu=False) is None
    china = default_image("cn-north-1", gpu=True)
    assert china is not None
    assert read_image(china.address) == china


def test_a_region_that_the_table_does_not_know_is_a_warning() -> None:
    account = Account(region="il-central-1")
    found = account_checks.image(account, Wanted())
    assert (found.status, "--image" in found.fix) == (Status.WARN, True)


def test_the_service_linked_role_must_be_there_for_a_vpc_and_must_not_be_made_twice(account: Account) -> None:
    missing = account_checks.search_role(account, Wanted(profile="prod"))
    assert missing.status is Status.FAIL
    assert missing.fix.startswith("aws iam create-service-linked-role --aws-service-name opensearchservice")
    for profile in ("mini", "dev"):
        assert account_checks.search_role(account, Wanted(profile=profile)).status is Status.OK
    account.client("iam").create_role(RoleName=account_checks.SEARCH_ROLE, AssumeRolePolicyDocument="{}")
    there = account_checks.search_role(account, Wanted(profile="prod"))
    assert (there.status, "create it again" in there.found) == (Status.OK, True)
    account.client("iam").delete_role(RoleName=account_checks.SEARCH_ROLE)


def quotas(values: dict[str, float]) -> Any:
    """Service Quotas, which moto has for no service that trains: strict about what is asked, in its own protocol."""
    codes = {"L-3F53BF0F": ON_DEMAND, "L-944F78BB": SPOT}

    def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
        assert event["headers"]["x-amz-target"] == "ServiceQuotasV20190624.GetServiceQuota"
        asked = json.loads(event["body"])
        assert asked.keys() == {"ServiceCode", "QuotaCode"}
        assert asked["ServiceCode"] == "sagemaker"
        name = codes[asked["QuotaCode"]]
        body = (
            {"Quota": {"QuotaName": name, "Value": values[name]}}
            if name in values
            else _error("NoSuchResourceException")
        )
        return {"statusCode": 200 if name in values else 400, "headers": {}, "body": json.dumps(body)}

    return serving(handler)


def _error(code: str) -> dict[str, str]:
    return {"__type": code, "message": "it says"}


@pytest.mark.parametrize(
    ("values", "status", "fix"),
    [
        ({ON_DEMAND: 1.0, SPOT: 2.0}, Status.OK, None),
        ({ON_DEMAND: 1.0, SPOT: 0.0}, Status.WARN, "L-944F78BB"),
        ({ON_DEMAND: 0.0, SPOT: 0.0}, Status.FAIL, "L-3F53BF0F"),
        ({}, Status.WARN, "L-3F53BF0F"),
    ],
)
def test_a_gpu_quota_is_enough_or_is_asked_for(
    values: dict[str, float], status: Status, fix: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quotas(values) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", url)
        account = Account()
        found = account_checks.quota(account, Wanted(profile="prod"))
        account.close()
    assert found.status is status
    assert (fix or "") in found.fix
    assert bool(fix) == bool(found.fix)


def test_a_cpu_needs_no_quota_and_an_unknown_gpu_is_a_matter_for_the_console(account: Account) -> None:
    assert account_checks.quota(account, Wanted()).status is Status.OK
    found = account_checks.quota(account, Wanted(instance="ml.p4d.24xlarge"))
    assert (found.status, "console" in found.fix) == (Status.WARN, True)


def test_a_code_that_means_something_else_by_now_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(*_: object) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {}, "body": '{"Quota": {"QuotaName": "Something else", "Value": 9}}'}

    with serving(handler) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", url)
        account = Account()
        assert account_checks.quota(account, Wanted(profile="prod")).status is Status.WARN
        account.close()


def refusing(code: str, monkeypatch: pytest.MonkeyPatch, *services: str) -> Any:
    """A server that answers every call with one failure, as the JSON and the query services write it."""
    from contextlib import contextmanager

    def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
        if "x-amz-target" in event["headers"]:
            body = json.dumps(_error(code))
        else:
            body = f"<ErrorResponse><Error><Code>{code}</Code><Message>it says</Message></Error></ErrorResponse>"
        return {"statusCode": 403 if "x-amz-target" not in event["headers"] else 400, "headers": {}, "body": body}

    @contextmanager
    def refuse() -> Iterator[None]:
        with serving(handler) as url, monkeypatch.context() as patch:
            for service in services:
                patch.setenv(f"AWS_ENDPOINT_URL_{service}", url)
            yield

    return refuse()


def test_a_permission_that_is_missing_is_a_warning_that_names_the_action(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing("AccessDeniedException", monkeypatch, "SSM", "ECR", "IAM", "SERVICE_QUOTAS"):
        found = by_name(examine(None, None, Wanted(profile="prod")))
    actions = {
        "bootstrap": "ssm:GetParameter",
        "image": "ecr:DescribeImages",
        "gpu_quota": "servicequotas:GetServiceQuota",
        "search_role": "iam:GetRole",
    }
    for name, action in actions.items():
        assert found[name] == Finding(name, Status.WARN, f"not looked at: {action} is not allowed.", f"Allow {action}.")


def test_a_region_out_of_reach_fails_each_check_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for service in ("SSM", "ECR"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", "http://127.0.0.1:9")
    found = by_name(examine(None, None, Wanted()))
    assert {found["bootstrap"].status, found["image"].status} == {Status.FAIL}
    assert found["search_role"].status is Status.OK


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout on which everything has been done."""
    (tmp_path / "package.json").write_text('{"devDependencies": {"aws-cdk": "2.1148.1"}}')
    installed = tmp_path / "node_modules" / "aws-cdk"
    installed.mkdir(parents=True)
    (installed / "package.json").write_text('{"version": "2.1148.1"}')
    (tmp_path / "build" / "serving").mkdir(parents=True)
    (tmp_path / "build" / "serving.json").write_text('{"target": "lambda", "unzipped_bytes": 123456789}')
    return tmp_path


def test_a_machine_that_is_ready(checkout: Path) -> None:
    found = by_name(examine_machine(Wanted(checkout=checkout)))
    assert found["cdk_cli"] == Finding("cdk_cli", Status.OK, "aws-cdk 2.1148.1")
    assert found["bundle"] == Finding("bundle", Status.OK, "build/serving, 123 MB for lambda")
    assert found["python"].status is Status.OK


def test_another_cli_than_the_pinned_one_is_a_failure(checkout: Path) -> None:
    (checkout / "node_modules" / "aws-cdk" / "package.json").write_text('{"version": "3.0.0"}')
    found = machine_checks.cdk_cli(Wanted(checkout=checkout))
    assert (found.status, found.fix) == (Status.FAIL, "npm ci")
    assert "3.0.0" in found.found


def test_a_folder_that_is_no_checkout_is_said(tmp_path: Path) -> None:
    found = machine_checks.cdk_cli(Wanted(checkout=tmp_path))
    assert (found.status, "checkout" in found.fix) == (Status.FAIL, True)
    assert machine_checks.bundle(Wanted(checkout=tmp_path)).status is Status.WARN


@pytest.mark.parametrize(
    ("said", "status"), [("v24.1.0", Status.OK), ("v20.20.2", Status.WARN), ("v16.0.0", Status.FAIL), ("", Status.FAIL)]
)
def test_node_is_asked_for_its_version(
    said: str, status: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("node", "npx"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert machine_checks.node(Wanted()).status is status


def test_without_node_or_cdk_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "node and npx not found" in machine_checks.node(Wanted()).found
    monkeypatch.setattr(machine_checks, "find_spec", lambda _: None)
    assert "tandem-recommender[infra]" in machine_checks.python(Wanted()).fix
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert machine_checks.python(Wanted()).status is Status.FAIL
