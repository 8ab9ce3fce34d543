"""Parameters of the jobs of a night, as SageMaker's CreateTrainingJob and CreateProcessingJob take them.

Names that end in `.$` are read from the state of the machine. What is made by the stacks is a placeholder. Pure data;
`definition.py` puts it into tasks.
"""

from __future__ import annotations

from typing import Any, Final

from contracts.night import Step
from contracts.processing_job import CODE_FOLDER, DATASET_FOLDER, ML, SCRATCH
from contracts.processing_job import ENTRY_POINT as PROCESSING_ENTRY_POINT
from infra.night.plan import (
    CODE,
    MULTI_GPU_HYPERPARAMETER,
    PROCESSING_IMAGE,
    REGION,
    TRAINING_IMAGE,
    NightPlan,
    placeholder,
    role_name,
)

Parameters = dict[str, Any]

CHECKPOINTS: Final = f"{ML}/checkpoints"
ENTRY_POINT: Final = "train.py"
LOG_LEVEL: Final = "20"
"""INFO; the toolkit takes the number."""
SERVICE_RETRIES: Final = 2
"""Of a training that SageMaker itself has broken (InternalServerError)."""
READS_DATASET: Final = frozenset({Step.CHECK, Step.GATE, Step.BACKFILL})
"""Processing jobs that get the snapshot as files; the snapshot's own job makes it."""


def job_name(step: Step) -> str:
    """A name of its own for every try, at most 63 characters: `<prefix>-<night>-<step>-<8 hex digits>`."""
    digits = "States.ArrayGetItem(States.StringSplit(States.UUID(), '-'), 0)"
    return f"States.Format('{{}}-{step}-{{}}', $.run.job_prefix, {digits})"


def training_parameters(plan: NightPlan, *, spot: bool) -> Parameters:
    """CreateTrainingJob: script mode over the snapshot; spot and on demand go on from the same checkpoints."""
    machine = plan.training
    stopping = {"MaxRuntimeInSeconds": machine.seconds}
    if spot:
        stopping["MaxWaitTimeInSeconds"] = machine.seconds + plan.spot_wait_seconds
    return {
        "TrainingJobName.$": job_name(Step.TRAIN),
        "RoleArn": placeholder(role_name(Step.TRAIN)),
        "AlgorithmSpecification": {"TrainingImage": placeholder(TRAINING_IMAGE), "TrainingInputMode": "File"},
        "HyperParameters": hyperparameters(plan),
        "InputDataConfig": [
            {
                "ChannelName": "training",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri.$": "$.run.snapshot_uri",
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
        ],
        "OutputDataConfig": {"S3OutputPath.$": "$.run.training_uri", "CompressionType": "NONE"},
        "CheckpointConfig": {"S3Uri.$": "$.run.checkpoints_uri", "LocalPath": CHECKPOINTS},
        "ResourceConfig": {
            "InstanceType": machine.instance,
            "InstanceCount": machine.instances,
            "VolumeSizeInGB": machine.volume_gb,
        },
        "EnableManagedSpotTraining": spot,
        "StoppingCondition": stopping,
        "RetryStrategy": {"MaximumRetryAttempts": SERVICE_RETRIES},
        "Tags": _tags(plan, Step.TRAIN),
    }


def hyperparameters(plan: NightPlan) -> dict[str, str]:
    """What the toolkit is told, and what the training is."""
    told = {
        "sagemaker_program": ENTRY_POINT,
        "sagemaker_submit_directory": placeholder(CODE),
        "sagemaker_region": placeholder(REGION),
        "sagemaker_container_log_level": LOG_LEVEL,
    }
    if MULTI_GPU_HYPERPARAMETER in plan.hyperparameters:
        told["sagemaker_instance_type"] = plan.training.instance
    return {**plan.hyperparameters, **told}


def processing_parameters(plan: NightPlan, step: Step) -> Parameters:
    """CreateProcessingJob: the archive as an input, unpacked and run."""
    machine = plan.processing
    inputs = [_input("code", placeholder(CODE), CODE_FOLDER)]
    if step in READS_DATASET:
        inputs.append(_input("dataset", "$.run.snapshot_uri", DATASET_FOLDER))
    return {
        "ProcessingJobName.$": job_name(step),
        "RoleArn": placeholder(role_name(step)),
        "AppSpecification": {
            "ImageUri": placeholder(PROCESSING_IMAGE),
            "ContainerEntrypoint": [*PROCESSING_ENTRY_POINT],
            "ContainerArguments.$": _arguments(step),
        },
        "Environment": {"TMPDIR": SCRATCH, **{name: value for name, value in plan.settings.to_env().items() if value}},
        "ProcessingInputs": inputs,
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceType": machine.instance,
                "InstanceCount": machine.instances,
                "VolumeSizeInGB": machine.volume_gb,
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": machine.seconds},
        "Tags": _tags(plan, step),
    }


def _arguments(step: Step) -> str:
    dataset = f", '--dataset', '{DATASET_FOLDER}'" if step in READS_DATASET else ""
    return f"States.Array('{step}', '--night', $.run.night, '--token', States.Format('{{}}', $.run.token){dataset})"


def _input(name: str, uri: str, folder: str) -> Parameters:
    where = "S3Uri.$" if uri.startswith("$.") else "S3Uri"
    return {
        "InputName": name,
        "S3Input": {where: uri, "LocalPath": folder, "S3DataType": "S3Prefix", "S3InputMode": "File"},
    }


def _tags(plan: NightPlan, step: Step) -> list[Parameters]:
    """By which a bill is split: jobs are made by the machine, so the stack's own tags do not reach them."""
    return [{"Key": key, "Value": value} for key, value in (("deployment", plan.prefix), ("step", str(step)))]
