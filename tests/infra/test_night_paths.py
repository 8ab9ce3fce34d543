"""The definition of a night, run by moto's interpreter: which states are entered, whatever functions and jobs answer.

Functions and jobs are stand-ins that say what they are told to; every request for a job is held against SageMaker's own
model, under the longest names that a deployment may have. What the steps really do is rehearsed in `tests/rehearsal`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final
from unittest.mock import patch
from uuid import uuid4

import boto3
import pytest
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser

from contracts.night import NIGHTS, Step
from infra.context import read_deployment
from infra.night.construct import plan_of
from infra.night.definition import definition
from infra.night.plan import CALLS, NightPlan, functions_of, placeholder, placeholders
from local_mode.rehearsal.faults import NO_CAPACITY
from local_mode.rehearsal.moto_private import Answer, Refused, state_machines_at_work
from local_mode.rehearsal.sagemaker_rules import check
from tests.aws import REGION
from tests.infra.synthesis import cdk_context

NIGHT: Final = "n000007-20261126"
PREFIX: Final = "a" * 28
"""The longest that a deployment may have."""
RUN: Final = {
    "night": NIGHT,
    "token": 7,
    "job_prefix": f"{PREFIX}-{NIGHT}",
    "snapshot_uri": f"s3://data/snapshots/{NIGHT}/",
    "training_uri": f"s3://data/nights/{NIGHT}/training/",
    "checkpoints_uri": f"s3://data/nights/{NIGHT}/checkpoints/",
    "release": {"release": "r1", "indexed": True},
}
BROKEN: Final = "InternalServerError: We encountered an internal error. Please try again."
INDEX: Final = "Prepare Load LoadPart LoadPart Merge IsMerged CountLook WaitForMerge Merged IsMerged"
TO_GATE: Final = (
    "Night Begin Resume From Snapshot ReadSnapshot SnapshotVerdict SnapshotDecided Check ReadCheck CheckVerdict "
    "CheckDecided TrainSpot Seal Gate ReadGate GateVerdict GateDecided"
)
END: Final = "Publish Backfill Sweep Finish Ended"
FAILS: Final = "Explain Tell Failed"


@dataclass
class Played:
    """What functions and jobs answer, and what they were asked."""

    answers: dict[str, Any] = field(default_factory=dict)
    """Function → its answer, or (error, message)."""
    broken: dict[str, list[str]] = field(default_factory=dict)
    """Step → FailureReason of its first tries, one each."""
    refused: Counter[str] = field(default_factory=Counter)
    """Step → how many jobs cannot be created, for the quota is used up."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    s3: Any = None

    def invoke(self, called: str, event: str) -> Answer:
        """See `moto_private.Invoke`."""
        name, told = called.rpartition(":")[2], json.loads(event)
        self.calls.append((name, told))
        answer = self.answers.get(name, _ANSWERS[name])
        answer = answer(told, sum(name == each for each, _ in self.calls)) if callable(answer) else answer
        if isinstance(answer, tuple):
            return Answer(json.dumps({"errorType": answer[0], "errorMessage": answer[1]}), failed=True)
        return Answer(json.dumps(answer), failed=False)

    def create(self, action: str, request: dict[str, Any]) -> str:
        """See `moto_private.Jobs`."""
        check(action, request, self.s3)
        name = next(str(request[each]) for each in ("TrainingJobName", "ProcessingJobName") if each in request)
        step = name.rsplit("-", 2)[-2]
        if self.refused[step] > 0:
            self.refused[step] -= 1
            raise Refused("SageMaker.ResourceLimitExceededException", "The account-level service limit is 0.")
        self.requests[name] = request
        return name

    def ended(self, name: str) -> dict[str, Any]:
        """See `moto_private.Jobs`; asked once for each job."""
        model = {"S3ModelArtifacts": f"{RUN['training_uri']}{name}/output/model"}
        told: dict[str, Any] = {"TrainingJobName": name, "ModelArtifacts": model}
        if reasons := self.broken.get(name.rsplit("-", 2)[-2]):
            told["FailureReason"] = self.failed[name] = reasons.pop(0)
        return told

    def succeeded(self, name: str) -> bool:
        """See `moto_private.Jobs`."""
        return name not in self.failed

    def stop(self, name: str) -> None:
        """See `moto_private.Jobs`."""

    def told(self, function: str) -> list[dict[str, Any]]:
        """Every event that a function was called with."""
        return [event for name, event in self.calls if name == function]


