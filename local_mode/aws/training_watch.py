"""A training job of SageMaker as it goes: its states, and the lines that the training writes.

Knows SageMaker and CloudWatch, not what is trained. `tandem aws train` prints what this yields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from contracts.errors import AwsCallFailed, JobFailed
from local_mode.aws.account import Account, naming_aws_failures
from local_mode.aws.logs import Line, Tail

LOG_GROUP: Final = "/aws/sagemaker/TrainingJobs"
POLL_SECONDS: Final = 10.0
"""Between two looks at a job: it changes within minutes."""
_LOOK_BACK_SECONDS: Final = 600
"""Lines of a job are looked for so far back at first: it begins to write minutes after it was made."""
_ENDED: Final = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class News:
    """Something that a job did."""

    text: str
    is_log: bool
    """A line of the training itself; else a state of the job."""


def follow(account: Account, job: str, pause: Callable[[float], None] = time.sleep) -> Iterator[News]:
    """States and lines of a job until it ends. Raises JobFailed with SageMaker's reason, AwsCallFailed."""
    tail, state = Tail(account, LOG_GROUP, _LOOK_BACK_SECONDS, streams=f"{job}/"), ""
    while True:
        with naming_aws_failures():
            told = account.client("sagemaker").describe_training_job(TrainingJobName=job)
        now = str(told.get("SecondaryStatus") or told["TrainingJobStatus"])
        if now != state:
            state = now
            yield News(now, is_log=False)
        yield from (News(line.text, is_log=True) for line in _lines(tail))
        if told["TrainingJobStatus"] in _ENDED:
            _check_ended(job, told)
            return
        pause(POLL_SECONDS)


def _lines(tail: Tail) -> Iterator[Line]:
    """New lines; none while the log group is not there, for the first job of an account makes it."""
    try:
        yield from tail.new()
    except AwsCallFailed as error:
        if "ResourceNotFoundException" not in error.message:
            raise


def _check_ended(job: str, told: dict[str, Any]) -> None:
    if told["TrainingJobStatus"] != "Completed":
        reason = told.get("FailureReason") or "somebody stopped it"
        raise JobFailed(
            f"{job}: {told['TrainingJobStatus']}: {reason}",
            fix=f"Its lines: aws logs tail {LOG_GROUP} --log-stream-name-prefix {job}/",
        )
