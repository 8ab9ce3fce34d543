"""The kinds of states that a night is made of, each with its retries, its timeout and its way to the failure path.

A task that fails for good leaves `$.error` (Error, Cause) and, by the pass state `<Task>Failed`, its own name in
`$.failed`; then the failure path begins. `definition.py` puts them in order. Pure data.
"""

from __future__ import annotations

from typing import Any, Final

from contracts.night import NIGHTS, Decision, Step
from infra.night.jobs import processing_parameters
from infra.night.plan import DATA_BUCKET, FUNCTION_SECONDS, MINUTE, NightPlan, function_name, placeholder
from stores.nights import verdict_name

State = dict[str, Any]
States = dict[str, State]

EXPLAIN: Final = "Explain"
"""Where the failure path begins."""
LAMBDA_SERVICE: Final = (
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.TooManyRequestsException",
)
"""What AWS advises to try again: the function has not failed, Lambda has."""
TRANSIENT: Final = ("StoreUnavailable", "IndexUnavailable", "ServerUnavailable", "AwsCallFailed")
"""Named failures of ours (`contracts/errors.py`) that pass by themselves; a function's error has its class's name."""
DIED: Final = ("Runtime.ExitError", "Sandbox.Timedout", "States.Timeout", "Lambda.Unknown")
"""A function that was killed or ran out of time. Steps may be run again; one that always dies is not tried often."""
SAGEMAKER_SERVICE: Final = (
    "SageMaker.AmazonSageMakerException",
    "SageMaker.SdkClientException",
    "SageMaker.ThrottlingException",
)
"""A job that could not be created or looked at; what the job itself does is States.TaskFailed."""
S3_SERVICE: Final = ("S3.S3Exception", "S3.SdkClientException", "States.Timeout")
MARGIN_SECONDS: Final = 15
"""That a function's own timeout, which says more, comes before the task's."""
JOB_MARGIN_SECONDS: Final = 30 * MINUTE
"""A job's machine takes minutes to start and its files minutes to come, outside of its run time."""
CALL_SECONDS: Final = MINUTE
"""Of a call that AWS answers at once."""


def retries(errors: tuple[str, ...], attempts: int, seconds: int) -> State:
    """Try again later and later, spread, so that ten parts do not come back in the same second."""
    return {
        "ErrorEquals": [*errors],
        "IntervalSeconds": seconds,
        "MaxAttempts": attempts,
        "BackoffRate": 2,
        "MaxDelaySeconds": 2 * MINUTE,
        "JitterStrategy": "FULL",
    }


def catch(then: str, *errors: str) -> State:
    """Everything, or these errors, goes on there, with what it was in `$.error`."""
    return {"ErrorEquals": [*(errors or ("States.ALL",))], "ResultPath": "$.error", "Next": then}


def failed(name: str) -> States:
    """The pass state that says who failed."""
    return {f"{name}Failed": {"Type": "Pass", "Result": name, "ResultPath": "$.failed", "Next": EXPLAIN}}


def invoke(function: str, payload: State, result: dict[str, str]) -> State:
    """A call of a function, less where it goes: `result` says what of its answer is kept, as name → path."""
    return {
        "Type": "Task",
        "Resource": placeholder("InvokeFunction"),
        "Parameters": {"FunctionName": placeholder(function_name(function)), "Payload": payload},
        "ResultSelector": result,
        "TimeoutSeconds": FUNCTION_SECONDS[function] + MARGIN_SECONDS,
        "Retry": [retries(LAMBDA_SERVICE, 5, 2), retries(TRANSIENT, 4, 10), retries(DIED, 2, 10)],
    }


def told(**more: Any) -> State:
    """What every function but the first and the last is told."""
    return {"night.$": "$.run.night", "token.$": "$.run.token", **more}


def answer(*names: str) -> dict[str, str]:
    """These fields of a function's answer."""
    return {f"{name}.$": f"$.Payload.{name}" for name in names}


