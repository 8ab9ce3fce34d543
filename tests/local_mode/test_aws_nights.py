"""Nights by hand: planned, started, followed and paused, against a state machine that moto runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.errors import DeploymentNotFound, NightIncomplete, NightRunning, RequestInvalid
from contracts.night import Accept, Decision, NightInput, Outcome, Step
from local_mode.aws import night_run, pausing
from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from local_mode.aws.night_history import SHOWN, UNKNOWN, history
from local_mode.aws.night_machine import RUNNING, Execution
from local_mode.aws.night_plan import plan
from local_mode.aws.schedule import Scheduling, next_daily
from local_mode.aws.status import status
from local_mode.aws.stores import AwsStores
from tests.aws import run_machines, stop_execution
from tests.local_mode.aws_deployment import deploy
from tests.local_mode.night_deployment import IMAGE, PastNights, definition, night_outputs

SLOW = 30
"""Seconds that a machine waits that is to be found running."""


@pytest.fixture
def make(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., AwsStores]]:
    """Makes the deployment of a test; what its machine does is said."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    run_machines(moto_endpoint)
    account, prefix = Account(), f"night-{abs(hash(request.node.nodeid)) % 10**8}"

    def made(wait_seconds: int = 0, fails: bool = False, search: str = "") -> AwsStores:
        outputs = night_outputs(account, prefix, definition(wait_seconds, fails))
        deploy(account, prefix, search=search, nights=outputs)
        return AwsStores(Deployment.find(account, prefix), account, tmp_path)

    yield made
    account.close()


def states(stores: AwsStores, arn: str) -> list[str]:
    """What following an execution tells."""
    told = night_run.follow(night_run.machine_of(stores), arn, pause=lambda _seconds: time.sleep(0.05))
    return [entered.state for entered in told]


def test_a_night_is_started_followed_and_its_outcome_told(make: Callable[..., AwsStores]) -> None:
    stores = make(wait_seconds=1)
    machine, past = night_run.machine_of(stores), PastNights(stores)
    execution = night_run.begin(stores, machine, NightInput(accept=(Accept.SCHEMA,)))
    told = stores.account.client("stepfunctions").describe_execution(executionArn=execution.arn)
    assert json.loads(told["input"]) == {"begin": "snapshot", "night": "", "accept": ["schema"]}
    night = past.begun(1, execution.arn)
    past.ended(night, Outcome.PUBLISHED)
    assert states(stores, execution.arn) == ["Parts", "Ended"]  # what waits, passes and chooses is not told
    ended = night_run.ended(stores, machine, execution.arn)
    assert (ended.failed, ended.execution.status) == (False, "SUCCEEDED")
    assert ended.outcome is not None
    assert (ended.outcome.night, ended.outcome.release) == (night, "r1")
    again = night_run.begin(stores, machine, NightInput())  # under another name
    assert again.name != execution.name


def test_states_come_as_they_are_entered_and_each_once(make: Callable[..., AwsStores]) -> None:
    stores = make(wait_seconds=1)
    machine = night_run.machine_of(stores)
    arn = night_run.begin(stores, machine, NightInput()).arn
    looked: list[float] = []

    def pause(_seconds: float) -> None:
        looked.append(time.monotonic())
        time.sleep(0.1)

    told = [(entered.state, len(looked)) for entered in night_run.follow(machine, arn, pause)]
    assert [state for state, _ in told] == ["Parts", "Ended"]
    assert told[0][1] > 2  # nothing was told while it waited
    last = machine.entered(arn, 0)[-1].event
    assert machine.entered(arn, last) == []


def test_a_night_that_fails_says_why_in_one_message(make: Callable[..., AwsStores]) -> None:
    stores = make(fails=True)
    machine, past = night_run.machine_of(stores), PastNights(stores)
    arn = night_run.begin(stores, machine, NightInput()).arn
    assert states(stores, arn)[-1] == "Ended"
    before = night_run.ended(stores, machine, arn)  # it could not even begin
    assert before.failed
    assert before.message == "gate-blocked: worse"
    past.ended(past.begun(1, arn), Outcome.FAILED, "r2 is worse than r1.")
    assert night_run.ended(stores, machine, arn).message == "gate-blocked: r2 is worse than r1."


