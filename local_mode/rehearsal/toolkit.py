"""A SageMaker training job on this machine: AWS's own training toolkit over a folder laid out like `/opt/ml`.

`run_training` is told what CreateTrainingJob is told, and does what the service does around a container: channels and
checkpoints come down from S3, the toolkit runs in a process group of its own, and model, output and checkpoints go up,
checkpoints also when the instance is taken away. An instance that is taken away (managed spot) is killed without a
word, and the same job begins again with its checkpoints. It knows nothing of what is trained, no IAM, no network
isolation and one host. The rehearsal of a night calls it for `createTrainingJob.sync`, the tests for a job alone.

Read of the request: TrainingJobName, HyperParameters, Environment, InputDataConfig (ChannelName, S3Uri, InputMode),
OutputDataConfig (S3OutputPath, CompressionType), CheckpointConfig, ResourceConfig (InstanceType, InstanceCount),
StoppingCondition (MaxRuntimeInSeconds).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from contracts.errors import ExtraMissing, RequestInvalid
from local_mode.rehearsal.container import CONTAINER, POLL_SECONDS, ends_at, kill_group, relocated, shell_status
from local_mode.rehearsal.s3_folders import bring_down, send_up

HOST: Final = "algo-1"
FRAMEWORK: Final = "sagemaker_pytorch_container.training:main"
"""What the PyTorch images of AWS set as SAGEMAKER_TRAINING_MODULE."""
REASON_CHARACTERS: Final = 1_024
"""Of the failure file, in DescribeTrainingJob."""
_INHERITED: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables of this process that the toolkit sees; nothing of this repository's."""


