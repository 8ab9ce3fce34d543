"""The SageMaker of a rehearsal: takes the requests that AWS's would take, runs their jobs here, and describes them.

Training goes through AWS's own toolkit (`toolkit.py`), processing through `processing.py`; what a request may say is
`sagemaker_rules.py`. Step Functions of moto wait for the jobs (`moto_private.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from local_mode.rehearsal.faults import Fault, Faults, NeverBegins, TakeAway, kill_below
from local_mode.rehearsal.processing import run_processing
from local_mode.rehearsal.sagemaker_rules import check, refused
from local_mode.rehearsal.stand_ins import ACCOUNT, REGION
from local_mode.rehearsal.toolkit import Attempt, run_training

_KINDS: Final = {"createTrainingJob": "Training", "createProcessingJob": "Processing"}
_ENDED: Final = ("Completed", "Failed", "Stopped")

ClientFor = Callable[[str], Any]
"""A client of S3 by the ARN of a role: what SageMaker reads and writes in a job's name."""


@dataclass
class Job:
    """A job, running or ended."""

    kind: str
    """Training or Processing."""
    request: dict[str, Any]
    scratch: Path
    status: str = "InProgress"
    reason: str = ""
    message: str = ""
    model: str = ""
    attempts: int = 1
    begun_at: float = field(default_factory=time.time)
    ended_at: float = 0.0

    @property
    def name(self) -> str:
        """As its request says."""
        return str(self.request[f"{self.kind}JobName"])

    @property
    def step(self) -> str:
        """The part of the name that says what it does: `<prefix>-<step>-<8 digits>`."""
        return self.name.rsplit("-", 2)[-2]

    @property
    def log(self) -> str:
        """What its containers have written."""
        folder = self.scratch / self.name
        return "".join(path.read_text(errors="replace") for path in sorted(folder.rglob("log")) if path.is_file())

    def describe(self) -> dict[str, Any]:
        """As the service describes it, and so as Step Functions hand it on."""
        told = {
            f"{self.kind}JobArn": f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{self.kind.lower()}-job/{self.name}",
            f"{self.kind}JobStatus": self.status,
            "CreationTime": int(self.begun_at * 1000),
            f"{self.kind}EndTime": int(self.ended_at * 1000),
        }
        optional = {"FailureReason": self.reason, "ExitMessage": self.message}
        if self.kind == "Training":
            told["SecondaryStatus"] = self.status
            optional["ModelArtifacts"] = {"S3ModelArtifacts": self.model} if self.model else {}  # type: ignore[assignment]
        return {**self.request, **told, **{name: value for name, value in optional.items() if value}}


class SageMaker:
    """The jobs of a rehearsal. Ended with `close`, which kills what still runs."""

    def __init__(self, scratch: Path, environment: Mapping[str, str], client_for: ClientFor, faults: Faults) -> None:
        """`scratch`: for the folders of the jobs; `environment`: with which their containers find AWS."""
        self._scratch, self._environment = scratch, dict(environment)
        self._client_for, self._faults = client_for, faults
        self._threads: dict[str, threading.Thread] = {}
        self._stopped: set[str] = set()
        self._lock = threading.Lock()
        self.jobs: dict[str, Job] = {}
        """By name, in the order of their creation."""

    def create(self, action: str, request: dict[str, Any]) -> str:
        """Begin a job. Raises Refused where SageMaker would not."""
        kind = _KINDS[action]
        check(action, request, self._client_for(str(request.get("RoleArn", ""))))
        job = Job(kind, request, self._scratch)
        with self._lock:
            if job.name in self.jobs:
                raise refused("ResourceInUse", action, f"{kind} job names must be unique: {job.name} exists already.")
            self.jobs[job.name] = job
        thread = threading.Thread(target=self._run, args=(job,), name=job.name)
        self._threads[job.name] = thread
        thread.start()
        return job.name

    def ended(self, name: str) -> dict[str, Any] | None:
        """See `moto_private.Jobs`."""
        job = self.jobs[name]
        return job.describe() if job.status in _ENDED else None

    def succeeded(self, name: str) -> bool:
        """See `moto_private.Jobs`."""
        return self.jobs[name].status == "Completed"

    def stop(self, name: str) -> None:
        """Kill a job that runs; its status is Stopped then."""
        if self.jobs[name].status not in _ENDED:
            self._stopped.add(name)
            while self._threads[name].is_alive():
                kill_below(self._scratch / name)
                self._threads[name].join(0.05)  # its process may be just about to begin

    def close(self) -> None:
        """Stop every job."""
        for name in self.jobs:
            self.stop(name)

    def _run(self, job: Job) -> None:
        """To the end of the job, whatever that is."""
        fault = self._faults.begins(job.step)
        ended = replace(job, status="Failed", reason="InternalServerError: We encountered an internal error.")
        try:
            if isinstance(fault, NeverBegins):
                ended = replace(job, status="Failed", reason=fault.reason)
            elif job.kind == "Training":
                ended = self._train(job, fault)
            else:
                ended = self._process(job, fault)
        finally:  # whatever the stand-in itself could not do is seen, and nobody waits for ever
            job.reason, job.message, job.model = ended.reason, ended.message, ended.model
            job.attempts, job.ended_at = ended.attempts, time.time()
            job.status = "Stopped" if job.name in self._stopped else ended.status  # the last: it is looked for

    def _process(self, job: Job, fault: Fault | None) -> Job:
        s3 = self._client_for(job.request["RoleArn"])
        exposed = partial(self._faults.exposed, job.step, fault)
        done = run_processing(job.request, self._scratch, self._environment, s3, exposed)
        return replace(job, status=done.status, reason=done.failure_reason, message=done.exit_message)

    def _train(self, job: Job, fault: Fault | None) -> Job:
        s3 = self._client_for(job.request["RoleArn"])
        with self._faults.exposed(job.step, fault, lambda: kill_below(self._scratch / job.name)):
            done = run_training(job.request, self._scratch, self._environment, s3, _taken_away(fault))
        return replace(
            job, status=str(done.status), reason=done.failure_reason, model=done.model, attempts=len(done.attempts)
        )


def _taken_away(fault: Fault | None) -> Callable[[Attempt], bool]:
    """Whether the first instance of a job goes now."""
    begun = time.monotonic()

    def now(attempt: Attempt) -> bool:
        return isinstance(fault, TakeAway) and attempt.number == 0 and time.monotonic() - begun > fault.after_seconds

    return now