def test_while_one_runs_no_other_is_started(make: Callable[..., AwsStores]) -> None:
    stores = make(wait_seconds=SLOW)
    machine = night_run.machine_of(stores)
    with pytest.raises(NightIncomplete, match="no night is running"):
        night_run.running(machine)
    execution = night_run.begin(stores, machine, NightInput())
    with pytest.raises(NightRunning, match=execution.name) as caught:
        night_run.begin(stores, machine, NightInput())
    assert "--follow" in caught.value.fix
    assert night_run.running(machine).arn == execution.arn
    planned = plan(stores, machine, NightInput())
    assert [one.name for one in planned.running] == [execution.name]
    assert not planned.can_begin
    machine.stop(execution.arn, "enough")
    stop_execution(stores.account.client("stepfunctions"), execution.arn)
    ended = night_run.ended(stores, machine, execution.arn)
    assert ended.failed
    assert "ABORTED" in ended.message


def test_a_plan_says_what_a_night_would_find(make: Callable[..., AwsStores]) -> None:
    stores = make()
    machine, past = night_run.machine_of(stores), PastNights(stores)
    first = plan(stores, machine, NightInput())
    assert (first.datasets, first.base, first.serving, first.lease, first.can_begin) == ([], None, None, None, False)
    past.seeded()
    past.seeded("another")
    night = past.begun(1)
    past.snapshot(night)
    for day, name in (("2026-11-20", "old"), ("2026-11-23", "before"), ("2026-11-25", "after")):
        past.nights.bucket.create(f"events/dt={day}/{name}", b"x" * 10)
    planned = plan(stores, machine, NightInput())
    assert planned.datasets == ["world"]  # the one that the jobs are told
    assert planned.base == night
    assert (planned.log.day, planned.log.objects, planned.log.bytes) == ("2026-11-24", 2, 20)
    assert planned.training == {
        "image": IMAGE,
        "instance": "ml.m5.xlarge",
        "instances": 1,
        "spot": True,  # the first that is tried
        "max_seconds": 7200,
    }
    assert [step.step for step in planned.steps] == list(Step)
    assert {step.step for step in planned.steps if not step.runs} == {Step.INDEX}  # there is no domain
    assert planned.can_begin
    assert machine.running() == []  # nothing was started by planning


LACKING = {
    Step.SNAPSHOT: [],
    Step.CHECK: ["listing of its snapshot, which snapshot writes"],
    Step.TRAIN: ["which snapshot writes", "a verdict of it that lets pass, which check writes"],
    Step.SEAL: ["which snapshot writes", "which check writes", "a complete model, which train writes"],
    Step.PUBLISH: ["its sealed release", "which gate writes", "its verification, which verify writes"],
    Step.SWEEP: ["its publication, which publish writes"],
}
"""First step → some of what a night without artifacts lacks to begin with it."""


def test_what_a_night_lacks_to_go_on_is_said(make: Callable[..., AwsStores]) -> None:
    stores = make()
    machine, past = night_run.machine_of(stores), PastNights(stores)
    night = past.begun(3)
    for begin, missing in LACKING.items():
        planned = plan(stores, machine, NightInput(begin))
        assert planned.night == ("" if begin is Step.SNAPSHOT else night)
        assert bool(planned.lacks) == bool(missing)
        assert all(any(text in said for said in planned.lacks) for text in missing), (begin, planned.lacks)
        if missing:
            with pytest.raises(NightIncomplete, match=f"cannot go on from {begin}") as caught:
                night_run.begin(stores, machine, NightInput(begin))
            assert f"--night {night}" in caught.value.fix
    assert machine.running() == []


def test_a_night_goes_on_where_its_artifacts_are(make: Callable[..., AwsStores]) -> None:
    stores = make()
    machine, past = night_run.machine_of(stores), PastNights(stores)
    night = past.begun(1)
    past.snapshot(night)
    past.trained(night)
    past.begun(2)  # a newer one, which has nothing
    assert plan(stores, machine, NightInput(Step.SEAL)).lacks
    wanted = NightInput(Step.SEAL, night)
    assert plan(stores, machine, wanted).lacks == []
    arn = night_run.begin(stores, machine, wanted).arn
    told = stores.account.client("stepfunctions").describe_execution(executionArn=arn)
    assert json.loads(told["input"])["night"] == night


