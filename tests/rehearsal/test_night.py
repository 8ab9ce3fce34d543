"""Whole nights of the synthesised state machine that end well: the first, one with nothing to do, one on top; and what
their functions and jobs called, against what the stacks allow them.

The tests are one story in one deployment, in this order: a night is dear.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from cli import nightly_rehearsal
from contracts.night import Outcome, SnapshotReport, Step
from local_mode.publishing import StepClock
from local_mode.rehearsal.deployed import Deployed
from local_mode.rehearsal.faults import NO_CAPACITY, TakeAway
from local_mode.rehearsal.newcomers import Shop
from local_mode.rehearsal.night import Ended
from local_mode.rehearsal.seeded import stores_of
from local_mode.rehearsal.serving import behind_a_gateway, functions_of
from local_mode.rehearsal.stand_ins import ACCOUNT, REGION, StandIns
from local_mode.rehearsal.synthesis import Assembly
from local_mode.rehearsal.two_nights import Rehearsal, TwoNights, a_night, on_top
from tests.rehearsal.conftest import recorded
from tests.rehearsal.nights import World, search_domain, world_of
from tests.rehearsal.recording import named, note
from tests.rehearsal.rights import Called, allowed, calls_of, covers

PATH: Final = (
    *("Begin", "Snapshot", "ReadSnapshot", "Check", "ReadCheck", "TrainSpot", "Seal", "Gate", "ReadGate", "Prepare"),
    *("Load", "Merge", "Verify", "Publish", "Backfill", "Sweep", "Finish"),
)
"""The states that do something, in their order."""

UNITS: Final = (
    *("begin", "seal", "prepare", "load", "merge", "merged", "verify", "publish", "sweep", "finish"),
    *(str(step) for step in (Step.SNAPSHOT, Step.CHECK, Step.TRAIN, Step.GATE, Step.BACKFILL)),
)
"""Functions and jobs of a night that ends well."""

NEVER_CALLED: Final = {
    "s3:ListBucket": "no call: with it S3 answers 404, not 403, where something is not there yet",
    "s3:AbortMultipartUpload": "called where a large upload breaks off",
    "ec2": "called by Lambda itself for a function in a VPC",
    "ecr": "called by SageMaker itself, for the image",
    "logs": "called by Lambda and SageMaker themselves, for what is printed",
    "xray": "called by Lambda's daemon",
    "cloudwatch": "called by SageMaker itself, for CPU and memory",
}
"""Action, or its service → why no call is seen."""


RARELY: Final = {
    ("begin", "s3:GetObject", "datasets/*.files.json"): "asked where the deployment names its dataset",
    ("begin", "states:DescribeExecution", ":*"): "asked where another run holds the lease (test_night_failures)",
    ("prepare", "es:ESHttpDelete", "/*"): "an index that did not pass its verification is removed",
    ("prepare", "s3:GetObject", "releases/publications/*"): "unless it is published",
    ("prepare", "s3:GetObject", "releases/current.json"): "unless it is published",
    ("sweep", "es:ESHttpDelete", "/*"): "what is a day old goes, and here nothing is",
    ("sweep", "s3:DeleteObject", "releases/releases/*"): "what is a day old goes, and here nothing is",
    ("sweep", "s3:DeleteObject", "data/snapshots/*"): "what is a day old goes, and here nothing is",
    ("snapshot", "s3:DeleteObject", "data/snapshots/*"): "what a try that was killed has left goes",
    ("check", "s3:GetObject", "releases/current.json"): "asked where the release that served is gone",
    ("gate", "s3:GetObject", "releases/current.json"): "asked where the release that served is gone",
    ("train", "s3:GetObject", "data/datasets/*"): "`tandem aws train` runs under the same role",
    ("train", "s3:GetObject", "data/trainings/*"): "`tandem aws train` runs under the same role",
    ("train", "s3:PutObject", "data/trainings/*"): "`tandem aws train` runs under the same role",
    ("train", "s3:GetObject", "/checkpoints/*"): "written by trainings of more than 30 s (tests/sagemaker)",
    ("train", "s3:PutObject", "/checkpoints/*"): "written by trainings of more than 30 s (tests/sagemaker)",
}
"""(unit, action, end of the ARN) → when it is called, as it is not in these nights."""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where functions, jobs and SageMaker note every call."""
    return tmp_path_factory.mktemp("record") / "calls.jsonl"


