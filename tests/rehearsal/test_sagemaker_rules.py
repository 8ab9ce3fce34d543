"""Requests that SageMaker would refuse are refused here under the same names, before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from local_mode.rehearsal.moto_private import Refused
from local_mode.rehearsal.sagemaker_rules import check
from local_mode.rehearsal.stand_ins import REGION, StandIns, only_these

BUCKET = "sagemaker-rules"
ROLE = "arn:aws:iam::123456789012:role/jobs"
IMAGE = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.12-cpu"

TRAINING: dict[str, Any] = {
    "TrainingJobName": "tandem-n000001-20261126-train-0a1b2c3d",
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
    "HyperParameters": {"effort": "quick"},
    "InputDataConfig": [
        {
            "ChannelName": "training",
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/there/"}},
        }
    ],
    "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out/", "CompressionType": "NONE"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
    "Tags": [{"Key": "deployment", "Value": "täglich"}],
}
PROCESSING: dict[str, Any] = {
    "ProcessingJobName": "tandem-n000001-20261126-check-0a1b2c3d",
    "RoleArn": ROLE,
    "AppSpecification": {"ImageUri": IMAGE, "ContainerEntrypoint": ["python3", "-c", "pass"]},
    "Environment": {"TANDEM_DATA_BUCKET": BUCKET},
    "ProcessingInputs": [
        {
            "InputName": "code",
            "S3Input": {
                "S3Uri": f"s3://{BUCKET}/there/x",
                "LocalPath": "/opt/ml/processing/input/code",
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
            },
        }
    ],
    "ProcessingResources": {"ClusterConfig": TRAINING["ResourceConfig"]},
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
}

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def s3(moto_endpoint: str) -> Iterator[Any]:
    with only_these(StandIns(moto_endpoint, "", "").environment), closing(boto3.client("s3")) as client:
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        client.put_object(Bucket=BUCKET, Key="there/x", Body=b"x")
        yield client


def put(path: str, value: Any) -> Change:
    """A change of what lies at a path; None takes it away."""

    def change(request: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = request
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        key = int(last) if last.isdigit() else last
        if value is None:
            del place[key]
        else:
            place[key] = value

    return change


def test_what_the_state_machine_sends_is_taken(s3: Any) -> None:
    check("createTrainingJob", TRAINING, s3)
    check("createProcessingJob", PROCESSING, s3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("TrainingJobName", "tandem_train"), "regular expression"),
        (put("TrainingJobName", "t" * 64), "its length is 64"),
        (put("RoleArn", "jobs-and-no-arn-of-a-role"), "regular expression"),
        (put("AlgorithmSpecification.TrainingInputMode", "Files"), "enum value set"),
        (put("AlgorithmSpecification.TrainingImage", None), "one of TrainingImage and AlgorithmName"),
        (put("HyperParameters.items", 3), "Invalid type"),
        (put("ResourceConfig.InstanceType", "ml.huge"), "enum value set"),
        (put("ResourceConfig.VolumeSizeInGB", None), "VolumeSizeInGB"),
        (put("StoppingCondition.MaxWaitTimeInSeconds", None), "Invalid MaxWaitTimeInSeconds"),
        (put("StoppingCondition.MaxWaitTimeInSeconds", 60), "Invalid MaxWaitTimeInSeconds"),
        (put("EnableManagedSpotTraining", False), "must not be set"),
        (put("InputDataConfig.0.DataSource.S3DataSource.S3Uri", f"s3://{BUCKET}/not/"), "No S3 objects found"),
        (put("OutputDataConfig.S3OutputPath", None), "Missing required parameter"),
        (put("trainingJobName", "x"), "Unknown parameter"),
    ],
)
def test_a_training_job_that_is_refused(s3: Any, change: Change, said: str) -> None:
    refused(s3, "createTrainingJob", TRAINING, change, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("AppSpecification.ContainerEntrypoint", ["python3", "-c", "x" * 257]), "its length is 257"),
        (put("AppSpecification.ContainerEntrypoint", ["python3", "-c", "import os\npass"]), "regular expression"),
        (put("AppSpecification.ContainerArguments", []), "valid min length: 1"),
        (put("Environment", {"A-B": "x"}), "regular expression"),
        (put("Environment", {"A": "x" * 257}), "its length is 257"),
        (put("ProcessingInputs.0.S3Input.LocalPath", "/opt/ml/input"), "must be below /opt/ml/processing/"),
        (put("ProcessingInputs.0.S3Input.S3Uri", "there/x"), "regular expression"),
        (put("StoppingCondition.MaxRuntimeInSeconds", 0), "valid min value: 1"),
    ],
)
def test_a_processing_job_that_is_refused(s3: Any, change: Change, said: str) -> None:
    refused(s3, "createProcessingJob", PROCESSING, change, said)


def refused(s3: Any, action: str, request: dict[str, Any], change: Change, said: str) -> None:
    changed = copy.deepcopy(request)
    change(changed)
    with pytest.raises(Refused, match=said) as caught:
        check(action, changed, s3)
    assert caught.value.name == "SageMaker.AmazonSageMakerException"
    assert "Error Code: ValidationException" in str(caught.value)