class Stage:
    """Where one after the other plays: an interpreted definition keeps whom it was first given."""

    played = Played()

    def invoke(self, called: str, event: str) -> Answer:
        return self.played.invoke(called, event)

    def create(self, action: str, request: dict[str, Any]) -> str:
        return self.played.create(action, request)

    def ended(self, name: str) -> dict[str, Any]:
        return self.played.ended(name)

    def succeeded(self, name: str) -> bool:
        return self.played.succeeded(name)

    def stop(self, name: str) -> None:
        self.played.stop(name)


_ANSWERS: Final[dict[str, Any]] = {
    "begin": lambda told, _: {**RUN, "begin": told["input"].get("begin", "snapshot")},
    "seal": {"release": "r1", "indexed": True},
    "prepare": {"index": "r1-1", "parts": [0, 1]},
    "load": lambda told, _: {"loaded": told["part"]},
    "merge": {"task": "t1", "done": False},
    "merged": {"task": "t1", "done": True},
    "verify": {"verified": True},
    "publish": {"publication": "p1"},
    "sweep": {"releases": 0, "indexes": 0, "snapshots": 0},
    "finish": lambda told, _: {"outcome": told["outcome"]},
    "fail": {"subject": "it failed", "message": "for this reason", "code": "a-reason"},
}


@dataclass(frozen=True)
class Ended:
    """An execution to its end."""

    status: str
    error: str
    entered: str
    output: dict[str, Any]
    told: list[tuple[str, str]]
    """(subject, message) that the topic got."""


@pytest.fixture(scope="module")
def plan(built: dict[str, str]) -> NightPlan:
    return plan_of(read_deployment({**cdk_context(), **built, "profile": "dev", "prefix": PREFIX, "dataset": "shop"}))


Runs = Callable[..., Ended]


@pytest.fixture(scope="module")
def run(moto_endpoint: str, plan: NightPlan) -> Iterator[Runs]:
    """Run a night: `run(played, verdicts, **input)`."""
    clients = {name: boto3.client(name, endpoint_url=moto_endpoint) for name in ("s3", "sns", "stepfunctions")}
    place = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
    clients["s3"].create_bucket(Bucket="data", **place)
    clients["s3"].put_object(Bucket="data", Key=f"snapshots/{NIGHT}/schema.toml", Body=b"")
    topic = clients["sns"].create_topic(Name="nights")["TopicArn"]
    stage = Stage()
    role = f"arn:aws:iam::{'1' * 12}:role/machine"

    @cache
    def machine(text: str) -> str:
        made = clients["stepfunctions"].create_state_machine(name=uuid4().hex, definition=text, roleArn=role)
        return str(made["stateMachineArn"])

    def to_the_end(
        played: Played, verdicts: dict[str, str] | None = None, plan: NightPlan = plan, **given: Any
    ) -> Ended:
        played.s3, stage.played = clients["s3"], played
        for step in (Step.SNAPSHOT, Step.CHECK, Step.GATE):
            verdict = {"step": step, "decision": (verdicts or {}).get(step, "go"), "code": "a-code", "reason": "so"}
            key = f"{NIGHTS}{NIGHT}/{step}.verdict.json"
            clients["s3"].put_object(Bucket="data", Key=key, Body=json.dumps(verdict).encode())
        before = len(_notified(topic))
        done = _ended(clients["stepfunctions"], machine(_filled(plan, topic)), given)
        return replace(done, told=_notified(topic)[before:])

    parsed_once = patch.object(AmazonStateLanguageParser, "parse", cache(AmazonStateLanguageParser.parse))
    with parsed_once, state_machines_at_work(moto_endpoint, stage.invoke, stage, hurry=0.0):  # a second each time
        yield to_the_end
    for client in clients.values():
        client.close()


