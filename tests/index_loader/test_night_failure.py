"""Why a night failed, in one message: from what Lambda, SageMaker and Step Functions really put into an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contracts.errors import LeaseLost
from contracts.night import Decision, NightOutcome, Outcome, Step
from contracts.release import Verdict
from index_loader.night import handler
from index_loader.night.failure import console_link
from index_loader.night.reasons import SHOWN, reason_of
from tests.index_loader.night_world import NightWorld

IMAGE = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.12-cu130-amzn2023-sagemaker"
JOB = "tandem-n000007-20261126"


def function(kind: str, message: str, error: str = "") -> dict[str, str]:
    """The error of a task that calls a function."""
    cause = {"errorMessage": message, "errorType": kind, "requestId": "5f0c", "stackTrace": ["  File …"]}
    return {"Error": error or kind, "Cause": json.dumps(cause)}


def training(reason: str, **more: Any) -> dict[str, str]:
    """The error of a training that was waited for: its whole description."""
    described = {
        "TrainingJobName": f"{JOB}-train-0a1b2c3d",
        "TrainingJobArn": "arn:aws:sagemaker:eu-central-1:123456789012:training-job/x",
        "TrainingJobStatus": "Failed",
        "SecondaryStatus": "Failed",
        "FailureReason": reason,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"effort": '"normal"'},
        "EnableManagedSpotTraining": True,
    }
    return {"Error": "States.TaskFailed", "Cause": json.dumps(described | more)}


def processing(step: str, **more: str) -> dict[str, str]:
    described = {
        "ProcessingJobName": f"{JOB}-{step}-0a1b2c3d",
        "ProcessingJobStatus": "Failed",
        "AppSpecification": {"ImageUri": IMAGE},
    }
    return {"Error": "States.TaskFailed", "Cause": json.dumps(described | more)}


TOOLKIT = (
    'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "  7%|▋ | 3/40 [00:01<00:20]\r'
    'not-enough-data: /opt/ml/input/data/training: no user has two events. Give more history.\n"\n'
    'Command "/usr/local/bin/python3.12 train.py --effort normal", exit code: 1'
)
CRASH = (
    'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "torch.OutOfMemoryError: CUDA out of memory."\n'
    'Command "/usr/local/bin/python3.12 train.py --effort normal", exit code: 1'
)
QUOTA = (
    "The account-level service limit 'ml.g5.xlarge for spot training job usage' is 0 Instances, with current "
    "utilization of 0 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an "
    "increase for this quota. (Service: SageMaker, Status Code: 400, Request ID: 0b1c)"
)
NO_IMAGE = (
    f"Cannot find the requested image: {IMAGE} with tag: 2.12-cu130-amzn2023-sagemaker and digest: null. Please check "
    "if your ECR image exists and role arn:aws:iam::123456789012:role/x has proper pull permissions for SageMaker: "
    "ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer (Service: SageMaker, Status Code: "
    "400)"
)

CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "named failure of a function": (
        {"failed": "Publish", "error": function("PointerConflict", "s3://r/current.json: moved by somebody else.")},
        "pointer-conflict",
        "publish",
        "moved by somebody else",
    ),
    "unnamed failure of a function": (
        {"failed": "Seal", "error": function("KeyError", "'two_tower'")},
        "function-error",
        "seal",
        "KeyError: 'two_tower'",
    ),
    "function out of time": (
        {
            "failed": "LoadPart",
            "error": function("Sandbox.Timedout", "RequestId: 5f Error: Task timed out after 900.00 seconds"),
        },
        "step-timed-out",
        "index",
        "900.00 seconds",
    ),
    "function out of time, as older runtimes say it": (
        {
            "failed": "Verify",
            "error": {
                "Error": "Lambda.Unknown",
                "Cause": "The cause could not be determined because Lambda did not return an error type. Returned "
                'payload: {"errorMessage":"2026-11-26T03:00:00.000Z 5f0c Task timed out after 900.00 seconds"}',
            },
        },
        "step-timed-out",
        "verify",
        "900.00 seconds",
    ),
    "function out of memory": (
        {
            "failed": "Verify",
            "error": function("Runtime.ExitError", "RequestId: 5f Error: Runtime exited with error: signal: killed"),
        },
        "function-died",
        "verify",
        "out of memory",
    ),
    "function throttled": (
        {"failed": "Load", "error": {"Error": "Lambda.TooManyRequestsException", "Cause": "Rate Exceeded."}},
        "step-failed",
        "index",
        "Lambda.TooManyRequestsException: Rate Exceeded.",
    ),
    "training that names its failure through the toolkit": (
        {"failed": "TrainOnDemand", "error": training(TOOLKIT)},
        "not-enough-data",
        "train",
        "/opt/ml/input/data/training: no user has two events. Give more history.",
    ),
    "training that names its failure in its file": (
        {
            "failed": "TrainSpot",
            "error": training("AlgorithmError: training-diverged: the loss is nan. x, exit code: 1"),
        },
        "training-diverged",
        "train",
        "the loss is nan. x",
    ),
    "training that crashes": (
        {"error": training(CRASH)},
        "job-failed",
        "train",
        "torch.OutOfMemoryError: CUDA out of memory.",
    ),
    "no machine": (
        {
            "failed": "TrainOnDemand",
            "error": training(
                "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML "
                "instance type."
            ),
        },
        "no-capacity",
        "train",
        "AWS has no machine of the wanted type free",
    ),
    "quota": (
        {"failed": "TrainSpot", "error": {"Error": "SageMaker.ResourceLimitExceededException", "Cause": QUOTA}},
        "quota-exceeded",
        "train",
        "'ml.g5.xlarge for spot training job usage' is 0 Instances",
    ),
    "image not found at the call": (
        {"failed": "Check", "error": {"Error": "SageMaker.SageMakerException", "Cause": NO_IMAGE}},
        "image-not-found",
        "check",
        f"cannot get the image of the job, {IMAGE} in region eu-central-1.",
    ),
    "image not pulled by the job": (
        {
            "error": training(
                "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are "
                "incorrect."
            )
        },
        "image-not-found",
        "train",
        f"{IMAGE} in region eu-central-1.",
    ),
    "training too long": (
        {"error": training("", TrainingJobStatus="Stopped", SecondaryStatus="MaxRuntimeExceeded", FailureReason=None)},
        "job-timed-out",
        "train",
        "took longer than it may",
    ),
    "processing job that names its failure": (
        {
            "error": processing(
                "snapshot",
                ExitMessage="log-unavailable: s3://d/events/: AccessDenied. Let the role read it.\n",
                FailureReason="AlgorithmError: See job logs for more information",
            )
        },
        "log-unavailable",
        "snapshot",
        "s3://d/events/: AccessDenied. Let the role read it.",
    ),
    "processing job that crashes": (
        {
            "error": processing(
                "gate", FailureReason="AlgorithmError: See job logs for more information, exit code: 137"
            )
        },
        "job-failed",
        "gate",
        "See job logs for more information, exit code: 137",
    ),
    "processing job that SageMaker breaks": (
        {"error": processing("backfill", FailureReason="InternalServerError: We encountered an internal error.")},
        "job-failed",
        "backfill",
        "InternalServerError",
    ),
    "role that may not": (
        {
            "failed": "Snapshot",
            "error": {
                "Error": "SageMaker.AccessDeniedException",
                "Cause": "User: assumed-role/n is not authorized to perform: sagemaker:CreateProcessingJob",
            },
        },
        "access-denied",
        "snapshot",
        "sagemaker:CreateProcessingJob",
    ),
    "task out of time": ({"failed": "Gate", "error": {"Error": "States.Timeout"}}, "step-timed-out", "gate", "longer"),
    "definition at fault": (
        {"failed": "Tell", "error": {"Error": "States.Runtime", "Cause": "The JSONPath '$.x' could not be found."}},
        "step-failed",
        "Tell",
        "JSONPath '$.x'",
    ),
    "named by the state machine itself": (
        {
            "failed": "Merged",
            "error": {"Error": "IndexLoadFailed", "Cause": "The merge has not ended after 240 looks."},
        },
        "index-load-failed",
        "index",
        "240 looks",
    ),
    "verdict that refuses, after an error that was got over": (
        {
            "failed": "Gate",
            "error": {"Error": "SageMaker.ResourceLimitExceededException", "Cause": QUOTA},
            "verdict": {"step": "gate", "decision": "refuse", "code": "gate-blocked", "reason": "r is blocked. worse."},
        },
        "gate-blocked",
        "gate",
        "r is blocked. worse.",
    ),
    "verdict that lets pass is no reason": (
        {
            "failed": "Publish",
            "error": function("LeaseLost", "the lease is gone"),
            "verdict": {"step": "gate", "decision": "go"},
        },
        "lease-lost",
        "publish",
        "the lease is gone",
    ),
    "nothing known": ({}, "night-failed", "", "does not say why"),
    "no state": ({"error": "a text"}, "night-failed", "", "does not say why"),
    "error without anything": ({"error": {}}, "step-failed", "", "No reason given"),
    "cause that is a list": ({"error": {"Error": "E", "Cause": "[1]"}}, "step-failed", "", "E: [1]"),
    "cause nested too deep": ({"error": {"Error": "E", "Cause": "[" * 30_000}}, "step-failed", "", "E: [["),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_is_found(case: str) -> None:
    state, code, step, said = CASES[case]
    reason = reason_of(state)
    assert (reason.code, reason.step) == (code, step)
    assert said in reason.text
    assert "\r" not in reason.text.split(said)[0]
    assert len(reason.text) <= SHOWN + 10


def test_whatever_the_state_is_there_is_a_reason() -> None:
    for state in (None, [], "x", 7, {"run": 3, "verdict": [], "error": None}):
        assert reason_of(state).code == "night-failed"
    assert reason_of({"verdict": {"decision": "refuse"}}).text == "The step says no more."


def test_a_refused_night_ends_with_its_outcome_and_its_lease_given_back(
    world: NightWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.begin_process(service="refused")
    world.begin()
    world.leave_snapshot()
    world.call("seal", model=world.leave_model())
    world.leave_gate(Verdict.BLOCK, Verdict.WARN)
    verdict = {"step": "gate", "decision": "refuse", "code": "gate-blocked", "reason": "check-0: as crafted"}
    told = [world.fail(failed="Gate", verdict=verdict) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0]["code"] == "gate-blocked"
    assert told[0]["subject"] == f"tandem: night {world.night} failed at gate: gate-blocked"
    paragraphs = told[0]["message"].split("\n\n")
    assert paragraphs[:3] == [
        f"Night {world.night} of tandem failed at gate: gate-blocked.",
        "check-0: as crafted",
        "Nothing serves yet.",
    ]
    assert f"`tandem aws run-nightly --from gate --night {world.night}`" in paragraphs[3]
    assert world.execution in told[0]["message"]
    outcome = world.nights.read(world.night, NightOutcome)
    assert (outcome.outcome, outcome.code, outcome.step, outcome.reason) == (
        Outcome.FAILED,
        "gate-blocked",
        Step.GATE,
        "check-0: as crafted",
    )
    lease = world.nights.lease()
    assert lease is not None
    assert lease.released
    (figures,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line]
    assert (figures["NightFailed"], figures["GateBlocked"], figures["GateWarnings"]) == ([1.0], [1.0], [1.0])
    with pytest.raises(LeaseLost):
        world.call("verify")


def test_a_night_that_never_began_says_why_and_touches_nothing(world: NightWorld) -> None:
    world.execution = "arn:aws-cn:states:cn-north-1:123456789012:execution:night:x"
    told = world.fail(failed="Begin", error=function("DatasetError", "s3://d/datasets/: there are 2 datasets: a, b."))
    assert told["subject"] == "tandem: night start failed at Begin: dataset-invalid"
    assert "there are 2 datasets" in told["message"]
    assert "https://cn-north-1.console.amazonaws.cn/states/home" in told["message"]
    assert world.keys("nights/") == []


def test_what_is_told_is_a_subject_of_sns_whatever_the_code(world: NightWorld) -> None:
    world.begin_process(prefix="tändem-" + "x" * 80)
    world.begin()
    told = world.fail(failed="Begin\n", error={"Error": "Übel", "Cause": "é"})
    assert len(told["subject"]) <= 99
    assert told["subject"].isascii()
    assert told["subject"].isprintable()


def test_a_reason_is_told_even_where_no_store_answers(world: NightWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.begin()
    world.leave_verdict(Step.CHECK, Decision.REFUSE)
    world.begin_process(data_bucket="tandem-no-such-bucket", releases_bucket="tandem-no-such-bucket")
    told = world.fail(failed="Check", verdict={"step": "check", "decision": "refuse", "code": "c", "reason": "row 7"})
    assert told["code"] == "c"
    assert "row 7" in told["message"]
    assert "Besides, reading the lease failed: s3://tandem-no-such-bucket/nights/lease.json" in told["message"]
    assert "What served before goes on serving." in told["message"]


@pytest.mark.parametrize("event", [{}, {"execution": None, "state": []}, {"execution": 7, "more": 1}])
def test_the_failure_path_takes_whatever_it_is_given(world: NightWorld, event: dict[str, Any]) -> None:
    assert handler.fail(event)["code"] == "night-failed"


def test_a_link_is_that_of_the_partition() -> None:
    arn = "arn:aws:states:eu-central-1:1:execution:night:x"
    assert console_link(arn) == (
        f"https://eu-central-1.console.aws.amazon.com/states/home?region=eu-central-1#/v2/executions/details/{arn}"
    )
    assert console_link("arn:aws-iso:states:us-iso-east-1:1:execution:night:x") == ""
    assert console_link("laptop") == ""
