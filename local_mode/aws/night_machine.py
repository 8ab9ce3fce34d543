"""The state machine of a deployment: what it is made of, which nights run, starting one and watching it.

Knows Step Functions, nothing of what a night leaves in the data bucket. `night_run.py`, `night_plan.py`, `schedule.py`
and `night_history.py` work through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import msgspec

from contracts.errors import DeploymentNotFound
from contracts.night import NightInput
from local_mode.aws.account import Account, error_code, naming_aws_failures

RUNNING: Final = "RUNNING"
SUCCEEDED: Final = "SUCCEEDED"
_PAGE_EVENTS: Final = 1_000
"""All that one call takes; a whole night has some hundreds."""
_WORK: Final = (
    "TaskStateEntered",
    "MapStateEntered",
    "ParallelStateEntered",
    "FailStateEntered",
    "SucceedStateEntered",
)
"""States that take time or end it; a choice, a pass and a wait between two polls are noise."""
_NESTED: Final = ("Iterator", "ItemProcessor", "Branches")
"""Where a state has states of its own."""


@dataclass(frozen=True)
class Execution:
    """A run of the state machine."""

    arn: str
    name: str
    status: str
    """Of Step Functions: RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED or PENDING_REDRIVE."""
    begun_at: float
    """Unix seconds."""
    ended_at: float | None = None
    error: str = ""
    cause: str = ""

    @property
    def seconds(self) -> float:
        """How long it has taken, or takes by now."""
        return (datetime.now(UTC).timestamp() if self.ended_at is None else self.ended_at) - self.begun_at


@dataclass(frozen=True)
class Entered:
    """A state that an execution has come to."""

    event: int
    """Number in the execution's history."""
    state: str
    at: float
    """Unix seconds."""


@dataclass(frozen=True)
class Definition:
    """What is deployed: the states of the machine, as far as they start jobs."""

    training: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the first training that is tried."""
    processing: tuple[Mapping[str, Any], ...] = ()
    """Parameters of each processing job."""

    @property
    def facts(self) -> dict[str, Any]:
        """What trains: image, instance, how many, and whether on spot capacity."""
        resources = self.training.get("ResourceConfig", {})
        return {
            "image": self.training.get("AlgorithmSpecification", {}).get("TrainingImage", ""),
            "instance": resources.get("InstanceType", ""),
            "instances": resources.get("InstanceCount", 1),
            "spot": bool(self.training.get("EnableManagedSpotTraining", False)),
            "max_seconds": self.training.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 0),
        }

    def variable(self, name: str) -> str:
        """A variable that processing jobs are given; empty where none is."""
        values = (job.get("Environment", {}).get(name, "") for job in self.processing)
        return next((str(value) for value in values if value), "")


class NightMachine:
    """The state machine. Every method raises AwsCallFailed; DeploymentNotFound where it has been deleted."""

    def __init__(self, account: Account, arn: str) -> None:
        self._account, self.arn = account, arn

    def definition(self) -> Definition:
        """What is deployed."""
        with self._naming():
            text = self._client.describe_state_machine(stateMachineArn=self.arn)["definition"]
        states = list(_states(msgspec.json.decode(text)))
        trainings, processing = _jobs(states, "createTrainingJob"), _jobs(states, "createProcessingJob")
        trainings.sort(key=lambda job: not job.get("EnableManagedSpotTraining"))  # on demand is the last resort
        return Definition(trainings[0] if trainings else {}, tuple(processing))

    def running(self) -> list[Execution]:
        """What runs now, the newest first."""
        with self._naming():
            found = self._client.list_executions(stateMachineArn=self.arn, statusFilter=RUNNING)["executions"]
        return [_execution(one) for one in found]

    def start(self, wanted: NightInput) -> Execution:
        """Begin a night under a name of its own."""
        name = f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
        with self._naming():
            started = self._client.start_execution(
                stateMachineArn=self.arn, name=name, input=msgspec.json.encode(wanted).decode()
            )
        return Execution(started["executionArn"], name, RUNNING, started["startDate"].timestamp())

    def execution(self, arn: str) -> Execution:
        """How an execution is by now."""
        with self._naming():
            return _execution(self._client.describe_execution(executionArn=arn))

    def stop(self, arn: str, reason: str) -> None:
        """End an execution and the job that it waits for."""
        with self._naming():
            self._client.stop_execution(executionArn=arn, error="stopped", cause=reason)

    def entered(self, arn: str, after: int) -> list[Entered]:
        """States that do something, entered since the event of number `after`, in order.

        The history is read from its end, and no further back than that.
        """
        found: dict[int, Entered] = {}
        with self._naming():
            for event in self._events(arn):
                if event["id"] > after and event["type"] in _WORK:
                    name = event["stateEnteredEventDetails"]["name"]
                    found[event["id"]] = Entered(event["id"], name, event["timestamp"].timestamp())
                if event["id"] == after:
                    break
        return [found[number] for number in sorted(found)]

    def _events(self, arn: str) -> Iterator[dict[str, Any]]:
        """The history of an execution, the newest event first."""
        wanted = {"executionArn": arn, "reverseOrder": True, "maxResults": _PAGE_EVENTS, "includeExecutionData": False}
        more: dict[str, str] = {}
        while True:
            page = self._client.get_execution_history(**wanted, **more)
            yield from sorted(page["events"], key=lambda event: -event["id"])
            if not page.get("nextToken"):
                return
            more = {"nextToken": page["nextToken"]}

    @property
    def _client(self) -> Any:
        return self._account.client("stepfunctions")

    def _naming(self) -> AbstractContextManager[None]:
        return _naming_failures(self.arn)


@contextmanager
def _naming_failures(arn: str) -> Iterator[None]:
    from botocore.exceptions import ClientError

    with naming_aws_failures():
        try:
            yield
        except ClientError as error:
            if error_code(error) != "StateMachineDoesNotExist":
                raise
            raise DeploymentNotFound(
                f"there is no state machine {arn}.", fix="`npx cdk deploy --all` makes it again."
            ) from error


def _execution(told: dict[str, Any]) -> Execution:
    ended = told.get("stopDate")
    return Execution(
        told["executionArn"],
        told["name"],
        told["status"],
        told["startDate"].timestamp(),
        ended.timestamp() if ended else None,
        told.get("error") or "",
        told.get("cause") or "",
    )


def _jobs(states: list[dict[str, Any]], action: str) -> list[Mapping[str, Any]]:
    """What the states that start such a job give to it."""
    return [state.get("Parameters", {}) for state in states if action in str(state.get("Resource", ""))]


def _states(definition: Any) -> Iterator[dict[str, Any]]:
    """Every state with what is nested in it, in the order in which they are written."""
    if isinstance(definition, list):
        for branch in definition:
            yield from _states(branch)
        return
    for state in definition.get("States", {}).values():
        yield state
        for name in _NESTED:
            if name in state:
                yield from _states(state[name])
