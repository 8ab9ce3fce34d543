"""Experiments where the stores are Amazon's: key, envelope and exposures through the clients that a Lambda has."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from contracts.deadline import Deadline
from contracts.served import decode_exposure
from experiments.envelope import seal
from lambda_user_tower.experimenting import Experiments
from lambda_user_tower.logs import Log
from lambda_user_tower.serving_log import ServingLog
from lambda_user_tower.settings import IN_AWS, LambdaSettings
from lambda_user_tower.storage import Storage
from lambda_user_tower.variants import Part, exposures_of
from stores.experiments import S3Experiments
from tests.aws import REGION
from tests.lambda_user_tower.experiment_worlds import everybody, payload_of

KEY = "a secret of thirty-two characters"


@pytest.fixture
def account(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LambdaSettings:
    """Settings of a function in an account with bucket, secret, envelope and stream."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    name = f"edge-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    boto3.client("secretsmanager").create_secret(Name=name, SecretString=KEY)
    destination = {"RoleARN": "arn:aws:iam::123456789012:role/r", "BucketARN": f"arn:aws:s3:::{name}"}
    boto3.client("firehose").create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration=destination | {"Prefix": "exposures/"},
    )
    envelope = seal(payload_of(one=everybody({"num_items": 3})), 1, int(time.time()), KEY.encode())
    S3Experiments(name).write(envelope, None)
    stores = dict.fromkeys(IN_AWS, name)
    return LambdaSettings(
        home=tmp_path, experiments_key_secret=name, exposures_stream=name, experiments_check_seconds=0.0, **stores
    )


def written(bucket: str) -> list[dict[str, Any]]:
    s3 = boto3.client("s3")
    found = s3.list_objects_v2(Bucket=bucket, Prefix="exposures/").get("Contents", [])
    bodies = [s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in found]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def test_an_envelope_in_the_bucket_decides_and_exposures_go_to_the_stream(account: LambdaSettings) -> None:
    storage, log = Storage(account), Log("ERROR")
    storage.connect("experiments", "exposures", "slates")
    experiments = Experiments(storage, account, log)
    assert experiments.on
    experiments.follow()
    assigned = experiments.assigned(lambda: {"id": "u", "events": 0}, time.time())
    assert assigned.treatment.num_items == 3
    logs = ServingLog(lambda: storage.exposures, lambda: storage.slates, 1.0, log)
    rows = exposures_of(Part("u", "DE", assigned), 1_700_000_000, route="model", release="r", model="als")
    assert logs.exposed(rows, Deadline(20_000))
    (line,) = written(account.releases_bucket)
    assert decode_exposure(json.dumps(line)) == rows[0]
    storage.reconnect()
    experiments.look_now(10.0)
    assert not experiments.looks.is_old
    storage.close()


def test_without_a_secret_there_are_no_experiments_whatever_a_folder_says(account: LambdaSettings) -> None:
    (account.home / "experiments").mkdir()
    assert not Experiments(Storage(account), replace(account, experiments_key_secret=""), Log("ERROR")).on


def test_a_secret_that_cannot_be_read_leaves_everybody_control(
    account: LambdaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(account, experiments_key_secret="unheard-of")  # noqa: S106
    experiments = Experiments(Storage(settings), settings, Log("ERROR"))
    experiments.follow()
    assert experiments.deciding is None
    assert "experiments-not-read" in capsys.readouterr().err
