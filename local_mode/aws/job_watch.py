"""A job of SageMaker as it goes, training or processing: its states, and the lines that it writes.

Knows SageMaker and CloudWatch, not what the job does. `tandem aws train`, `batch` and `forget` print what this yields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from contracts.errors import AwsCallFailed, JobFailed
from local_mode.aws.account import Account, naming_aws_failures
from local_mode.aws.logs import Line, Tail

POLL_SECONDS: Final = 10.0
"""Between two looks at a job: it changes within minutes."""
_LOOK_BACK_SECONDS: Final = 600
"""Lines of a job are looked for so far back at first: it begins to write minutes after it was made."""
_ENDED: Final = ("Completed", "Failed", "Stopped")


class JobKind(Enum):
    """What SageMaker calls such a job in the names of its calls and fields."""

    TRAINING = "Training"
    PROCESSING = "Processing"

    @property
    def log_group(self) -> str:
        return f"/aws/sagemaker/{self.value}Jobs"


@dataclass(frozen=True)
class News:
    """Something that a job did."""

    text: str
    is_log: bool
    """A line of the job itself; else a state of it."""


def follow(
    account: Account, job: str, kind: JobKind = JobKind.TRAINING, pause: Callable[[float], None] = time.sleep
) -> Iterator[News]:
    """States and lines of a job until it ends. Raises JobFailed with SageMaker's reason, AwsCallFailed."""
    tail, state = Tail(account, kind.log_group, _LOOK_BACK_SECONDS, streams=f"{job}/"), ""
    while True:
        told = _told(account, job, kind)
        status = str(told[f"{kind.value}JobStatus"])
        if (now := str(told.get("SecondaryStatus") or status)) != state:
            state = now
            yield News(now, is_log=False)
        yield from (News(line.text, is_log=True) for line in _lines(tail))
        if status in _ENDED:
            _check_ended(job, kind, status, told)
            return
        pause(POLL_SECONDS)


def _told(account: Account, job: str, kind: JobKind) -> dict[str, Any]:
    with naming_aws_failures():
        describe = getattr(account.client("sagemaker"), f"describe_{kind.value.lower()}_job")
        told: dict[str, Any] = describe(**{f"{kind.value}JobName": job})
    return told


def _lines(tail: Tail) -> Iterator[Line]:
    """New lines; none while the log group is not there, for the first job of an account makes it."""
    try:
        yield from tail.new()
    except AwsCallFailed as error:
        if "ResourceNotFoundException" not in error.message:
            raise


def _check_ended(job: str, kind: JobKind, status: str, told: dict[str, Any]) -> None:
    if status != "Completed":
        reason = told.get("ExitMessage") or told.get("FailureReason") or "somebody stopped it"
        raise JobFailed(
            f"{job}: {status}: {reason}",
            fix=f"Its lines: aws logs tail {kind.log_group} --log-stream-name-prefix {job}/",
        )
