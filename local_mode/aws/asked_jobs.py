"""Jobs that somebody asks for, run by SageMaker on the deployed code: recommendations for everybody, and forgetting.

A processing job like those of a night, with its own role and no state machine around it. Nothing that names a user is
in its description, which AWS keeps for good: ids lie in the data bucket while they are needed. `job_watch.py` watches
it; `batch_run.py` and `forget_run.py` ask for one each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contracts.errors import StateBusy
from contracts.night_settings import NightSettings
from contracts.processing_job import ASKED, CODE_FOLDER, ENTRY_POINT, ML, SCRATCH
from local_mode.aws.account import Account, naming_aws_failures
from local_mode.aws.deployment import Deployment

INPUT_FOLDER: Final = f"{ML}/processing/input/given"
OUTPUT_FOLDER: Final = f"{ML}/processing/output"
RUN_SECONDS: Final = 6 * 3600
"""Longest that a job may run: a hundred million slates take half of it, and what hangs costs no more."""
VOLUME_GB: Final = 100
"""The users of a batch and its parts, or the largest files of a log twice over."""
_STATES: Final = ("InProgress", "Stopping")


@dataclass(frozen=True, kw_only=True)
class AskedJob:
    """One job before it is started."""

    name: str
    """Of `contracts/processing_job.ON_DEMAND`."""
    arguments: Sequence[str]
    """Behind its name, as `python -m batch_job` takes them."""
    given: str = ""
    """`s3://…/` that is brought into INPUT_FOLDER; empty: nothing."""
    kept: str = ""
    """`s3://…/` to which OUTPUT_FOLDER goes when the job ends; empty: nothing is kept there."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those that say where the stores are."""


def start(account: Account, deployment: Deployment, job: AskedJob) -> str:
    """Hand a job to SageMaker; returns the name under which it runs. Raises AwsCallFailed, DeploymentNotFound."""
    role = f"{job.name}_job_role"
    deployment.needed(role, "processing_image", "processing_instance", "code_archive", "live_table")
    moment = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    name = f"{deployment.prefix}-{moment}-{job.name}-{os.urandom(4).hex()}"
    with naming_aws_failures():
        account.client("sagemaker").create_processing_job(
            ProcessingJobName=name, RoleArn=getattr(deployment, role), **_request(deployment, job)
        )
    return name


def refuse_while_running(account: Account, deployment: Deployment, name: str, argument: str = "") -> None:
    """Raise StateBusy where a job of that name runs, one with this argument, if it is given. Raises AwsCallFailed."""
    client = account.client("sagemaker")
    with naming_aws_failures():
        pages = client.get_paginator("list_processing_jobs").paginate(NameContains=f"-{name}-")
        jobs = [job for page in pages for job in page["ProcessingJobSummaries"]]
        running = [job["ProcessingJobName"] for job in jobs if job["ProcessingJobStatus"] in _STATES]
        for job in (each for each in running if each.startswith(f"{deployment.prefix}-")):
            told = client.describe_processing_job(ProcessingJobName=job)["AppSpecification"]
            if not argument or argument in told.get("ContainerArguments", ()):
                raise StateBusy(
                    f"{job} is running.",
                    fix=f"Wait for it, or: aws sagemaker stop-processing-job --processing-job-name {job}",
                )


def asked_folder(job: str, what: str) -> str:
    """Prefix of the data bucket for what one job is given and leaves. `what`: a name of a batch, a user's digest."""
    return f"{ASKED}{job}/{what}/"


def _request(deployment: Deployment, job: AskedJob) -> dict[str, Any]:
    inputs = [_input("code", deployment.code_archive, CODE_FOLDER)]
    if job.given:
        inputs.append(_input("given", job.given, INPUT_FOLDER))
    request: dict[str, Any] = {
        "AppSpecification": {
            "ImageUri": deployment.processing_image,
            "ContainerEntrypoint": [*ENTRY_POINT],
            "ContainerArguments": [job.name, *job.arguments],
        },
        "Environment": {"TMPDIR": SCRATCH, **job.settings, **_settings(deployment)},
        "ProcessingInputs": inputs,
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": deployment.processing_instance,
                "InstanceCount": 1,
                "VolumeSizeInGB": VOLUME_GB,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": RUN_SECONDS},
        "Tags": [{"Key": "deployment", "Value": deployment.prefix}, {"Key": "step", "Value": job.name}],
    }
    if job.kept:
        request["ProcessingOutputConfig"] = {"Outputs": [_output(job.kept)]}
    return request


def _settings(deployment: Deployment) -> Mapping[str, str]:
    """Where the stores are, as the jobs of a night are told."""
    settings = NightSettings(
        data_bucket=deployment.data_bucket,
        releases_bucket=deployment.releases_bucket,
        profiles_table=deployment.profiles_table,
        live_table=deployment.live_table,
        prefix=deployment.prefix,
        home=Path(f"{SCRATCH}/tandem"),
    )
    return {name: value for name, value in settings.to_env().items() if value}


def _input(name: str, uri: str, folder: str) -> dict[str, Any]:
    source = {"S3Uri": uri, "LocalPath": folder, "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": source}


def _output(uri: str) -> dict[str, Any]:
    return {
        "OutputName": "kept",
        "S3Output": {"S3Uri": uri, "LocalPath": OUTPUT_FOLDER, "S3UploadMode": "EndOfJob"},
    }
