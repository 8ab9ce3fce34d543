"""One training in SageMaker from a laptop, started by the ModelTrainer of SageMaker's SDK.

The SDK uploads the archive of the jobs and scripts of its own, which unpack it and start `train.py` with the variables
that SageMaker's toolkit sets too. Its import takes five seconds: it happens in `start`. `job_watch.py` watches
the job; `tandem aws train` prints what both return.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.errors import AwsCallFailed, BundleNotBuilt, ExtraMissing, RequestInvalid
from contracts.night import TRAININGS
from contracts.training_image import INSTANCE_PATTERN, has_gpu, needs_torchrun
from local_mode.aws.account import Account, naming_aws_failures
from local_mode.aws.deployment import Deployment
from local_mode.aws.training_image import default_image
from local_mode.aws.training_source import Source, next_command
from training_job.settings import TrainingSettings

ARCHIVE: Final = Path("build/jobs/sourcedir.tar.gz")
"""What `make build` makes of this checkout; the SDK tells an archive by the end of its name."""
ENTRY_SCRIPT: Final = "train.py"
CHANNEL: Final = "training"
"""Of the dataset: SM_CHANNEL_TRAINING in the container."""
RUN_SECONDS: Final = 24 * 3600
"""Longest that a job may train: SageMaker's own default; what hangs costs a day."""
SPOT_WAIT_SECONDS: Final = 2 * 3600
"""Longest that it may wait for spot capacity besides."""
VOLUME_GB: Final = 50
"""Dataset, checkpoints and model of a million items, five times over."""
_ROLE_CHECK: Final = "SAGEMAKER_VALIDATE_ROLE"
"""The SDK holds a role against a list that knows no single bucket; ours may do less, and that is enough."""
_NO_TELEMETRY: Final = {
    "SchemaVersion": "1.0",
    "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}},
}
"""A configuration of the SDK: whose training it is, and how long it takes, is nobody's business."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained, and on what."""

    source: Source
    settings: TrainingSettings
    image: str
    instance: str
    instances: int = 1
    spot: bool = True
    archive: Path = ARCHIVE

    def __post_init__(self) -> None:
        if not re.fullmatch(INSTANCE_PATTERN, self.instance):
            raise RequestInvalid(
                f"{self.instance!r} is no training instance.", field="instance", fix="Give one such as ml.m5.xlarge."
            )
        if not self.archive.name.endswith(".tar.gz") or not self.archive.is_file():
            raise BundleNotBuilt(
                f"{self.archive}: there is no archive of the training's code.",
                fix="Run `make build` in the checkout, and this command there, or name the archive: --code.",
            )


@dataclass(frozen=True)
class Started:
    """A training that SageMaker has taken."""

    job: str
    model: str
    """`s3://…/` where the model will lie."""
    image: str
    instance: str
    instances: int
    spot: bool
    hyperparameters: dict[str, str]
    next: str
    """The command that goes on once it is done."""


def image_for(deployment: Deployment, region: str, instance: str) -> str:
    """The image that trains on an instance: the deployed one, or AWS's of the other kind of processor.

    Raises RequestInvalid where that is not known in a region.
    """
    gpu = has_gpu(instance)
    if gpu == has_gpu(deployment.training_instance):
        return deployment.training_image
    if (found := default_image(region, gpu=gpu)) is None:
        raise RequestInvalid(
            f"{instance} {'has' if gpu else 'has no'} GPU, and the deployed image is for the other kind.",
            field="image",
            fix="Name one with --image.",
        )
    return found.address


def start(account: Account, deployment: Deployment, request: Request) -> Started:
    """Hand a training to SageMaker. Raises ExtraMissing, RequestInvalid, AwsCallFailed, DeploymentNotFound."""
    deployment.needed("training_role")
    with _quietly(), naming_aws_failures():
        job = _train(account, deployment, request)
    model = f"{request.source.output}{job}/output/model/"
    return Started(
        job,
        model,
        request.image,
        request.instance,
        request.instances,
        request.spot,
        request.settings.to_hyperparameters(),
        next_command(request.source, model),
    )


def _train(account: Account, deployment: Deployment, request: Request) -> str:
    """The name that the SDK gives the job."""
    try:
        from boto3.exceptions import Boto3Error
        from sagemaker.core.helper.session_helper import Session
        from sagemaker.train.configs import InputData, SourceCode
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "`tandem aws train` needs the SDK of SageMaker, which is not installed.",
            fix="pip install 'tandem-recommender[nightly]' (700 MB)",
        ) from error
    session = Session(
        boto_session=account.session, default_bucket=deployment.data_bucket, sagemaker_config=_NO_TELEMETRY
    )
    try:
        trainer = _trainer()(
            sagemaker_session=session,
            role=deployment.training_role,
            base_job_name=f"{deployment.prefix}-train",
            input_s3_key_prefix=TRAININGS.rstrip("/"),
            training_image=request.image,
            source_code=SourceCode(source_dir=str(request.archive), entry_script=ENTRY_SCRIPT),
            hyperparameters=dict(request.settings.to_hyperparameters()),
            **_machines(deployment, request),
        )
        trainer.train([InputData(channel_name=CHANNEL, data_source=request.source.uri)], wait=False, logs=False)
    except ValueError as error:  # so the SDK, and pydantic in it, call what they cannot take
        raise RequestInvalid(f"SageMaker's SDK refuses it: {error}", fix="Correct the option that it names.") from error
    except Boto3Error as error:  # of an upload
        raise AwsCallFailed(f"{error}", fix="Let this principal write to the data bucket.") from error
    return str(trainer._latest_training_job.training_job_name)


def _trainer() -> Any:
    """ModelTrainer, with code and scripts always in the bucket of the session.

    The SDK asks IAM whether the role may write everywhere in it, and would else lay them below the output: ours may
    not, and reads nothing there.
    """
    from sagemaker.train import ModelTrainer

    class Trainer(ModelTrainer):  # type: ignore[misc]  # the SDK ships no types
        def _resolve_staging_bucket(self) -> tuple[str, None]:
            return self.sagemaker_session.default_bucket(), None

    return Trainer


def _machines(deployment: Deployment, request: Request) -> dict[str, Any]:
    """On what it runs, for how long, and where it writes: the arguments of ModelTrainer for that."""
    from sagemaker.core.shapes import CheckpointConfig, OutputDataConfig, StoppingCondition
    from sagemaker.train.configs import Compute
    from sagemaker.train.distributed import Torchrun

    waits = {"max_wait_time_in_seconds": RUN_SECONDS + SPOT_WAIT_SECONDS} if request.spot else {}
    moment = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    return {
        "compute": Compute(
            instance_type=request.instance,
            instance_count=request.instances,
            volume_size_in_gb=VOLUME_GB,
            enable_managed_spot_training=request.spot,
        ),
        "distributed": Torchrun() if needs_torchrun(request.instance, request.instances) else None,
        "stopping_condition": StoppingCondition(max_runtime_in_seconds=RUN_SECONDS, **waits),
        "output_data_config": OutputDataConfig(s3_output_path=request.source.output, compression_type="NONE"),
        "checkpoint_config": CheckpointConfig(
            s3_uri=f"s3://{deployment.data_bucket}/{TRAININGS}checkpoints/{moment}-{os.urandom(4).hex()}"
        ),
    }


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the SDK's check of the role, and without the warnings of what it imports."""
    before = os.environ.get(_ROLE_CHECK)
    os.environ[_ROLE_CHECK] = "false"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ[_ROLE_CHECK]
        else:
            os.environ[_ROLE_CHECK] = before
