"""The night as a state machine, in the order in which it runs; ASL with JSONPath, as pure data.

    Begin → Snapshot → Check → Train → Seal → Gate → [Prepare → Load → Merge] → Verify → Publish → Backfill → Sweep
    → Finish

It can be begun at any of these (`$.run.begin`). The three that judge leave a verdict, which is read and followed:
go on, end well for there is nothing new, or end and tell people. Every failure takes the one path at the end. The state
between steps is small: `$.run` (what Begin said), `$.training`, `$.release`, `$.index`, `$.verdict`, `$.error`,
`$.failed`, and counters; everything else lies in the data bucket. `construct.py` deploys it, a rehearsal runs it.
"""

from __future__ import annotations

from typing import Any, Final

from contracts.night import Outcome, Step
from infra.night.plan import NIGHT_SECONDS, TOPIC, NightPlan, placeholder
from infra.night.states import (
    CALL_SECONDS,
    EXPLAIN,
    States,
    answer,
    catch,
    count,
    failed,
    function_task,
    invoke,
    processing_task,
    read_verdict,
    retries,
    told,
)
from infra.night.training import first_training, train

FIRST: Final = "Night"
RUN: Final = ("night", "token", "begin", "job_prefix", "snapshot_uri", "training_uri", "checkpoints_uri", "release")
"""What Begin answers; `release` as Seal does, where a night is gone on with behind that."""


def definition(plan: NightPlan) -> dict[str, Any]:
    """The state machine, with placeholders (`plan.placeholders`) for what only a deploy knows."""
    return {
        "Comment": f"The night of {plan.prefix}: log and catalogue to a published release",
        "StartAt": FIRST,
        "TimeoutSeconds": NIGHT_SECONDS,
        "States": {
            **_begin(plan),
            **processing_task(plan, Step.SNAPSHOT, "ReadSnapshot"),
            **read_verdict(Step.SNAPSHOT, "Check", nothing_new="NothingNew"),
            **processing_task(plan, Step.CHECK, "ReadCheck"),
            **read_verdict(Step.CHECK, first_training(plan)),
            **train(plan),
            **function_task(
                "Seal", told(**{"model.$": "$.training.model"}), ("release", "indexed"), "$.release", "Gate"
            ),
            **processing_task(plan, Step.GATE, "ReadGate"),
            **read_verdict(Step.GATE, _after_gate(plan)),
            **(_index(plan) if plan.indexed else {}),
            **_verify(plan),
            **function_task("Publish", told(), ("publication",), "$.publication", "Backfill"),
            **processing_task(plan, Step.BACKFILL, "Sweep"),
            **function_task("Sweep", told(), ("releases", "indexes", "snapshots"), "$.swept", "Finish"),
            **_finish(),
            **_failure(),
        },
    }


def _begin(plan: NightPlan) -> States:
    """Take the lease, and go to the step that is asked for."""
    state = {
        "input.$": "$",
        "training": {"model": ""},
        "fresh": False,
        "tries": {"capacity": 0, "merge": 0},
        "repeated": {str(step): False for step in (Step.SNAPSHOT, Step.CHECK, Step.GATE, Step.BACKFILL)},
        "end": {"outcome": Outcome.PUBLISHED, "reason": ""},
    }
    payload = {"execution.$": "$$.Execution.Id", "input.$": "$.input"}
    first = {step: str(step.capitalize()) for step in Step if step is not Step.SNAPSHOT}
    first |= {Step.TRAIN: first_training(plan), Step.INDEX: _after_gate(plan)}
    return {
        FIRST: {"Type": "Pass", "Parameters": state, "Next": "Begin"},
        **function_task("Begin", payload, RUN, "$.run", "Resume"),
        "Resume": {"Type": "Pass", "InputPath": "$.run.release", "ResultPath": "$.release", "Next": "From"},
        "From": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.run.begin", "StringEquals": step, "Next": state} for step, state in first.items()
            ],
            "Default": "Snapshot",
        },
    }


def _after_gate(plan: NightPlan) -> str:
    return "Indexed" if plan.indexed else "Verify"


