"""`python -m batch_job`: a step of a night that needs all events at once, as a processing job of SageMaker runs it.

    python -m batch_job snapshot --night N --token T                   # log and catalogue -> the night's dataset
    python -m batch_job backfill --night N --token T --dataset DIR     # the night's dataset -> profiles of all users

Where the stores are is read from the environment (`contracts/night_settings.py`). Prints what was done as one line of
JSON; a named failure is told on stderr and where SageMaker looks for it, and ends with status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import TandemError
from contracts.night import EVENT_LOG
from contracts.night_settings import NightSettings
from stores.job_message import message_file, tell_failure
from stores.nights import Nights
from stores.s3_bucket import Bucket, s3_client

TELL_SECONDS: Final = 10.0
"""Between lines of progress: a log of an hour stays readable."""
LEASE_SECONDS: Final = 30.0
"""Between looks at the lease while profiles are written: one small read of S3."""
MOST_PROCESSES: Final = 4
"""That write profiles: a table on demand that is new takes some 4,000 writes a second, which is what four bring."""

_LONG: Final = ("arrivals", "files")
"""Of a report: too much for a line."""

Progress = Callable[[int, int, str], None]


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Returns the exit status: 1 for a named failure. Arguments that make no sense end the process with 2."""
    parser = argparse.ArgumentParser(prog="python -m batch_job", allow_abbrev=False)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--night", required=True)
    parser.add_argument("--token", required=True, type=int)
    parser.add_argument("--dataset", type=Path, help="the night's snapshot (backfill)")
    given = parser.parse_args(arguments)
    if given.step == "backfill" and given.dataset is None:
        parser.error("backfill needs --dataset")
    begun = time.monotonic()
    try:
        done = STEPS[given.step](NightSettings.from_env(environment), given)
    except TandemError as error:
        tell_failure(error, message_file(environment))
        return 1
    done |= {"step": given.step, "night": given.night, "seconds": round(time.monotonic() - begun, 1)}
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    return 0


def _snapshot(settings: NightSettings, given: argparse.Namespace) -> dict[str, Any]:
    """See `snapshot.py`."""
    from batch_job.log_sources import S3Source
    from batch_job.snapshot import take_snapshot

    settings.needed("data_bucket")
    with closing(s3_client()) as client:
        nights = Nights(Bucket(settings.data_bucket, client=client))
        log = S3Source(f"s3://{settings.data_bucket}/{EVENT_LOG}", client)
        made = take_snapshot(nights, log, settings, given.night, given.token, _NowAndThen(TELL_SECONDS, _line))
    report = {name: value for name, value in msgspec.structs.asdict(made.report).items() if name not in _LONG}
    verdict = {"decision": made.verdict.decision, "code": made.verdict.code, "reason": made.verdict.reason}
    return {**report, **verdict, "files_sent": len(made.sent)}


def _backfill(settings: NightSettings, given: argparse.Namespace) -> dict[str, Any]:
    """See `folder_backfill.py`."""
    from batch_job.folder_backfill import Target, backfill_folder
    from stores.dynamodb_profiles import patient_profiles

    settings.needed("data_bucket", "profiles_table")
    with closing(s3_client()) as client:
        nights = Nights(Bucket(settings.data_bucket, client=client))
        nights.check_lease(given.token)
        line = _NowAndThen(TELL_SECONDS, _line)
        lease = _NowAndThen(LEASE_SECONDS, lambda *_: nights.check_lease(given.token))

        def between(done: int, total: int, text: str) -> None:
            lease(done, total, text)
            line(done, total, text)

        target = Target(partial(patient_profiles, settings.profiles_table), min(os.cpu_count() or 1, MOST_PROCESSES))
        return {"profiles": backfill_folder(given.dataset, target, between), "processes": target.processes}


class _NowAndThen:
    """Progress that is passed on once in a while."""

    def __init__(self, seconds: float, target: Progress) -> None:
        self._seconds, self._target = seconds, target
        self._next = time.monotonic() + seconds

    def __call__(self, done: int, total: int, text: str) -> None:
        if time.monotonic() >= self._next:
            self._target(done, total, text)
            self._next = time.monotonic() + self._seconds


def _line(done: int, total: int, text: str) -> None:
    sys.stderr.write(f"{done} of {total} {text}\n" if total else f"{done} {text}\n")


STEPS: Final[dict[str, Callable[[NightSettings, argparse.Namespace], dict[str, Any]]]] = {
    "snapshot": _snapshot,
    "backfill": _backfill,
}

if __name__ == "__main__":
    sys.exit(main())
