"""The nights of a deployment as people ask for them: when the next one begins, what runs, how the last ones ended.

`status.py` makes a part of it, `tandem aws status` also prints the nights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.night import NightFacts, NightOutcome, Outcome
from local_mode.aws.night_machine import Execution
from local_mode.aws.night_run import machine_of
from local_mode.aws.schedule import Schedule, Scheduling
from local_mode.aws.stores import AwsStores
from stores.nights import Nights

SHOWN: Final = 7
"""Nights: a week."""
_SUCCESS_AMONG: Final = 60
"""Nights among which the last good one is looked for: two months of failures were seen long before."""

RUNS: Final = "running"
UNKNOWN: Final = "unknown"
"""It was stopped, or died, before it could say how it ended."""


@dataclass(frozen=True)
class PastNight:
    """A night that has ended, or did not come to write how."""

    night: str
    outcome: str
    """Of contracts.night.Outcome, or RUNS, or UNKNOWN."""
    begun_at: int
    """Unix seconds."""
    seconds: int | None
    """How long it took; None where nobody knows."""
    release: str | None = None
    step: str = ""
    """State that failed."""
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class History:
    """What there is to say of the nights."""

    schedule: Schedule
    running: list[Execution]
    last: list[PastNight]
    """The newest first, at most SHOWN."""
    success_age_seconds: int | None
    """Since a night last ended well, published or with nothing new; None: none of those looked at did."""


def history(stores: AwsStores) -> History:
    """The nights of a deployment. Raises DeploymentNotFound, AwsCallFailed, StoreUnavailable."""
    machine, nights = machine_of(stores), Nights(stores.data)
    running = machine.running()
    last: list[PastNight] = []
    success: int | None = None
    for night in reversed(nights.ids()[-_SUCCESS_AMONG:]):
        if len(last) >= SHOWN and success is not None:
            break
        past = _past(nights, night, {one.arn for one in running})
        if len(last) < SHOWN:
            last.append(past)
        if success is None and past.outcome in (Outcome.PUBLISHED, Outcome.NOTHING_NEW):
            success = max(0, int(time.time()) - past.begun_at - (past.seconds or 0))
    return History(Scheduling(stores.account, stores.deployment).read(), running, last, success)


def _past(nights: Nights, night: str, running: set[str]) -> PastNight:
    facts, outcome = nights.find(night, NightFacts), nights.find(night, NightOutcome)
    begun = facts.begun_at if facts else 0
    if facts is not None and facts.execution in running:  # also one that is gone on with, after an earlier outcome
        return PastNight(night, RUNS, begun, None)
    if outcome is None:
        return PastNight(night, UNKNOWN, begun, None, reason="it was stopped before it could say how it ended")
    ended = int(datetime.fromisoformat(outcome.ended_at).timestamp())
    return PastNight(
        night,
        str(outcome.outcome),
        begun,
        max(0, ended - begun) if begun else None,
        outcome.release,
        outcome.step,
        outcome.code,
        outcome.reason,
    )