def test_what_was_refused_is_no_ground_to_go_on_from(make: Callable[..., AwsStores]) -> None:
    stores = make()
    machine, past = night_run.machine_of(stores), PastNights(stores)
    past.snapshot(past.begun(1), Decision.REFUSE)
    assert plan(stores, machine, NightInput(Step.TRAIN)).lacks == ["a verdict of it that lets pass, which check writes"]
    with pytest.raises(NightIncomplete, match="which check writes"):
        night_run.begin(stores, machine, NightInput(Step.TRAIN))


def test_a_night_that_never_was(make: Callable[..., AwsStores]) -> None:
    stores = make()
    machine = night_run.machine_of(stores)
    with pytest.raises(NightIncomplete, match="no night has begun yet"):
        night_run.begin(stores, machine, NightInput(Step.SEAL))
    for night in ("n000009-20260101", "yesterday"):
        with pytest.raises(RequestInvalid) as caught:
            plan(stores, machine, NightInput(Step.SEAL, night))
        assert "tandem aws status" in caught.value.fix


def test_older_stacks_and_a_machine_that_is_gone_are_named(make: Callable[..., AwsStores]) -> None:
    stores = make()
    older = replace(stores, deployment=replace(stores.deployment, night_state_machine="", night_schedule=""))
    with pytest.raises(DeploymentNotFound, match="lack the output NightStateMachine") as caught:
        night_run.machine_of(older)
    assert "npx cdk deploy" in caught.value.fix
    with pytest.raises(DeploymentNotFound, match="NightSchedule"):
        Scheduling(older.account, older.deployment)
    gone = stores.deployment.night_state_machine + "-gone"
    other = replace(stores, deployment=replace(stores.deployment, night_state_machine=gone, night_schedule="gone"))
    for call in (
        lambda: night_run.machine_of(other).running(),
        lambda: night_run.machine_of(other).definition(),
        lambda: Scheduling(other.account, other.deployment).read(),
    ):
        with pytest.raises(DeploymentNotFound, match="there is no") as caught:
            call()
        assert "npx cdk deploy" in caught.value.fix


def test_nights_are_turned_off_and_on_and_nothing_else_of_the_schedule_changes(make: Callable[..., AwsStores]) -> None:
    stores = make()
    scheduler = stores.account.client("scheduler")
    key = {"Name": stores.deployment.night_schedule, "GroupName": stores.deployment.night_schedule_group}

    def whole() -> dict[str, object]:
        told = scheduler.get_schedule(**key)
        return {name: told[name] for name in told if name not in ("ResponseMetadata", "LastModificationDate")}

    before = whole()
    first, second = pausing.pause(stores), pausing.pause(stores)
    assert (first.changed, second.changed) == (True, False)
    assert whole() == before | {"State": "DISABLED"}
    assert first.schedule.next_run is None
    (found,) = [part for part in status(stores) if part.name == "nights"]
    assert found.ok  # somebody wanted it
    assert "tandem aws resume" in found.found
    assert [pausing.resume(stores)[1], pausing.resume(stores)[1]] == [True, False]
    assert whole() == before
    schedule, _ = pausing.resume(stores)
    assert schedule.next_run is not None
    assert schedule.when.endswith("02:30 Europe/Berlin, or up to 15 minutes later")


def test_a_night_that_runs_is_stopped_only_where_that_is_asked_for(make: Callable[..., AwsStores]) -> None:
    stores = make(wait_seconds=SLOW)
    machine = night_run.machine_of(stores)
    execution = night_run.begin(stores, machine, NightInput())
    assert [one.arn for one in pausing.pause(stores).running] == [execution.arn]
    assert machine.execution(execution.arn).status == RUNNING
    paused = pausing.pause(stores, stop_running=True)
    assert ([one.arn for one in paused.stopped], paused.running) == ([execution.arn], [])
    stop_execution(stores.account.client("stepfunctions"), execution.arn)
    assert machine.execution(execution.arn).status == "ABORTED"


