"""The states that train: on spare machines while there are any, then on one that is paid in full.

What a job is given is `jobs.py`; `definition.py` puts these between check and seal. Pure data.
"""

from __future__ import annotations

from infra.night.jobs import training_parameters
from infra.night.plan import NightPlan, placeholder
from infra.night.states import (
    JOB_MARGIN_SECONDS,
    SAGEMAKER_SERVICE,
    State,
    States,
    any_of,
    catch,
    count,
    failed,
    no_cause,
    reason,
    retries,
)


def first_training(plan: NightPlan) -> str:
    """The state that training begins with."""
    return "TrainSpot" if plan.spot else "TrainOnDemand"


def train(plan: NightPlan) -> States:
    """On spot machines while there are any, then on one that is paid in full; both go on from the same checkpoints."""
    if not plan.spot:
        return _train_on(plan, "TrainOnDemand", spot=False, without="TrainOnDemandFailed")
    return {
        **_train_on(plan, "TrainSpot", spot=True, without="TrainOnDemand"),
        "TrainOnDemand": _training_task(plan, spot=False, fails="TrainOnDemandFailed"),
        **failed("TrainOnDemand"),
    }


def _train_on(plan: NightPlan, name: str, *, spot: bool, without: str) -> States:
    """A training that is begun again while no machine is to be had, and what is done where none comes.

    One that SageMaker has kept waiting for as long as it may (`MaxWaitTimeExceeded`) has cost hours, and is not begun
    again.
    """
    none_to_be_had = {
        "Or": [
            {"Variable": "$.error.Error", "StringMatches": "SageMaker.ResourceLimitExceeded*"},
            *any_of("$.error.Cause", *reason("CapacityError"), "*Unable to provision*")["Or"],
        ]
    }
    tries_left = {"Variable": "$.tries.capacity", "NumericLessThan": plan.capacity_tries - 1}
    return {
        name: _training_task(plan, spot=spot, fails="NoMachine"),
        "NoMachine": {
            "Type": "Choice",
            "Choices": [
                no_cause(f"{name}Failed"),
                {"Variable": "$.error.Cause", "StringMatches": "*MaxWaitTimeExceeded*", "Next": without},
                {"And": [none_to_be_had, tries_left], "Next": "CountTry"},
                {**none_to_be_had, "Next": without},
            ],
            "Default": f"{name}Failed",
        },
        "CountTry": count("$.tries.capacity", "WaitForMachine"),
        "WaitForMachine": {"Type": "Wait", "Seconds": plan.capacity_wait_seconds, "Next": name},
        **failed(name),
    }


def _training_task(plan: NightPlan, *, spot: bool, fails: str) -> State:
    waits = plan.spot_wait_seconds if spot else 0
    return {
        "Type": "Task",
        "Resource": placeholder("CreateTrainingJob"),
        "Parameters": training_parameters(plan, spot=spot),
        "ResultSelector": {
            "job.$": "$.TrainingJobName",
            "model.$": "$.ModelArtifacts.S3ModelArtifacts",
        },
        "ResultPath": "$.training",
        "TimeoutSeconds": plan.training.seconds + waits + JOB_MARGIN_SECONDS,
        "Retry": [retries(SAGEMAKER_SERVICE, 5, 10)],
        "Catch": [catch(fails)],
        "Next": "Seal",
    }