def _filled(plan: NightPlan, topic: str) -> str:
    account = "1" * 12
    values = {name: f"s3://data/{name}" for name in placeholders(plan)}
    values |= {name: f"arn:aws:states:::{call}" for name, call in CALLS.items()}
    values |= {
        f"{each.capitalize()}Function": f"arn:aws:lambda:{REGION}:{account}:function:{each}"
        for each in functions_of(plan)
    }
    values |= {name: f"arn:aws:iam::{account}:role/{name}" for name in values if name.endswith("Role")}
    values |= {"Topic": topic, "DataBucket": "data", "Region": REGION, "CodeArchive": "s3://assets/4711.gz"}
    text = json.dumps(definition(plan))
    for name, value in values.items():
        text = text.replace(placeholder(name), value)
    assert "${" not in text
    return text


def _ended(client: Any, machine: str, given: dict[str, Any]) -> Ended:
    execution = client.start_execution(stateMachineArn=machine, name=uuid4().hex, input=json.dumps(given))
    until = time.monotonic() + 60
    while (found := client.describe_execution(executionArn=execution["executionArn"]))["status"] == "RUNNING":
        assert time.monotonic() < until, "it does not end"
        time.sleep(0.02)
    history = client.get_execution_history(executionArn=execution["executionArn"], maxResults=1_000)["events"]
    entered = [each["stateEnteredEventDetails"]["name"] for each in history if "stateEnteredEventDetails" in each]
    output = json.loads(found.get("output", "{}"))
    return Ended(found["status"], found.get("error", ""), " ".join(entered), output, [])


def _notified(topic: str) -> list[tuple[str, str]]:
    from moto.sns.models import sns_backends

    account, region = topic.split(":")[4], topic.split(":")[3]
    return [(each[2], each[1]) for each in sns_backends[account][region].topics[topic].sent_notifications]


def test_a_night_goes_from_the_log_to_the_sweep(run: Runs) -> None:
    played = Played()
    ended = run(played)
    assert (ended.status, ended.entered) == ("SUCCEEDED", f"{TO_GATE} Indexed {INDEX} Verify {END}")
    assert ended.told == []
    (begin,) = played.told("begin")
    assert begin["execution"].startswith("arn:aws:states:")
    assert begin["input"] == {}
    loads = sorted(played.told("load"), key=lambda event: event["part"])
    assert loads == [{"night": NIGHT, "token": 7, "part": part} for part in (0, 1)]
    (seal,) = played.told("seal")
    assert seal["model"].startswith(RUN["training_uri"])
    assert played.told("finish") == [{"night": NIGHT, "token": 7, "outcome": "published", "reason": ""}]


def test_jobs_are_told_the_night_and_where_its_files_are(run: Runs) -> None:
    played = Played()
    run(played)
    by_step = {name.rsplit("-", 2)[-2]: request for name, request in played.requests.items()}
    assert list(by_step) == ["snapshot", "check", "train", "gate", "backfill"]
    assert max(map(len, played.requests)) == 63
    dataset = ["--dataset", "/opt/ml/processing/input/dataset"]
    for step in ("snapshot", "check", "gate", "backfill"):
        arguments = by_step[step]["AppSpecification"]["ContainerArguments"]
        wanted = [step, "--night", NIGHT, "--token", "7"]
        assert arguments == (wanted if step == "snapshot" else [*wanted, *dataset])
        assert by_step[step]["Environment"]["TANDEM_DATASET"] == "shop"
        assert by_step[step]["ProcessingInputs"][0]["S3Input"]["S3Uri"] == "s3://assets/4711.gz"
    training = by_step["train"]
    assert training["EnableManagedSpotTraining"] is True
    assert training["OutputDataConfig"] == {"S3OutputPath": RUN["training_uri"], "CompressionType": "NONE"}
    assert training["CheckpointConfig"]["S3Uri"] == RUN["checkpoints_uri"]
    assert training["HyperParameters"]["sagemaker_submit_directory"] == "s3://assets/4711.gz"


