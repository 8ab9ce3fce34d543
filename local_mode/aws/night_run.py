"""A night by hand: started, followed while it runs, and how it ended.

The state machine does the work; this machine only watches, and may be switched off. `tandem aws run-nightly` prints
what this returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from contracts.errors import NightIncomplete, NightRunning, RequestInvalid
from contracts.night import NightFacts, NightInput, NightOutcome, Outcome, Serving, Step, token_of
from index_loader.night.needs import GoneOn, check_needs
from local_mode.aws.night_machine import RUNNING, SUCCEEDED, Entered, Execution, NightMachine
from local_mode.aws.stores import AwsStores
from stores.nights import Nights

POLL_SECONDS: Final = 5.0
"""Between two looks: a step takes minutes, and an account may look some ten times a second."""
_LOOKED_BACK: Final = 5
"""Nights among which the one of an execution is looked for; it is the newest, or one that was gone on with."""


@dataclass(frozen=True)
class Ended:
    """What became of an execution."""

    execution: Execution
    outcome: NightOutcome | None
    """What the night wrote; None where it did not come so far."""

    @property
    def failed(self) -> bool:
        """Whether people have to look at it."""
        written = self.outcome is not None and self.outcome.outcome is Outcome.FAILED
        return written or self.execution.status != SUCCEEDED

    @property
    def message(self) -> str:
        """The one message: what was found, by the night itself where it could say so."""
        if self.outcome is not None:
            named = ": ".join(part for part in (self.outcome.code, self.outcome.reason) if part)
            return named or str(self.outcome.outcome)
        told = ": ".join(part for part in (self.execution.error, self.execution.cause) if part)
        return told or f"it ended as {self.execution.status} and wrote no outcome"


def machine_of(stores: AwsStores) -> NightMachine:
    """The state machine of a deployment. Raises DeploymentNotFound where its stacks are older than the nightly run."""
    stores.deployment.needed("night_state_machine")
    return NightMachine(stores.account, stores.deployment.night_state_machine)


def whose(nights: Nights, wanted: NightInput) -> str:
    """The night whose artifacts a run would go on with; empty: a new one.

    Raises RequestInvalid for a night that never was, NightIncomplete where there is none to go on with.
    """
    if wanted.night:
        token_of(wanted.night)
        if nights.find(wanted.night, NightFacts) is None:
            raise RequestInvalid(
                f"there is no night {wanted.night}.", field="night", fix="`tandem aws status` shows the last ones."
            )
        return wanted.night
    if wanted.begin is Step.SNAPSHOT:
        return ""
    if not (there := nights.ids()):
        raise NightIncomplete(
            f"no night has begun yet: there is nothing that could go on from {wanted.begin}.",
            fix="Start a whole one: `tandem aws run-nightly`.",
        )
    return there[-1]


def as_left(stores: AwsStores, night: str) -> GoneOn:
    """A night as its steps have left it, before what serves now."""
    current = stores.releases.current()
    serving = None
    if current is not None:
        serves = current.publication
        serving = Serving(publication=serves.id, release=serves.release, etag=current.etag, night=serves.night)
    return GoneOn(Nights(stores.data), stores.releases, night, serving)


def begin(stores: AwsStores, machine: NightMachine, wanted: NightInput) -> Execution:
    """Start a night. Raises NightRunning, RequestInvalid, and NightIncomplete where it lacks what it begins with."""
    if there := machine.running():
        raise NightRunning(f"{there[0].name} is running: {there[0].arn}", fix="`tandem aws run-nightly --follow`.")
    if night := whose(Nights(stores.data), wanted):
        check_needs(as_left(stores, night), wanted.begin)  # the night asks this, too, minutes later
    return machine.start(wanted)


def running(machine: NightMachine) -> Execution:
    """The execution that runs now. Raises NightIncomplete where none does."""
    if there := machine.running():
        return there[0]
    raise NightIncomplete("no night is running.", fix="Start one: `tandem aws run-nightly`.")


def follow(machine: NightMachine, arn: str, pause: Callable[[float], None] = time.sleep) -> Iterator[Entered]:
    """States as an execution enters them, each once, until it ends."""
    seen, last = set[str](), 0
    while True:
        ends = machine.execution(arn).status != RUNNING  # asked first: what it did before is in its history then
        for entered in machine.entered(arn, last):
            last = entered.event
            if entered.state not in seen:  # parts of a map, and polls, come again and again
                seen.add(entered.state)
                yield entered
        if ends:
            return
        pause(POLL_SECONDS)


def ended(stores: AwsStores, machine: NightMachine, arn: str) -> Ended:
    """How an execution has ended."""
    return Ended(machine.execution(arn), outcome_of(Nights(stores.data), arn))


def outcome_of(nights: Nights, arn: str) -> NightOutcome | None:
    """What the night of an execution has written as its outcome."""
    for night in reversed(nights.ids()[-_LOOKED_BACK:]):
        facts = nights.find(night, NightFacts)
        if facts is not None and facts.execution == arn:
            return nights.find(night, NightOutcome)
    return None