def function_task(name: str, payload: State, kept: tuple[str, ...], to: str, then: str) -> States:
    """Call the function of that name, keep fields of its answer at `to`, and go on."""
    state = invoke(name.lower(), payload, answer(*kept))
    return {name: {**state, "ResultPath": to, "Catch": [catch(f"{name}Failed")], "Next": then}, **failed(name)}


def processing_task(plan: NightPlan, step: Step, then: str) -> States:
    """A processing job to its end. One that SageMaker itself has broken is run once more, under another name."""
    name = step.capitalize()
    return {
        name: {
            "Type": "Task",
            "Resource": placeholder("CreateProcessingJob"),
            "Parameters": processing_parameters(plan, step),
            "ResultPath": None,
            "TimeoutSeconds": plan.processing.seconds + JOB_MARGIN_SECONDS,
            "Retry": [retries(SAGEMAKER_SERVICE, 5, 10)],
            "Catch": [catch(f"{name}Again")],
            "Next": then,
        },
        f"{name}Again": {
            "Type": "Choice",
            "Choices": [
                no_cause(f"{name}Failed"),
                {
                    "And": [
                        {"Variable": f"$.repeated.{step}", "BooleanEquals": False},
                        any_of("$.error.Cause", *reason("InternalServerError")),
                    ],
                    "Next": f"{name}Repeated",
                },
            ],
            "Default": f"{name}Failed",
        },
        f"{name}Repeated": {"Type": "Pass", "Result": True, "ResultPath": f"$.repeated.{step}", "Next": name},
        **failed(name),
    }


def reason(code: str) -> tuple[str, str]:
    """Patterns of a job's description in a Cause whose FailureReason begins with this code; ours is elsewhere."""
    return f'*"FailureReason":"{code}*', f'*"FailureReason": "{code}*'


def no_cause(then: str) -> State:
    """An error without a Cause, such as a timeout: a choice that reads what is not there would end the execution."""
    return {"Variable": "$.error.Cause", "IsPresent": False, "Next": then}


def any_of(variable: str, *patterns: str) -> State:
    """Whether a text has one of these forms."""
    return {"Or": [{"Variable": variable, "StringMatches": pattern} for pattern in patterns]}


def read_verdict(step: Step, then: str, nothing_new: str = "") -> States:
    """Read what a step has decided, and do so; a decision that nobody knows is none to go on with.

    S3 gives text, and only a field can hold what it says: a pass state takes it out.
    """
    name = step.capitalize()
    choices = [{"Variable": "$.verdict.decision", "StringEquals": Decision.GO, "Next": then}]
    if nothing_new:
        choices.append({"Variable": "$.verdict.decision", "StringEquals": Decision.STOP, "Next": nothing_new})
    key = f"States.Format('{NIGHTS}{{}}/{verdict_name(step)}', $.run.night)"
    return {
        f"Read{name}": {
            "Type": "Task",
            "Resource": placeholder("GetObject"),
            "Parameters": {"Bucket": placeholder(DATA_BUCKET), "Key.$": key},
            "ResultSelector": {"verdict.$": "States.StringToJson($.Body)"},
            "ResultPath": "$.read",
            "TimeoutSeconds": CALL_SECONDS,
            "Retry": [retries(S3_SERVICE, 5, 2)],
            "Catch": [catch(f"{name}Failed")],
            "Next": f"{name}Verdict",
        },
        f"{name}Verdict": {
            "Type": "Pass",
            "InputPath": "$.read.verdict",
            "ResultPath": "$.verdict",
            "Next": f"{name}Decided",
        },
        f"{name}Decided": {"Type": "Choice", "Choices": choices, "Default": f"{name}Failed"},
    }


def count(counter: str, then: str) -> State:
    """One more. The result is at a path of its own, for `Parameters` makes objects only."""
    name = counter.rpartition(".")[2]
    others = {f"{each}.$": f"$.tries.{each}" for each in ("capacity", "merge") if each != name}
    return {
        "Type": "Pass",
        "Parameters": {f"{name}.$": f"States.MathAdd({counter}, 1)", **others},
        "ResultPath": "$.tries",
        "Next": then,
    }