def _index(plan: NightPlan) -> States:
    """Load a catalogue that is too large for a function into the domain: parts at once, then one merge."""
    return {
        "Indexed": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.release.indexed", "BooleanEquals": True, "Next": "Prepare"}],
            "Default": "Verify",
        },
        **function_task("Prepare", told(**{"fresh.$": "$.fresh"}), ("index", "parts"), "$.index", "Load"),
        **_load(plan),
        **function_task("Merge", told(), ("task", "done"), "$.merge", "IsMerged"),
        "IsMerged": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.merge.done", "BooleanEquals": True, "Next": "Verify"},
                {"Variable": "$.tries.merge", "NumericLessThan": plan.polls, "Next": "CountLook"},
            ],
            "Default": "MergeTooSlow",
        },
        "CountLook": count("$.tries.merge", "WaitForMerge"),
        "WaitForMerge": {"Type": "Wait", "Seconds": plan.poll_seconds, "Next": "Merged"},
        **function_task("Merged", told(**{"task.$": "$.merge.task"}), ("task", "done"), "$.merge", "IsMerged"),
        "MergeTooSlow": {
            "Type": "Pass",
            "Result": {
                "Error": "IndexLoadFailed",
                "Cause": f"The merge of the index has not ended after {plan.polls} looks, {plan.poll_seconds} s apart.",
            },
            "ResultPath": "$.error",
            "Next": "MergedFailed",
        },
    }


def _load(plan: NightPlan) -> States:
    """Every part by a call of its own; one that fails for good ends the map, and the night."""
    payload = {"night.$": "$.night", "token.$": "$.token", "part.$": "$.part"}
    part = {**invoke("load", payload, answer("loaded")), "End": True}
    return {
        "Load": {
            "Type": "Map",
            "ItemsPath": "$.index.parts",
            "ItemSelector": told(**{"part.$": "$$.Map.Item.Value"}),
            "MaxConcurrency": plan.parallel_loads,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "LoadPart",
                "States": {"LoadPart": part},
            },
            "ResultPath": None,
            "Catch": [catch("LoadFailed")],
            "Next": "Merge",
        },
        **failed("Load"),
    }


def _verify(plan: NightPlan) -> States:
    """An index that does not do what it promises is built once more, from nothing, before people are told."""
    states = function_task("Verify", told(), ("verified",), "$.verified", "Publish")
    if not plan.indexed:
        return states
    states["Verify"]["Catch"].insert(0, catch("BuiltAnew", "VerificationFailed"))
    return {
        **states,
        "BuiltAnew": {
            "Type": "Choice",
            "Choices": [
                {
                    "And": [
                        {"Variable": "$.release.indexed", "BooleanEquals": True},
                        {"Variable": "$.fresh", "BooleanEquals": False},
                    ],
                    "Next": "BuildAnew",
                }
            ],
            "Default": "VerifyFailed",
        },
        "BuildAnew": {"Type": "Pass", "Result": True, "ResultPath": "$.fresh", "Next": "Prepare"},
    }


def _finish() -> States:
    """Say what became of the night, and give the lease back."""
    end = {"outcome": Outcome.NOTHING_NEW, "reason.$": "$.verdict.reason"}
    payload = told(**{"outcome.$": "$.end.outcome", "reason.$": "$.end.reason"})
    return {
        "NothingNew": {"Type": "Pass", "Parameters": end, "ResultPath": "$.end", "Next": "Finish"},
        **function_task("Finish", payload, ("outcome",), "$.finished", "Ended"),
        "Ended": {"Type": "Succeed"},
    }


def _failure() -> States:
    """Find the reason, undo, tell people, fail under the reason's code. Where no reason is found, tell everything."""
    payload = {"execution.$": "$$.Execution.Id", "state.$": "$"}
    everything = {
        "code": "night-failed",
        "subject": "Tandem: a night failed, and explaining it failed, too",
        "message.$": "States.JsonToString($)",
    }
    return {
        EXPLAIN: {
            **invoke("fail", payload, answer("subject", "message", "code")),
            "ResultPath": "$.told",
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.unexplained", "Next": "Unexplained"}],
            "Next": "Tell",
        },
        "Unexplained": {"Type": "Pass", "Parameters": everything, "ResultPath": "$.told", "Next": "Tell"},
        "Tell": {
            "Type": "Task",
            "Resource": placeholder("Publish"),
            "Parameters": {
                "TopicArn": placeholder(TOPIC),
                "Subject.$": "$.told.subject",
                "Message.$": "$.told.message",
            },
            "ResultPath": None,
            "TimeoutSeconds": CALL_SECONDS,
            "Retry": [retries(("States.ALL",), 5, 2)],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.untold", "Next": "Failed"}],
            "Next": "Failed",
        },
        "Failed": {"Type": "Fail", "ErrorPath": "$.told.code", "CausePath": "$.told.message"},
    }
