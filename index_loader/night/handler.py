"""The light steps of a night as Lambda functions: a small JSON document in, another one out, `NAME(event, context)`.

    begin    execution, input                      → night, token, begin, job_prefix, snapshot_uri, training_uri,
                                                     checkpoints_uri, release: {release, indexed}
    seal     night, token, [model]                 → release, indexed
    prepare  night, token, [fresh]                 → index, parts: [0, 1, …]
    load     night, token, part                    → loaded
    merge    night, token                          → task, done
    merged   night, token, task                    → task, done: asked again until it is
    verify   night, token                          → verified
    publish  night, token                          → publication
    sweep    night, token                          → releases, indexes, snapshots, settled
    finish   night, token, outcome, [reason]       → outcome
    fail     execution, state                      → subject, message, code

A failure is raised under its name of `contracts/errors.py`, so that the state machine can tell them apart. `fail` never
fails itself. Nothing is read at import; settings and stores are made at the first call, once a process. AWS calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

from contracts.night_settings import NightSettings
from index_loader.night import beginning, ending, events, failure, loading, publishing, sealing, sweeping
from index_loader.night.workplace import Workplace

Function = Callable[..., dict[str, Any]]

STEPS: Final[dict[str, tuple[type[events.Event], Callable[[Workplace, Any], dict[str, Any]]]]] = {
    "begin": (events.Begin, beginning.begin),
    "seal": (events.Seal, sealing.seal),
    "prepare": (events.Prepare, loading.prepare),
    "load": (events.Load, loading.load),
    "merge": (events.Night, loading.merge),
    "merged": (events.Merged, loading.merged),
    "verify": (events.Night, publishing.verify),
    "publish": (events.Night, publishing.publish),
    "sweep": (events.Night, sweeping.sweep),
    "finish": (events.Finish, ending.finish),
    "fail": (events.Fail, failure.fail),
}
"""Function → the shape of its event, and what it does."""


@cache
def workplace() -> Workplace:
    """The stores that the settings name, for as long as the process lives."""
    return Workplace(NightSettings.from_env())


def _run(name: str, event: object, context: object = None) -> dict[str, Any]:  # noqa: ARG001  # AWS gives it
    shape, step = STEPS[name]
    return workplace().run(name, step, events.read(shape, event))


begin, seal, prepare, load, merge, merged, verify, publish, sweep, finish, fail = (
    partial(_run, name) for name in STEPS
)