@pytest.fixture(scope="module")
def world(
    assembly: Assembly,
    standing: StandIns,
    night_bundle: Path,
    record: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    bundle = recorded(night_bundle, "recording_night.py", tmp_path_factory.mktemp("recording-night"))
    more = {"RECORD": str(record), "PYTHONPATH": str(Path(__file__).with_name("recorded"))}
    options = {"recorder": "recording_night", "more": more, "client_for": noting_client(record)}
    with world_of(assembly, standing, bundle, tmp_path_factory.mktemp("world"), **options) as found:
        yield found


def noting_client(record: Path) -> Any:
    """What SageMaker does with the role of a job, noted under the role."""

    @cache
    def client_for(role: str) -> Any:
        def noted(params: dict[str, Any], model: Any, **_: Any) -> None:
            note(role, "s3", model.name, named(params), record)

        client = boto3.client("s3")
        client.meta.events.register("provide-client-params.s3", noted)
        return client

    return client_for


@pytest.fixture(scope="module")
def rehearsal(
    world: World, serving_bundle: Path, standing: StandIns, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rehearsal]:
    """The same deployment with its API, as `tandem aws nightly-rehearsal` has it."""
    home = tmp_path_factory.mktemp("api")
    with (
        functions_of(serving_bundle, standing, home) as functions,
        behind_a_gateway(functions) as api,
        stores_of(standing, home) as stores,
    ):
        shop = Shop(api.url, world.folder, world.store.bucket)
        yield Rehearsal(world.nights, stores, shop, lambda _: None, lambda _: None)


@pytest.fixture(scope="module")
def done() -> TwoNights:
    return TwoNights()


def working(ended: Ended) -> list[str]:
    """The states that do something, each once, as they were first entered."""
    return [state for state in dict.fromkeys(ended.states()) if state in PATH]


def test_the_first_night_publishes_and_the_api_serves_it(world: World, rehearsal: Rehearsal, done: TwoNights) -> None:
    world.day()
    first = a_night(rehearsal, done)  # raises where it does not end well, or nobody serves it
    assert [state for state in first.states if state in PATH] == list(PATH)
    publication = world.served()
    assert publication.night == first.outcome.night
    assert publication.index is not None
    assert publication.verification["recall"] > 0.9
    known = world.dataset().events["user_id"].value_counts(sort=True)["user_id"][0]
    assert rehearsal.shop.recommend(known)["why"]["route"] == "model"  # the night has written profiles
    assert world.nights.read_mail() == []


def test_a_night_without_anything_new_ends_well_and_says_so(world: World) -> None:
    before = world.served()
    ended = world.run()
    assert (ended.status, working(ended)) == ("SUCCEEDED", ["Begin", "Snapshot", "ReadSnapshot", "Finish"])
    outcome = world.outcome()
    assert (outcome.outcome, outcome.publication) == (Outcome.NOTHING_NEW, None)
    assert outcome.reason  # for people
    assert world.served().id == before.id
    assert world.nights.read_mail() == []


def test_a_night_on_top_trains_on_what_is_new_and_can_be_rolled_back(
    world: World, rehearsal: Rehearsal, done: TwoNights
) -> None:
    """Somebody new and something new come in; no machine is to be had at first, and then it is taken away."""
    (first,) = done.nights
    world.faults.plan("train", NO_CAPACITY)
    world.faults.plan("train", TakeAway(after_seconds=1.0), call=2)
    on_top(rehearsal, done, first, StepClock())  # raises where a promise is broken
    (interrupted,) = (job for job in world.nights.sagemaker.jobs.values() if job.attempts > 1)
    assert (interrupted.step, interrupted.status) == ("train", "Completed")
    snapshot = world.store.read(done.nights[1].outcome.night, SnapshotReport)
    assert snapshot.base == first.outcome.night
    assert snapshot.new_events > 0
    assert world.served().id == first.publication.id


def test_a_later_step_can_be_run_again(world: World) -> None:
    before = world.served()
    ended = world.run(begin="backfill", night=world.store.ids()[-1])
    assert (ended.status, working(ended)) == ("SUCCEEDED", ["Begin", "Backfill", "Sweep", "Finish"])
    assert world.served().id == before.id  # what an operator rolled back to goes on serving


def test_the_command_shows_what_was_seen(done: TwoNights, capsys: pytest.CaptureFixture[str]) -> None:
    nightly_rehearsal.show(False, done)
    shown = capsys.readouterr().out
    for night in done.nights:
        assert night.outcome.night in shown
    assert "the whole night" in shown
    assert "rolled back" in shown
    nightly_rehearsal.show(True, done)
    told = json.loads(capsys.readouterr().out)
    assert [night["outcome"]["outcome"] for night in told["nights"]] == ["published", "published"]
    assert len(told["checked"]) == 14


@pytest.fixture(scope="module")
def called(world: World, record: Path, deployed: Deployed) -> dict[str, set[Called]]:
    """Unit → what it, or SageMaker in its name, needed in the nights above."""
    assert world.store.ids()[1:], "the nights above have not been run"
    calls = calls_of(record, search_domain(deployed))
    steps = {name: job.step for name, job in world.nights.sagemaker.jobs.items()}
    roles = {world.nights.night.role_of(step): step for step in steps.values()}
    found: dict[str, set[Called]] = {}
    for who, needed in calls.items():
        found.setdefault(steps.get(who) or roles.get(who) or who, set()).update(needed)
    return found


@pytest.fixture(scope="module")
def deployed(assembly: Assembly, standing: StandIns) -> Deployed:
    return Deployed(assembly, standing)


@pytest.mark.parametrize("unit", UNITS)
def test_everything_that_is_called_is_allowed(unit: str, called: dict[str, set[Called]], deployed: Deployed) -> None:
    statements = allowed(deployed, deployed.night.role_of(unit))
    assert called[unit]
    assert [call for call in called[unit] if not any(covers(*each, call) for each in statements)] == []


@pytest.mark.parametrize("unit", UNITS)
def test_everything_that_is_allowed_is_called_or_has_its_reason(
    unit: str, called: dict[str, set[Called]], deployed: Deployed
) -> None:
    statements = allowed(deployed, deployed.night.role_of(unit))
    unused = {each for each in statements if not any(covers(*each, call) for call in called[unit])}
    unused = {each for each in unused if not _is_called_by_others(each[0])}
    rare = {(action, end) for (which, action, end) in RARELY if which == unit}
    assert {each for each in unused if not any(_is(each, *one) for one in rare)} == set()
    assert {one for one in rare if not any(_is(each, *one) for each in unused)} == set()  # no reason for nothing


def _is_called_by_others(action: str) -> bool:
    return action in NEVER_CALLED or action.partition(":")[0] in NEVER_CALLED


def _is(each: tuple[str, str], action: str, end: str) -> bool:
    return each[0] == action and each[1].endswith(end)


def test_the_state_machine_may_do_what_it_does_and_nothing_else(world: World, deployed: Deployed) -> None:
    """Read from the histories of the executions above."""
    statements = allowed(deployed, deployed.night.role)
    needed = set(_calls_of_the_machine(world))
    assert {call.action for call in needed} >= {"lambda:InvokeFunction", "s3:GetObject", "iam:PassRole"}
    assert [call for call in needed if not any(covers(*each, call) for each in statements)] == []


def _calls_of_the_machine(world: World) -> Iterator[Called]:
    states = world.nights.states
    for execution in states.list_executions(stateMachineArn=world.nights.machine)["executions"]:
        for event in states.get_execution_history(executionArn=execution["executionArn"])["events"]:
            if event["type"] == "TaskScheduled":
                details = event["taskScheduledEventDetails"]
                yield from _needed_for(details["resourceType"], json.loads(details["parameters"]))


def _needed_for(service: str, parameters: dict[str, Any]) -> Iterator[Called]:
    if service == "lambda":
        yield Called("lambda:InvokeFunction", parameters["FunctionName"])
    elif service == "sns":
        yield Called("sns:Publish", parameters["TopicArn"])
    elif service == "aws-sdk:s3":
        yield Called("s3:GetObject", f"arn:aws:s3:::{parameters['Bucket']}/{parameters['Key']}")
    else:
        kind = "Training" if "TrainingJobName" in parameters else "Processing"
        arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind.lower()}-job/{parameters[f'{kind}JobName']}"
        yield from (Called(f"sagemaker:{action}{kind}Job", arn) for action in ("Create", "Describe", "Stop"))
        yield Called("sagemaker:AddTags", arn)
        yield Called("iam:PassRole", parameters["RoleArn"])
