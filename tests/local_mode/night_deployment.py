"""A deployment with nights, in moto: a small state machine, its schedule, and what the steps of nights have left.

The machine really runs in moto's Step Functions; its states do nothing but wait and end. What its jobs and functions
would write to the data bucket, the tests write.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

import msgspec

from contracts.night import (
    Decision,
    NightFacts,
    NightOutcome,
    Outcome,
    SnapshotReport,
    Step,
    StepVerdict,
    dataset_listing,
    dataset_prefix,
    night_id,
    snapshot_listing,
)
from local_mode.aws.account import Account
from local_mode.aws.stores import AwsStores
from stores.nights import Nights
from stores.release_files import TRAINING_FACTS

ROLE: Final = "arn:aws:iam::123456789012:role/tandem"
IMAGE: Final = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker"
SCHEDULE: Final = "cron(30 2 * * ? *)"

TRAINING: Final = {
    "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
    "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
    "StoppingCondition": {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 14400},
}
"""Of the job in the definition; no execution of a test gets there."""


def definition(wait_seconds: int = 0, fails: bool = False) -> dict[str, Any]:
    """States in the manner of the deployed ones: some that take time, a choice, and an end."""
    on_spot = {**TRAINING, "EnableManagedSpotTraining": True}
    job = "arn:aws:states:::sagemaker:create{}Job.sync"
    end = {"Type": "Fail", "Error": "gate-blocked", "Cause": "worse"} if fails else {"Type": "Succeed"}
    never = {"Variable": "$.never", "IsPresent": True, "Next": "Snapshot"}
    return {
        "StartAt": "Begin",
        "States": {
            "Begin": {"Type": "Pass", "Next": "Pause"},
            "Pause": {"Type": "Wait", "Seconds": wait_seconds, "Next": "Parts"},
            "Parts": {
                "Type": "Parallel",
                "Branches": [{"StartAt": "Part", "States": {"Part": {"Type": "Pass", "End": True}}}],
                "Next": "From",
            },
            "From": {"Type": "Choice", "Choices": [never], "Default": "Ended"},
            "Snapshot": {
                "Type": "Task",
                "Resource": job.format("Processing"),
                "Parameters": {"Environment": {"TANDEM_DATASET": "world"}},
                "Next": "TrainOnDemand",
            },
            "TrainOnDemand": {
                "Type": "Task",
                "Resource": job.format("Training"),
                "Parameters": TRAINING,
                "Next": "TrainSpot",
            },
            "TrainSpot": {"Type": "Task", "Resource": job.format("Training"), "Parameters": on_spot, "Next": "Ended"},
            "Ended": end,
        },
    }


def night_outputs(account: Account, prefix: str, states: dict[str, Any] | None = None) -> dict[str, str]:
    """Make the machine and the schedule of a deployment; the outputs that name them."""
    client = account.client("stepfunctions")
    made = client.create_state_machine(
        name=f"{prefix}-night", definition=json.dumps(states or definition()), roleArn=ROLE, type="STANDARD"
    )
    arn = made["stateMachineArn"]
    scheduler = account.client("scheduler")
    scheduler.create_schedule_group(Name=prefix)
    scheduler.create_schedule(
        Name="nightly",
        GroupName=prefix,
        Description="The nightly retrain",
        ScheduleExpression=SCHEDULE,
        ScheduleExpressionTimezone="Europe/Berlin",
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        State="ENABLED",
        Target={
            "Arn": arn,
            "RoleArn": ROLE,
            "Input": "{}",
            "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600},
        },
    )
    return {
        "NightStateMachine": arn,
        "NightSchedule": "nightly",
        "NightScheduleGroup": prefix,
        "TrainingRole": ROLE,
        "TrainingImage": IMAGE,
        "TrainingInstance": "ml.m5.xlarge",
        "TrainingInstances": "1",
        "TrainingSpot": "true",
    }


def snapshot_report(night: str, position: str = "2026-11-24") -> SnapshotReport:
    """A report on a small snapshot."""
    return SnapshotReport(
        night=night,
        dataset="world",
        base=None,
        base_events="a",
        catalogue="b",
        read_from="2026-11-20",
        position=position,
        events=10,
        users=2,
        items=3,
        log_events=4,
        new_events=4,
        repeated=0,
        too_old=0,
        newest_event=0,
        unchanged=False,
    )


class PastNights:
    """Writes what the steps of nights leave in the data bucket of a deployment."""

    def __init__(self, stores: AwsStores) -> None:
        self.nights = Nights(stores.data)

    def begun(self, token: int, execution: str = "", begun_at: int | None = None) -> str:
        """A night that has begun, an hour ago."""
        night = night_id(token, "20261126")
        at = int(time.time()) - 3600 if begun_at is None else begun_at
        self.nights.write(
            night, NightFacts(night=night, token=token, execution=execution, dataset="world", begun_at=at)
        )
        return night

    def snapshot(self, night: str, decision: Decision = Decision.GO) -> None:
        """A dataset that was taken, and checked."""
        self.nights.write(night, snapshot_report(night))
        self.nights.bucket.create(snapshot_listing(night), b"{}")
        self.nights.write_verdict(night, StepVerdict(step=Step.SNAPSHOT, decision=Decision.GO))
        self.nights.write_verdict(night, StepVerdict(step=Step.CHECK, decision=decision, reason="items.csv: no id"))
        if decision is Decision.GO:
            self.nights.adopt(night)

    def trained(self, night: str) -> None:
        """A model in the place of the night's training."""
        self.nights.bucket.create(f"nights/{night}/training/job-1/output/model/{TRAINING_FACTS}", b"{}")

    def ended(self, night: str, outcome: Outcome, reason: str = "", seconds: int = 600) -> None:
        """How a night ended, so long after it began."""
        facts = self.nights.read(night, NightFacts)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(facts.begun_at + seconds))
        code = "gate-blocked" if outcome is Outcome.FAILED else ""
        self.nights.write(
            night, NightOutcome(night=night, outcome=outcome, code=code, reason=reason, release="r1", ended_at=moment)
        )

    def seeded(self, name: str = "world") -> None:
        """A dataset that was seeded."""
        self.nights.bucket.create(f"{dataset_prefix(name)}schema.toml", b"")
        self.nights.bucket.create(dataset_listing(name), msgspec.json.encode({}))