def test_a_small_catalogue_needs_no_index(run: Runs) -> None:
    ended = run(Played({"seal": {"release": "r1", "indexed": False}}))
    assert ended.entered == f"{TO_GATE} Indexed Verify {END}"


def test_without_a_domain_it_is_not_even_asked(run: Runs, plan: NightPlan) -> None:
    assert run(Played(), plan=replace(plan, indexed=False)).entered == f"{TO_GATE} Verify {END}"


@pytest.mark.parametrize(
    ("begin", "entered"),
    [
        ("seal", f"Seal {TO_GATE.partition('Seal ')[2]} Indexed {INDEX} Verify {END}"),
        ("index", f"Indexed {INDEX} Verify {END}"),
        ("publish", END),
    ],
)
def test_a_night_is_gone_on_with_from_a_later_step(run: Runs, begin: str, entered: str) -> None:
    played = Played()
    ended = run(played, begin=begin)
    assert (ended.status, ended.entered) == ("SUCCEEDED", f"Night Begin Resume From {entered}")
    assert [each["model"] for each in played.told("seal")] in ([], [""]), "none: it finds the newest itself"


def test_nothing_new_ends_a_night_well(run: Runs) -> None:
    played = Played()
    ended = run(played, {"snapshot": "stop"})
    assert (ended.status, ended.told) == ("SUCCEEDED", [])
    assert ended.entered.endswith("SnapshotDecided NothingNew Finish Ended")
    assert played.told("finish") == [{"night": NIGHT, "token": 7, "outcome": "nothing-new", "reason": "so"}]


@pytest.mark.parametrize(("step", "decision"), [("snapshot", "refuse"), ("gate", "whatever that is")])
def test_a_refusal_ends_a_night_and_people_are_told(run: Runs, step: str, decision: str) -> None:
    played = Played()
    ended = run(played, {step: decision})
    name = step.capitalize()
    assert (ended.status, ended.error) == ("FAILED", "a-reason")
    assert ended.entered.endswith(f"{name}Decided {name}Failed {FAILS}")
    assert ended.told == [("it failed", "for this reason")]
    (fail,) = played.told("fail")
    assert (fail["state"]["failed"], fail["state"]["verdict"]["reason"]) == (name, "so")


@pytest.mark.parametrize("function", ["begin", "load", "finish"])
def test_a_named_failure_is_not_tried_again(run: Runs, function: str) -> None:
    played = Played({function: ("LeaseLost", "another night holds it")})
    ended = run(played, begin="index")
    name = function.capitalize()
    assert (ended.status, ended.error) == ("FAILED", "a-reason")
    assert ended.entered.endswith(f"{name}Failed {FAILS}")
    assert len(played.told(function)) <= 2, "two parts are loaded at once"
    (fail,) = played.told("fail")
    assert (fail["state"]["failed"], fail["state"]["error"]["Error"]) == (name, "LeaseLost")


@pytest.mark.parametrize("error", ["StoreUnavailable", "Runtime.ExitError"])
def test_what_passes_by_itself_is_tried_again(run: Runs, error: str) -> None:
    def publish(_: Any, times: int) -> Any:
        return (error, "not now") if times < 3 else {"publication": "p1"}

    played = Played({"publish": publish})
    assert run(played, begin="publish").status == "SUCCEEDED"
    assert len(played.told("publish")) == 3


def test_spare_machines_are_waited_for_and_one_is_paid_in_full_in_the_end(run: Runs, plan: NightPlan) -> None:
    played = Played(broken={"train": [NO_CAPACITY.reason] * plan.capacity_tries})
    again = "NoMachine CountTry WaitForMachine TrainSpot "
    ended = run(played)
    assert f"TrainSpot {again * (plan.capacity_tries - 1)}NoMachine TrainOnDemand Seal" in ended.entered
    spot = [each["EnableManagedSpotTraining"] for each in played.requests.values() if "CheckpointConfig" in each]
    assert spot == [True] * plan.capacity_tries + [False]
    assert (
        len({each["CheckpointConfig"]["S3Uri"] for each in played.requests.values() if "CheckpointConfig" in each}) == 1
    )


