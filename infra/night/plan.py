"""What a night's definition is made from: sizes, times, and the names that only a deploy can put values to.

Pure data without CDK, so that a test or a rehearsal makes the same definition. `construct.py` fills one from the
Deployment; `definition.py` and `jobs.py` read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from contracts.night import Step
from contracts.night_settings import NightSettings

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE

FUNCTION_SECONDS: Final = {
    "begin": MINUTE,
    "seal": 15 * MINUTE,
    "prepare": 5 * MINUTE,
    "load": 15 * MINUTE,
    "merge": MINUTE,
    "merged": 15 * MINUTE,
    "verify": 15 * MINUTE,
    "publish": 15 * MINUTE,
    "sweep": 15 * MINUTE,
    "finish": MINUTE,
    "fail": 5 * MINUTE,
}
"""Function of a night → its timeout. 15 minutes, Lambda's most, where it reads or writes a whole release; a minute
where it moves a document; five in between, for a domain or a bucket that is slow."""
INDEX_FUNCTIONS: Final = ("prepare", "load", "merge", "merged")
"""Only where there is a search domain."""
PROCESSING_STEPS: Final = (Step.SNAPSHOT, Step.CHECK, Step.GATE, Step.BACKFILL)
"""Steps that need pyarrow or torch, and so a job."""
MULTI_GPU_HYPERPARAMETER: Final = "sagemaker_torch_distributed_enabled"
"""Makes SageMaker's toolkit start one process a GPU, by torchrun."""

NIGHT_SECONDS: Final = 20 * HOUR
"""Of the whole: the next night starts 24 hours after this one, and takes over where this one has been stopped."""


def placeholder(name: str) -> str:
    """A name that CloudFormation puts a value to (`DefinitionSubstitutions`)."""
    return "${" + name + "}"


def function_name(function: str) -> str:
    """The placeholder's name of a function's ARN."""
    return f"{function.capitalize()}Function"


def role_name(step: Step) -> str:
    """The placeholder's name of the ARN of a job's role."""
    return f"{step.capitalize()}Role"


CALLS: Final = {
    "InvokeFunction": "lambda:invoke",
    "CreateTrainingJob": "sagemaker:createTrainingJob.sync",
    "CreateProcessingJob": "sagemaker:createProcessingJob.sync",
    "GetObject": "aws-sdk:s3:getObject",
    "Publish": "sns:publish",
}
"""What a task does → the end of its resource's ARN, which begins with the partition."""
REGION, TOPIC, DATA_BUCKET = "Region", "Topic", "DataBucket"
RELEASES_BUCKET, PROFILES_TABLE, LIVE_TABLE = "ReleasesBucket", "ProfilesTable", "LiveTable"
CODE, TRAINING_IMAGE, PROCESSING_IMAGE = "CodeArchive", "TrainingImage", "ProcessingImage"


def placeholders(plan: NightPlan) -> set[str]:
    """Every name that a definition of this plan leaves open."""
    roles = {role_name(step) for step in (*PROCESSING_STEPS, Step.TRAIN)}
    functions = {function_name(each) for each in functions_of(plan)}
    stores = {DATA_BUCKET, RELEASES_BUCKET, PROFILES_TABLE, LIVE_TABLE}
    return {*CALLS, REGION, TOPIC, CODE, TRAINING_IMAGE, PROCESSING_IMAGE, *stores, *roles, *functions}


def functions_of(plan: NightPlan) -> list[str]:
    """The functions that this plan calls."""
    return [each for each in FUNCTION_SECONDS if plan.indexed or each not in INDEX_FUNCTIONS]


@dataclass(frozen=True)
class Machine:
    """What a job runs on, and how long at most."""

    instance: str
    volume_gb: int
    seconds: int
    instances: int = 1


@dataclass(frozen=True)
class NightPlan:
    """One night's sizes and times."""

    prefix: str
    """Of the deployment; names of jobs begin with it."""
    training: Machine
    processing: Machine
    settings: NightSettings
    """Of the jobs, with placeholders for what is made by the stacks."""
    hyperparameters: dict[str, str] = field(default_factory=dict)
    """Of the training, as strings."""
    indexed: bool = True
    """Whether there is a search domain to load."""
    spot: bool = True
    spot_wait_seconds: int = HOUR
    """Longest that a spot training may wait, before it begins and where it is interrupted, on top of its own time."""
    capacity_tries: int = 3
    """Trainings that are begun in vain, for no machine is to be had, before a machine is paid in full."""
    capacity_wait_seconds: int = 10 * MINUTE
    """Between these: spot capacity comes back within minutes, or not this night."""
    poll_seconds: int = 30
    """Between two looks at the merge of an index."""
    polls: int = 240
    """Looks at a merge before it is given up: two hours; a million items take minutes."""
    parallel_loads: int = 2
    """Parts of an index that are loaded at once."""
