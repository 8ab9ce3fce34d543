"""Nights turned off and on again, and what goes on being billed meanwhile.

Only what can be taken back is done: the schedule stops, and a night that runs where that is asked for. AWS has no way
to stop a search domain, and a snapshot of a function lasts as long as its version; both go with their stack only, so
they are named with the command that ends them. `tandem aws pause | resume` print what this returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from local_mode.aws.deployment import Deployment
from local_mode.aws.night_machine import Execution
from local_mode.aws.night_run import machine_of
from local_mode.aws.schedule import DISABLED, ENABLED, Schedule, Scheduling
from local_mode.aws.stores import AwsStores

_IN_VPC: Final = "vpc-"
_REASON: Final = "stopped by `tandem aws pause --stop-running`"


@dataclass(frozen=True)
class Billed:
    """Something that costs money whether it is used or not."""

    what: str
    why: str
    """Why it cannot be paused."""
    end: str
    """The command that ends it."""


@dataclass(frozen=True)
class Paused:
    """What was done, and what was not."""

    schedule: Schedule
    changed: bool
    """Whether the schedule was on before."""
    running: list[Execution]
    """Nights that go on."""
    stopped: list[Execution]
    billed: list[Billed]


def pause(stores: AwsStores, *, stop_running: bool = False) -> Paused:
    """Let no night begin by itself; safe to repeat. Raises DeploymentNotFound, AwsCallFailed.

    `stop_running`: also end the night that runs, with the job that it waits for. What served goes on serving, and the
    next night takes its lease.
    """
    machine = machine_of(stores)
    schedule, changed = Scheduling(stores.account, stores.deployment).turn(DISABLED)
    running = machine.running()
    if stop_running:
        for execution in running:
            machine.stop(execution.arn, _REASON)
        return Paused(schedule, changed, [], running, billed(stores.deployment))
    return Paused(schedule, changed, running, [], billed(stores.deployment))


def resume(stores: AwsStores) -> tuple[Schedule, bool]:
    """Let nights begin by themselves again; the schedule, and whether it was off. Raises as `pause`."""
    return Scheduling(stores.account, stores.deployment).turn(ENABLED)


def billed(deployment: Deployment) -> list[Billed]:
    """What a paused deployment costs by the hour, the dearest first."""
    destroy = f"npx cdk destroy {deployment.prefix}-service"
    found = [
        Billed(
            "the cached snapshot of each function that answers (SnapStart)",
            "it is kept as long as the version exists, and the API needs that version to answer",
            destroy,
        )
    ]
    if not deployment.search_endpoint:
        return found
    domain = Billed(
        "the search domain and its volumes",
        "AWS can delete a domain, not stop it; its indexes are made again from their releases (`tandem aws publish`)",
        f"{destroy} {deployment.prefix}-state  (in profiles mini and dev with every release, profile and event)",
    )
    inside = (urlsplit(deployment.search_endpoint).hostname or "").startswith(_IN_VPC)
    endpoint = Billed("the VPC's endpoint of Secrets Manager", "it is part of the network of the domain", domain.end)
    return [domain, *([endpoint] if inside else []), *found]