def test_a_quota_that_is_used_up_is_no_machine_either(run: Runs) -> None:
    ended = run(Played(refused=Counter(train=1)))
    assert "TrainSpot NoMachine CountTry WaitForMachine TrainSpot Seal" in ended.entered


def test_a_training_that_has_waited_for_as_long_as_it_may_is_not_begun_again(run: Runs) -> None:
    ended = run(Played(broken={"train": ["it waits: MaxWaitTimeExceeded"]}))
    assert "TrainSpot NoMachine TrainOnDemand Seal" in ended.entered


def test_a_training_that_fails_is_not_tried_again(run: Runs) -> None:
    played = Played(broken={"train": ["AlgorithmError: TrainingDiverged: training-diverged"]})
    ended = run(played)
    assert ended.entered.endswith(f"TrainSpot NoMachine TrainSpotFailed {FAILS}")
    assert "training-diverged" in played.told("fail")[0]["state"]["error"]["Cause"]


def test_a_job_that_sagemaker_has_broken_is_run_once_more(run: Runs) -> None:
    assert "Check CheckAgain CheckRepeated Check ReadCheck" in run(Played(broken={"check": [BROKEN]})).entered
    ended = run(Played(broken={"check": [BROKEN, BROKEN]}))
    assert ended.entered.endswith(f"CheckRepeated Check CheckAgain CheckFailed {FAILS}")


def test_a_job_that_fails_by_our_own_hand_is_not(run: Runs) -> None:
    ended = run(Played(broken={"snapshot": ["AlgorithmError: store-unavailable: InternalServerError of S3"]}))
    assert ended.entered.endswith(f"Snapshot SnapshotAgain SnapshotFailed {FAILS}")


def test_an_index_that_does_not_pass_is_built_once_more_from_nothing(run: Runs) -> None:
    def verify(_: Any, times: int) -> Any:
        return ("VerificationFailed", "recall is 0.2") if times == 1 else {"verified": True}

    played = Played({"verify": verify})
    assert run(played).entered == f"{TO_GATE} Indexed {INDEX} Verify BuiltAnew BuildAnew {INDEX} Verify {END}"
    assert [each["fresh"] for each in played.told("prepare")] == [False, True]
    ended = run(Played({"verify": ("VerificationFailed", "recall is 0.2")}))
    assert ended.entered.endswith(f"BuildAnew {INDEX} Verify BuiltAnew VerifyFailed {FAILS}")


def test_a_release_without_an_index_that_does_not_pass_is_not_built_again(run: Runs) -> None:
    played = Played({"seal": {"release": "r1", "indexed": False}, "verify": ("VerificationFailed", "parity")})
    assert run(played).entered.endswith(f"Verify BuiltAnew VerifyFailed {FAILS}")


def test_a_merge_that_does_not_end_is_given_up(run: Runs, plan: NightPlan) -> None:
    played = Played({"merged": {"task": "t1", "done": False}})
    ended = run(played, plan=replace(plan, polls=3))
    assert ended.entered.endswith(f"Merged IsMerged MergeTooSlow MergedFailed {FAILS}")
    assert len(played.told("merged")) == 3
    assert "3 looks" in played.told("fail")[0]["state"]["error"]["Cause"]


def test_where_no_reason_is_found_people_are_told_everything(run: Runs) -> None:
    ended = run(Played({"seal": ("StorageFull", "no room"), "fail": ("SettingsInvalid", "TANDEM_DATA_BUCKET")}))
    assert (ended.status, ended.error) == ("FAILED", "night-failed")
    assert ended.entered.endswith("SealFailed Explain Unexplained Tell Failed")
    ((subject, message),) = ended.told
    assert "explaining it failed, too" in subject
    assert len(subject) < 100
    for part in (NIGHT, "StorageFull", "no room", "Seal", "SettingsInvalid"):
        assert part in message
