"""Finding a deployment by its stacks or by a file, and by whose credentials."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.errors import AwsCallFailed, DeploymentNotFound, ExtraMissing
from local_mode.aws.account import Account, naming_aws_failures
from local_mode.aws.deployment import Deployment
from tests.aws import REGION
from tests.local_mode.aws_deployment import deploy

OUTPUTS = {
    "shop-state": {"ReleasesBucket": "r", "DataBucket": "d", "ProfilesTable": "p", "SearchEndpoint": "search.example"},
    "shop-service": {
        "ApiUrl": "https://api.example/",
        "EventsStream": "e",
        "RecommendLogGroup": "/aws/lambda/r",
        "EventsLogGroup": "/aws/lambda/e",
        "Dashboard": "shop",
    },
    "somebody-else": {"ApiUrl": "https://other.example"},
}


@pytest.fixture
def account(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    account = Account()
    yield account
    account.close()


def written(folder: Path, outputs: dict[str, Any]) -> Path:
    path = folder / "outputs.json"
    path.write_bytes(msgspec.json.encode(outputs))
    return path


def test_it_is_found_by_the_outputs_of_its_stacks(account: Account) -> None:
    deploy(account, "found", api_url="https://api.example/")
    found = Deployment.find(account, "found")
    assert (found.releases_bucket, found.data_bucket) == ("found-releases", "found-data")
    account.client("dynamodb").describe_table(TableName=found.profiles_table)  # raises where there is none
    assert found.recommend_log_group == "/aws/lambda/found-recommend"
    assert found.events_log_group == "/aws/lambda/found-events"
    assert found.events_stream == "found-events"
    assert found.api_url == "https://api.example"  # paths are put behind it
    assert found.search_endpoint == ""


def test_a_stack_that_is_not_there_is_named_with_the_fix(account: Account) -> None:
    with pytest.raises(DeploymentNotFound, match=f"no stack nowhere-state in {REGION}") as caught:
        Deployment.find(account, "nowhere")
    assert "npx cdk deploy --all" in caught.value.fix


def test_the_file_of_cdk_says_the_same(tmp_path: Path) -> None:
    found = Deployment.from_file(written(tmp_path, OUTPUTS), "shop")
    assert found.api_url == "https://api.example"
    assert found.search_endpoint == "https://search.example"  # CloudFormation gives a host
    assert found.profiles_table == "p"


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "has no stack shop-state"),
        (
            {**OUTPUTS, "shop-service": {"ApiUrl": "u"}},
            "lack the output EventsStream, RecommendLogGroup, EventsLogGroup",
        ),
        ({"shop-state": "text"}, "not a file of outputs"),
    ],
)
def test_a_file_that_is_not_one_is_said(outputs: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DeploymentNotFound, match=said):
        Deployment.from_file(written(tmp_path, outputs), "shop")


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DeploymentNotFound, match="No such file") as caught:
        Deployment.from_file(tmp_path / "outputs.json", "shop")
    assert "--outputs-file" in caught.value.fix


def test_without_boto3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def bare(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("boto3", "botocore"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", bare)
    with pytest.raises(ExtraMissing) as caught:
        Account()
    assert caught.value.fix == "pip install 'tandem-recommender[aws]'"


def test_who_is_nobody_is_told_how_to_sign_in(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AwsCallFailed, match="somebody"):
        Account(profile="somebody")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    nobody = Account()
    with pytest.raises(AwsCallFailed, match="no AWS credentials") as caught:
        nobody.credentials()
    assert "aws sso login" in caught.value.fix
    with pytest.raises(AwsCallFailed, match="Unable to locate credentials") as caught:
        Deployment.find(nobody, "found")
    assert "aws sso login" in caught.value.fix
    nobody.close()


def test_no_region_is_said(monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(AwsCallFailed, match="no AWS region"):
        Account().client("s3")
    assert Account(region="eu-west-1").named_region() == "eu-west-1"


def test_a_region_out_of_reach_is_said(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    far = Account()
    with pytest.raises(AwsCallFailed, match=r"127\.0\.0\.1:9"), naming_aws_failures():
        far.client("sts").get_caller_identity()
    far.close()