class JobStatus(StrEnum):
    """TrainingJobStatus where a job ends, and the secondary one where only its instance does."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    """Ran longer than MaxRuntimeInSeconds."""
    INTERRUPTED = "Interrupted"
    """Its instance was taken away; the job begins again."""


@dataclass(frozen=True)
class Attempt:
    """One instance that works on a job."""

    number: int
    """From 0; higher after an instance was taken away."""
    ml: Path
    """Its `/opt/ml`."""
    log: Path
    """What it has written so far, both streams."""


@dataclass(frozen=True)
class TrainingResult:
    """How a job ended, with the words of DescribeTrainingJob."""

    job: str
    status: JobStatus
    failure_reason: str
    """`AlgorithmError: …, exit code: 1`; empty unless it failed."""
    model: str
    """S3ModelArtifacts: the prefix that holds the files of the model where it completed."""
    attempts: tuple[Attempt, ...]


TakenAway = Callable[[Attempt], bool]
"""Asked 20 times a second while an attempt runs: whether its instance is taken away now."""


def run_training(
    request: Mapping[str, Any],
    scratch: Path,
    environment: Mapping[str, str],
    s3: Any,
    taken_away: TakenAway = lambda _: False,
) -> TrainingResult:
    """Run a job to its end.

    `request`: parameters of CreateTrainingJob. `scratch`: takes a folder for each attempt. `environment`: with which
    boto3 in the container finds S3 (credentials, region, AWS_ENDPOINT_URL). `s3`: a client of boto3. Raises
    RequestInvalid for what is not rehearsed, ExtraMissing without the toolkit.
    """
    _check(request)
    attempts: list[Attempt] = []
    while True:
        folder = scratch / str(request["TrainingJobName"]) / str(len(attempts))
        attempts.append(attempt := Attempt(len(attempts), folder / "ml", folder / "log"))
        if missing := _lay_out(request, attempt.ml, s3):
            return _ended(request, attempts, JobStatus.FAILED, f"ClientError: Data download failed: {missing}")
        status, exit_code = _run(request, attempt, environment, taken_away)
        shutil.rmtree(attempt.ml / "code", ignore_errors=True)  # the unpacked archive, 200 MB
        if checkpoints := _checkpoints(request, attempt.ml):  # half-written files too; nothing in S3 is removed
            send_up(checkpoints, request["CheckpointConfig"]["S3Uri"], s3)
        if status is not JobStatus.INTERRUPTED:
            break
    if status is JobStatus.COMPLETED:
        send_up(attempt.ml / "model", _model_uri(request), s3)
    send_up(attempt.ml / "output" / "data", _output_uri(request, "data"), s3)
    reason = _failure_reason(attempt.ml, exit_code) if status is JobStatus.FAILED else ""
    return _ended(request, attempts, status, reason)


def _check(request: Mapping[str, Any]) -> None:
    """Raise RequestInvalid for what would be done otherwise than asked."""
    if find_spec("sagemaker_training") is None:
        raise ExtraMissing(
            "a training job needs AWS's toolkit, which is not installed.", fix="pip install 'tandem-recommender[test]'"
        )
    if request["OutputDataConfig"].get("CompressionType") != "NONE":
        raise RequestInvalid("the model would be packed.", field="CompressionType", fix="Set it to NONE.")
    if (count := request["ResourceConfig"].get("InstanceCount", 1)) != 1:
        raise RequestInvalid(f"{count} instances are not rehearsed.", field="InstanceCount", fix="Set it to 1.")


def _lay_out(request: Mapping[str, Any], ml: Path, s3: Any) -> str:
    """Make `/opt/ml` with channels and checkpoints; what of the channels is not there."""
    for name in ("model", "output/data", "input/config", "input/data"):
        (ml / name).mkdir(parents=True)
    for name, document in _configuration(request).items():
        (ml / "input" / "config" / f"{name}.json").write_text(json.dumps(document))
    for channel in request.get("InputDataConfig", ()):
        name, uri = channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]
        if not bring_down(uri, ml / "input" / "data" / name, s3):
            return f"no S3 objects under {uri} (channel {name})"
    if folder := _checkpoints(request, ml):
        bring_down(request["CheckpointConfig"]["S3Uri"], folder, s3)
    return ""


def _configuration(request: Mapping[str, Any]) -> dict[str, object]:
    """The documents that the toolkit reads, by name."""
    instance = request["ResourceConfig"].get("InstanceType", "local")
    group = {"instance_group_name": "homogeneousCluster", "instance_type": instance, "hosts": [HOST]}
    channels = request.get("InputDataConfig", ())
    return {
        "hyperparameters": request.get("HyperParameters", {}),
        "inputdataconfig": {
            channel["ChannelName"]: {"TrainingInputMode": channel.get("InputMode", "File")} for channel in channels
        },
        "resourceconfig": {
            "current_host": HOST,
            "hosts": [HOST],
            "current_instance_type": instance,
            "current_group_name": group["instance_group_name"],
            "instance_groups": [group],
            "network_interface_name": "eth0",
        },
    }


def _run(
    request: Mapping[str, Any], attempt: Attempt, environment: Mapping[str, str], taken_away: TakenAway
) -> tuple[JobStatus, int]:
    """How the attempt ended, and the exit status of the toolkit where it ended by itself."""
    until = ends_at(request)
    with attempt.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sagemaker_training.cli.train"],
            cwd=attempt.ml,
            env=_environment(request, attempt.ml, environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while (exit_code := process.poll()) is None:
                if taken_away(attempt):
                    return JobStatus.INTERRUPTED, 0
                if time.monotonic() > until:
                    return JobStatus.STOPPED, 0
                time.sleep(POLL_SECONDS)
        finally:
            kill_group(process.pid)
            process.wait()
    return JobStatus.FAILED if exit_code else JobStatus.COMPLETED, exit_code


def _environment(request: Mapping[str, Any], ml: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What a container of the PyTorch image is told, with its folders where they lie here."""
    told = {name: relocated(value, ml) for name, value in request.get("Environment", {}).items()}
    checkpoints = _checkpoints(request, ml)
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        **environment,
        "SAGEMAKER_TRAINING_MODULE": FRAMEWORK,
        "SAGEMAKER_BASE_DIR": str(ml),
        "SM_STUDIO_LOCAL_MODE": "true",  # no waiting for host names that no DNS knows
        "TRAINING_JOB_NAME": str(request["TrainingJobName"]),
        **({"SM_CHECKPOINT_DIR": str(checkpoints)} if checkpoints else {}),
        **told,
    }


def _checkpoints(request: Mapping[str, Any], ml: Path) -> Path | None:
    """The folder that is mirrored to S3, if any is."""
    if "CheckpointConfig" not in request:
        return None
    return Path(relocated(request["CheckpointConfig"].get("LocalPath", f"{CONTAINER}/checkpoints"), ml))


def _failure_reason(ml: Path, status: int) -> str:
    """As DescribeTrainingJob words it."""
    file = ml / "output" / "failure"
    text = file.read_text(errors="replace")[:REASON_CHARACTERS] if file.is_file() else ""
    return f"AlgorithmError: {text}, exit code: {shell_status(status)}"


def _ended(request: Mapping[str, Any], attempts: list[Attempt], status: JobStatus, reason: str) -> TrainingResult:
    return TrainingResult(str(request["TrainingJobName"]), status, reason, _model_uri(request), tuple(attempts))


def _output_uri(request: Mapping[str, Any], name: str) -> str:
    return f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{request['TrainingJobName']}/output/{name}/"


def _model_uri(request: Mapping[str, Any]) -> str:
    return _output_uri(request, "model")
