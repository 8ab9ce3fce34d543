"""`python -m training_job`: train in a container of SageMaker, or check or judge for a night.

    python -m training_job                                             # train; `container.py` says where everything is
    python -m training_job check --night N --token T --dataset DIR     # write the verdict on a dataset
    python -m training_job gate  --night N --token T --dataset DIR     # write the verdict on the release of the night

SageMaker's toolkit also passes the hyperparameters as options (`--effort standard`); they are read from the environment
and ignored here. A named failure is told on stderr and where SageMaker looks for it, and ends with status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import RankLost, TandemError
from contracts.night_settings import NightSettings
from stores.job_message import message_file, tell_failure
from training_job.night_job import NightJob

STEPS: Final = ("check", "gate")


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Returns the exit status: 1 for a named failure. Arguments that make no sense end the process with 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-"):
        return _step(arguments, environment)
    return _train(environment)


def _train(environment: Mapping[str, str]) -> int:
    from training_job.container import failure_file, train

    try:
        train(environment)
    except TandemError as error:
        file = failure_file(environment)
        follows = isinstance(error, RankLost) and file is not None and file.exists()  # what it follows from lies there
        tell_failure(error, None if follows else file)
        return 1
    return 0


def _step(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training_job", allow_abbrev=False)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--night", required=True)
    parser.add_argument("--token", required=True, type=int)
    parser.add_argument("--dataset", required=True, type=Path)
    given = parser.parse_args(arguments)
    try:
        job = NightJob.open(NightSettings.from_env(environment), given.night, given.token, given.dataset)
        written = _run(given.step, job)
    except TandemError as error:
        tell_failure(error, message_file(environment))
        return 1
    sys.stdout.write(msgspec.json.encode(written).decode() + "\n")
    return 0


def _run(step: str, job: NightJob) -> msgspec.Struct:
    if step == "check":
        from training_job.check import check  # imports no torch

        return check(job)
    from training_job.judge import judge

    return judge(job)


if __name__ == "__main__":
    sys.exit(main())
