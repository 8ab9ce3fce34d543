"""The nights of a deployment, at work on this machine: the synthesised state machine over the stand-ins for AWS.

moto's Step Functions interpret it, SageMaker's jobs and the functions are run as far as their contracts run anywhere
(`sagemaker.py`, `functions.py`), and what people are told arrives in a queue. It does not know what a night does; it
starts, watches and stops one. `tandem aws nightly-rehearsal`, the soak and the tests call it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from contracts.errors import VerificationFailed
from local_mode.rehearsal.deployed import Deployed, Night
from local_mode.rehearsal.faults import Faults
from local_mode.rehearsal.functions import Functions, functions_at_work
from local_mode.rehearsal.moto_private import state_machines_at_work
from local_mode.rehearsal.sagemaker import ClientFor, SageMaker
from local_mode.rehearsal.stand_ins import REGION, StandIns

HURRY: Final = 0.02
"""A wait of half a minute, for spot machines or the merge of an index, is half a second: nobody else is waited for."""
_LOOK_EVERY_SECONDS: Final = 0.1
_MESSAGES: Final = 10
"""All that one call to the queue gives."""


@dataclass(frozen=True)
class Passage:
    """Something that an execution did."""

    state: str
    what: str
    """entered, left, or failed."""
    seconds: float
    """Since it was entered."""
    detail: str = ""
    """Name of the error where it failed."""


@dataclass(frozen=True)
class Ended:
    """How an execution ended."""

    execution: str
    status: str
    """SUCCEEDED, FAILED, ABORTED or TIMED_OUT."""
    error: str
    cause: str
    passages: tuple[Passage, ...]

    def states(self) -> list[str]:
        """In the order in which they were entered."""
        return [passage.state for passage in self.passages if passage.what == "entered"]

    def seconds(self) -> dict[str, float]:
        """State → seconds in it, all visits together."""
        found: dict[str, float] = {}
        for passage in self.passages:
            if passage.what == "left":
                found[passage.state] = round(found.get(passage.state, 0.0) + passage.seconds, 2)
        return found


@dataclass
class Nights:
    """A deployment's nights."""

    night: Night
    sagemaker: SageMaker
    functions: Functions
    faults: Faults
    states: Any
    """Client of Step Functions."""
    machine: str
    """ARN of the state machine."""
    _queues: Any
    _inbox: str

    def start(self, told: Mapping[str, Any] | None = None) -> str:
        """Begin a night as the schedule does, or as an operator; ARN of the execution."""
        started = self.states.start_execution(
            stateMachineArn=self.machine, name=f"night-{uuid4().hex[:12]}", input=json.dumps(told or {})
        )
        return str(started["executionArn"])

    def run(self, told: Mapping[str, Any] | None = None, see: Callable[[Passage], None] = lambda _: None) -> Ended:
        """A whole night, seen state by state."""
        return self.follow(self.start(told), see)

    def follow(self, execution: str, see: Callable[[Passage], None] = lambda _: None) -> Ended:
        """Watch an execution to its end."""
        passages: list[Passage] = []
        watch = _Watch()
        while True:
            found = self.states.describe_execution(executionArn=execution)
            events = self.states.get_execution_history(executionArn=execution)["events"]
            for passage in watch.read(events):
                passages.append(passage)
                see(passage)
            if found["status"] != "RUNNING":
                break
            time.sleep(_LOOK_EVERY_SECONDS)
        return Ended(execution, found["status"], found.get("error", ""), found.get("cause", ""), tuple(passages))

    def stop(self, execution: str) -> None:
        """As an operator stops a night."""
        self.states.stop_execution(executionArn=execution)

    def read_mail(self) -> list[dict[str, Any]]:
        """What people have been told since it was last read, as SNS delivers it."""
        found: list[dict[str, Any]] = []
        while got := self._queues.receive_message(QueueUrl=self._inbox, MaxNumberOfMessages=_MESSAGES).get("Messages"):
            for message in got:
                found.append(json.loads(message["Body"]))
                self._queues.delete_message(QueueUrl=self._inbox, ReceiptHandle=message["ReceiptHandle"])
        return found

    def logs(self) -> str:
        """What functions and jobs have written."""
        return self.functions.log() + "".join(f"--- {job.name}\n{job.log}" for job in self.sagemaker.jobs.values())


