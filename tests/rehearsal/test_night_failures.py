"""Nights of the synthesised state machine that fail, each for its reason: what serves goes on serving, people are told
which it is, and the next run goes on. What explains a failure may do that and no more.

The tests are one story in one deployment, in this order: a night is dear.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.numpy import load, save

from contracts.night import Outcome
from index_loader.night.trained import newest_model
from local_mode.rehearsal.deployed import Deployed
from local_mode.rehearsal.faults import NO_CAPACITY, NO_IMAGE, Kill, Meanwhile, NeverBegins
from local_mode.rehearsal.night import Ended
from local_mode.rehearsal.stand_ins import StandIns
from local_mode.rehearsal.synthesis import Assembly
from tests.rehearsal.conftest import Night, recorded
from tests.rehearsal.nights import World, search_domain, world_of
from tests.rehearsal.rights import allowed, calls_of, covers

LET_PASS = ["few-events", "schema"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("record") / "calls.jsonl"


@pytest.fixture(scope="module")
def world(
    assembly: Assembly, standing: StandIns, night_bundle: Path, record: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    bundle = recorded(night_bundle, "recording_night.py", tmp_path_factory.mktemp("recording-night"))
    more = {"RECORD": str(record), "PYTHONPATH": str(Path(__file__).with_name("recorded"))}
    folder = tmp_path_factory.mktemp("world")
    with world_of(assembly, standing, bundle, folder, recorder="recording_night", more=more) as found:
        yield found


def refused(world: World, ended: Ended, code: str, *said: str) -> str:
    """A night that failed as it should, and has told people so; what they were told."""
    served = world.releases.current()
    assert (ended.status, ended.error) == ("FAILED", code), f"{ended.cause}\n{world.nights.logs()[-4000:]}"
    (message,) = world.nights.read_mail()
    assert code in message["Subject"]
    assert message["Message"] == ended.cause
    for text in said:
        assert text in ended.cause
    world.check_whole()
    outcome = world.outcome()
    assert (outcome.outcome, outcome.code) == (Outcome.FAILED, code)
    assert served is None or served.publication.id in ended.cause  # what goes on serving
    return ended.cause


def test_a_night_that_an_operator_stops_keeps_nobody_out(world: World) -> None:
    """Its job is stopped with it; the lease that it leaves is taken over by the next run, which is the test below."""
    execution = world.nights.start()
    while not world.nights.sagemaker.jobs:
        time.sleep(0.05)
    world.nights.stop(execution)
    assert world.nights.follow(execution).status == "ABORTED"
    (job,) = world.nights.sagemaker.jobs.values()
    world.nights.sagemaker.stop(job.name)  # waits for it, too
    assert (job.step, job.status) == ("snapshot", "Stopped")
    lease = world.store.lease()
    assert lease is not None
    assert not lease.released


def test_a_feed_that_broke_and_a_container_that_is_not_there(world: World) -> None:
    """Usual days, and nothing today; let pass, the night comes as far as the next job, whose image nobody can pull."""
    for back in range(2, 7):
        world.day(100, back=timedelta(days=back))
    refused(world, world.run(), "too-few-events", "events came in the last 24 hours", "--accept few-events")
    world.faults.plan("check", NO_IMAGE)
    ended = world.run(accept=["few-events"])
    assert "too-few-events" not in refused(world, ended, "job-failed", "Cannot pull the image")


def test_a_dataset_that_broke_is_named_by_the_doctor(world: World) -> None:
    whole = world.dataset().events
    world.keep(events=whole.with_columns(pl.col("timestamp") + 400 * 86_400))
    ended = world.run(accept=["few-events"])
    refused(world, ended, "dataset-invalid", "events lie in the future", "column timestamp")
    assert world.store.base() is None  # no later night grows from it
    world.keep(events=whole)


def test_another_schema_and_no_machine_and_a_training_that_fails(world: World, night: Night) -> None:
    """Something else serves meanwhile; let pass, no spot machine comes, and the one that is paid fails."""
    night.publish(0, searched=False)
    ended = world.run(accept=["few-events"])
    refused(world, ended, "schema-changed", "is gone", "--accept schema")
    for call in range(1, 4):
        world.faults.plan("train", NO_CAPACITY, call)
    diverged = NeverBegins("AlgorithmError: training-diverged: the loss is not finite., exit code: 1")
    world.faults.plan("train", diverged, 4)
    ended = world.run(accept=LET_PASS)
    refused(world, ended, "training-diverged", "the loss is not finite")
    states = ended.states()
    assert (states.count("TrainSpot"), states.count("TrainOnDemand")) == (3, 1)


def test_somebody_else_publishes_in_the_night(world: World, night: Night) -> None:
    """Gone on with from the training; a part of the load is killed, a second run starts and ends at once."""
    overlapping: list[Ended] = []
    loads = world.faults.calls("load")
    world.faults.plan("seal", Meanwhile(lambda: overlapping.append(world.run())))
    world.faults.plan("load", Kill(after_seconds=0.3))
    world.faults.plan("publish", Meanwhile(lambda: night.publish(1, searched=False)))
    begun = world.store.ids()[-1]
    ended = world.run(begin="train", night=begun, accept=LET_PASS)
    assert [each.error for each in overlapping] == ["night-running"]
    assert f"{begun} has been running since" in overlapping[0].cause
    overlap, conflict = world.nights.read_mail()
    assert "night-running" in overlap["Subject"]
    assert (ended.error, conflict["Message"]) == ("pointer-conflict", ended.cause)
    assert ended.states().count("LoadPart") == 3
    assert world.faults.calls("load") - loads == 4  # three parts, one of them twice
    world.check_whole()
    current = world.releases.current()
    assert current is not None
    assert current.publication.night is None  # what somebody published goes on serving


def test_the_gate_refuses_what_is_worse_and_a_good_one_passes(world: World) -> None:
    begun = world.store.ids()[-1]
    worse = turned_over(world, begun)
    ended = world.run(begin="seal", night=begun, accept=LET_PASS)
    refused(world, ended, "gate-blocked", "popularity tables hold")
    world.store.bucket.delete(worse)
    assert world.published(begin="seal", night=begun, accept=LET_PASS).night == begun


def turned_over(world: World, night: str) -> list[str]:
    """Another training of the night, whose popularity tables are upside down; its keys."""
    bucket = world.store.bucket
    good = newest_model(bucket, night)
    assert good is not None
    bad = good.replace("/output/", "-turned/output/")
    keys = [key for key, _ in bucket.listing(good)]
    for key in keys:
        data = bucket.read(key, 1 << 24).data
        if key.endswith("popularity.safetensors"):
            tables = load(data)
            data = save(tables | {"scores": tables["scores"][::-1].copy()})
        bucket.replace(key.replace(good, bad), data, None, {})
    return [key.replace(good, bad) for key in keys]


def test_what_explains_a_failure_may_do_that_and_no_more(
    world: World, record: Path, assembly: Assembly, standing: StandIns
) -> None:
    deployed = Deployed(assembly, standing)
    statements = allowed(deployed, deployed.night.role_of("fail"))
    calls = calls_of(record, search_domain(deployed))["fail"]
    assert [call for call in calls if not any(covers(*each, call) for each in statements)] == []
    unused = {each for each in statements if not any(covers(*each, call) for call in calls)}
    assert {action for action, _ in unused if not called_by_others(action)} == set()


def called_by_others(action: str) -> Any:
    return action == "s3:ListBucket" or action.partition(":")[0] in ("logs", "xray", "ec2", "s3")
