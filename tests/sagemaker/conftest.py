"""A bucket with a dataset and the archive of the jobs in it, and the request of a training on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from data_sources.generator import WorldSettings, generate
from local_mode.rehearsal.s3_folders import bring_down, send_up
from local_mode.rehearsal.toolkit import TakenAway, TrainingResult, run_training
from stores.s3_bucket import s3_client
from tests.aws import REGION
from training_job.settings import Effort, TrainingSettings

SETTINGS: Final = TrainingSettings(effort=Effort.QUICK, seed=4, deterministic=True, checkpoint_seconds=0.0)


@dataclass(frozen=True)
class TrainingAccount:
    """What a training job finds in S3, and a way to start one."""

    bucket: str
    endpoint: str
    folder: Path
    s3: Any

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put_dataset(self, folder: Path, name: str) -> None:
        send_up(folder, self.uri(f"snapshots/{name}/"), self.s3)

    def request(self, job: str, dataset: str, **hyperparameters: str) -> dict[str, Any]:
        """Parameters of CreateTrainingJob, as the state machine gives them."""
        toolkit = {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": self.uri("code/sourcedir.gz"),
            "sagemaker_region": REGION,
            "sagemaker_container_log_level": "20",
        }
        source = {"S3DataType": "S3Prefix", "S3Uri": self.uri(f"snapshots/{dataset}/")}
        return {
            "TrainingJobName": job,
            "HyperParameters": SETTINGS.to_hyperparameters() | toolkit | hyperparameters,
            "InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": self.uri("nights/n1/training/"), "CompressionType": "NONE"},
            "CheckpointConfig": {"S3Uri": self.uri(f"checkpoints/{job}/"), "LocalPath": "/opt/ml/checkpoints"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 240, "MaxWaitTimeInSeconds": 240},
            "EnableManagedSpotTraining": True,
        }

    def run(self, request: dict[str, Any], taken_away: TakenAway = lambda _: False) -> TrainingResult:
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        told = environment | {"AWS_ENDPOINT_URL": self.endpoint}
        return run_training(request, self.folder, told, self.s3, taken_away)

    def model(self, result: TrainingResult, folder: Path) -> Path:
        """What a training has left in S3."""
        assert bring_down(result.model, folder, self.s3)
        return folder

    def keys(self, under: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=under).get("Contents", ())]


@pytest.fixture(scope="session")
def account(
    moto_endpoint: str, jobs_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrainingAccount]:
    s3 = s3_client(endpoint_url=moto_endpoint)
    folder, bucket = tmp_path_factory.mktemp("jobs"), f"jobs-{uuid4().hex[:12]}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.upload_file(str(jobs_archive), bucket, "code/sourcedir.gz")
    generate(folder / "world", WorldSettings(users=150, items=80))
    account = TrainingAccount(bucket, moto_endpoint, folder, s3)
    account.put_dataset(folder / "world", "whole")
    yield account
    s3.close()


@pytest.fixture(scope="session")
def undisturbed(account: TrainingAccount) -> TrainingResult:
    """A training whose instance was never taken away."""
    return account.run(account.request("undisturbed", "whole"))