class _Watch:
    """Reads the history of an execution as it grows."""

    def __init__(self) -> None:
        self._read = 0
        self._entered: dict[str, list[datetime]] = {}
        self._last = ""

    def read(self, events: list[dict[str, Any]]) -> Iterator[Passage]:
        """What is new in it."""
        new, self._read = events[self._read :], len(events)
        for event in new:
            kind, at = event["type"], event["timestamp"]
            if kind.endswith("StateEntered"):
                self._last = event["stateEnteredEventDetails"]["name"]
                self._entered.setdefault(self._last, []).append(at)
                yield Passage(self._last, "entered", 0.0)
            elif kind.endswith("StateExited"):
                name = event["stateExitedEventDetails"]["name"]
                since = self._entered[name].pop(0) if self._entered.get(name) else at
                yield Passage(name, "left", (at - since).total_seconds())
            elif kind in ("TaskFailed", "TaskTimedOut"):
                details = event.get("taskFailedEventDetails") or event.get("taskTimedOutEventDetails") or {}
                since = (self._entered.get(self._last) or [at])[-1]
                yield Passage(self._last, "failed", (at - since).total_seconds(), str(details.get("error", kind)))


@contextmanager
def nights_of(
    deployed: Deployed,
    standing: StandIns,
    bundle: Path,
    scratch: Path,
    *,
    hurry: float = HURRY,
    more: Mapping[str, str] | None = None,
    recorder: str = "",
    client_for: ClientFor | None = None,
) -> Iterator[Nights]:
    """The nights of a deployment, none begun. `standing` must be what this process's environment names.

    `bundle`: of the night's functions, for this machine. `scratch`: takes the folders of jobs. `more`: variables of
    functions and jobs beside those of the template; `recorder`: see `functions_at_work`; `client_for`: with what
    SageMaker itself reads and writes in the name of a role.
    """
    from boto3.session import Session

    night, faults = deployed.night, Faults()
    environment = {**standing.environment, **(more or {})}
    with ExitStack() as stack:
        clients: dict[str, Any] = {
            name: stack.enter_context(closing(Session().client(name))) for name in ("s3", "sns", "sqs", "stepfunctions")
        }
        upload_assets(deployed, clients["s3"])
        inbox = _subscribe(night, clients["sns"], clients["sqs"])
        homes = {
            arn: {**environment, "TANDEM_HOME": str(scratch / "functions" / plan.step)}
            for arn, plan in night.functions.items()
        }
        functions = stack.enter_context(functions_at_work(night.functions, bundle, homes, faults, recorder))
        sagemaker = SageMaker(scratch / "jobs", environment, client_for or (lambda _: clients["s3"]), faults)
        stack.callback(sagemaker.close)
        stack.enter_context(state_machines_at_work(standing.aws_url, functions.invoke, sagemaker, hurry))
        states = clients["stepfunctions"]
        made = states.create_state_machine(name=night.name, definition=night.definition, roleArn=night.role)
        machine = str(made["stateMachineArn"])
        stack.callback(states.delete_state_machine, stateMachineArn=machine)
        yield Nights(night, sagemaker, functions, faults, states, machine, clients["sqs"], inbox)


def upload_assets(deployed: Deployed, s3: Any) -> None:
    """What `cdk deploy` uploads as it is: the archive of the jobs."""
    bucket, files = deployed.files()
    if bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    for key, path in files.items():
        s3.upload_file(str(path), bucket, key)


def _subscribe(night: Night, sns: Any, sqs: Any) -> str:
    """The topics that the night tells people by, and a queue that hears them; its URL."""
    queue = sqs.create_queue(QueueName=f"inbox-{uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for topic in set(night.topics):
        made = sns.create_topic(Name=topic.rpartition(":")[2])["TopicArn"]
        if made != topic:
            raise VerificationFailed(f"the night tells people by {topic}, and the topic is {made}.")
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return str(queue)