def test_what_cannot_be_paused_is_named_with_what_ends_it(make: Callable[..., AwsStores]) -> None:
    stores = make()
    places = {"": 1, "https://search-x.invalid": 2, "https://vpc-x.invalid": 3}
    for endpoint, n in places.items():
        found = pausing.billed(replace(stores.deployment, search_endpoint=endpoint))
        assert len(found) == n
        assert all(one.end.startswith("npx cdk destroy") and one.why for one in found)


def test_the_next_run_is_told_of_a_schedule_of_every_day() -> None:
    now = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
    assert f"{next_daily('cron(30 2 * * ? *)', 'UTC', now)}" == "2026-11-26 02:30:00+00:00"
    assert f"{next_daily('cron(30 0 * * ? *)', 'UTC', now)}" == "2026-11-27 00:30:00+00:00"
    assert f"{next_daily('cron(30 2 * * ? *)', 'Europe/Berlin', now)}" == "2026-11-26 02:30:00+01:00"  # in 30 minutes
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)  # the night in which the clock is put forward
    assert f"{next_daily('cron(0 4 * * ? *)', 'Europe/Berlin', spring)}" == "2026-03-29 04:00:00+02:00"
    for other in ("rate(1 day)", "cron(0 2 ? * MON-FRI *)", "cron(0/30 2 * * ? *)", "cron(99 99 * * ? *)"):
        assert next_daily(other, "UTC", now) is None
    assert next_daily("cron(0 2 * * ? *)", "Middle/Earth", now) is None


def test_the_last_nights_and_the_age_of_the_last_good_one(make: Callable[..., AwsStores]) -> None:
    stores = make()
    past, now = PastNights(stores), int(time.time())
    told = history(stores)
    assert (told.last, told.success_age_seconds, told.running) == ([], None, [])
    for token in range(1, 11):
        night = past.begun(token, f"arn:{token}", now - (11 - token) * 86_400)
        if token == 10:
            continue  # stopped by hand: it wrote nothing
        good = Outcome.NOTHING_NEW if token == 1 else Outcome.FAILED
        past.ended(night, good, "no events" if good is Outcome.FAILED else "", seconds=1200)
    told = history(stores)
    assert len(told.last) == SHOWN
    assert told.last[0].outcome == UNKNOWN
    assert (told.last[1].outcome, told.last[1].seconds, told.last[1].reason) == ("failed", 1200, "no events")
    assert told.success_age_seconds == pytest.approx(10 * 86_400 - 1200, abs=60)
    (found,) = [part for part in status(stores) if part.name == "nights"]
    assert not found.ok
    assert "unknown" in found.found
    assert "239.7 hours ago" in found.found
    night = past.begun(11, "arn:11", now - 1800)
    past.ended(night, Outcome.PUBLISHED)
    (found,) = [part for part in status(stores) if part.name == "nights"]
    assert found.ok
    assert found.facts["success_age_seconds"] == pytest.approx(1200, abs=60)


def test_a_night_that_is_gone_on_with_counts_as_running(make: Callable[..., AwsStores]) -> None:
    stores = make(wait_seconds=SLOW)
    machine, past = night_run.machine_of(stores), PastNights(stores)
    execution = night_run.begin(stores, machine, NightInput())
    past.ended(past.begun(1, execution.arn), Outcome.FAILED)  # of its first try
    assert history(stores).last[0].outcome == "running"
    machine.stop(execution.arn, "enough")


def test_before_there_were_nights_the_status_says_so(make: Callable[..., AwsStores]) -> None:
    stores = make()
    older = replace(stores, deployment=replace(stores.deployment, night_state_machine=""))
    (found,) = [part for part in status(older) if part.name == "nights"]
    assert found.ok
    assert "npx cdk deploy" in found.found


def test_how_long_an_execution_takes() -> None:
    now = time.time()
    assert Execution("a", "n", RUNNING, now - 60).seconds == pytest.approx(60, abs=1)
    assert Execution("a", "n", "FAILED", now - 60, now - 50).seconds == pytest.approx(10)
