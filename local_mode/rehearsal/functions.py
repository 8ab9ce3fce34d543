"""Functions as a template has them, invoked as Step Functions do: by what the state machine calls them.

Each is the built bundle under AWS's runtime client, with handler, environment, memory and time-out of the template.
`night.py` makes them from what was synthesised.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import FunctionError
from local_mode.lambda_runtime.function import Function
from local_mode.rehearsal.faults import Faults
from local_mode.rehearsal.moto_private import Answer


@dataclass(frozen=True)
class FunctionPlan:
    """What a template says of a function."""

    arn: str
    handler: str
    role: str
    """ARN."""
    environment: Mapping[str, str]
    timeout_seconds: int
    memory_mb: int

    @property
    def step(self) -> str:
        """The part of the handler that says what it does."""
        return self.handler.rpartition(".")[2]


@dataclass(frozen=True)
class Functions:
    """At work."""

    by_arn: Mapping[str, Function]
    steps: Mapping[str, str]
    """ARN → step."""
    faults: Faults

    def invoke(self, called: str, event: str) -> Answer:
        """What Step Functions are answered: an unqualified ARN, or one with a version or an alias."""
        arn = called if called in self.by_arn else called.rpartition(":")[0]
        if arn not in self.by_arn:
            return _failed("ResourceNotFoundException", f"Function not found: {called}")
        function, step = self.by_arn[arn], self.steps[arn]
        fault = self.faults.begins(step)
        try:
            with self.faults.exposed(step, fault, lambda: _kill_one(function)):
                return Answer(json.dumps(function.invoke(json.loads(event))), failed=False)
        except FunctionError as error:
            return Answer(json.dumps(error.payload), failed=True)

    def log(self) -> str:
        """What all have written."""
        return "".join(function.log() for function in self.by_arn.values())


@contextmanager
def functions_at_work(
    plans: Mapping[str, FunctionPlan],
    bundle: Path,
    more: Mapping[str, Mapping[str, str]],
    faults: Faults,
    recorder: str = "",
) -> Iterator[Functions]:
    """The functions of a template (ARN → plan), none started.

    `more`: ARN → variables that win over those of the template, such as what leads to the stand-ins. `recorder`: a
    module of the bundle that stands before the handlers, of the same names.
    """
    with ExitStack() as stack:
        running = {}
        for arn, plan in plans.items():
            handler = f"{recorder}.{plan.step}" if recorder else plan.handler
            told = {**plan.environment, **more[arn]}
            function = Function(
                bundle, handler, told, memory_mb=plan.memory_mb, timeout_seconds=float(plan.timeout_seconds)
            )
            running[arn] = stack.enter_context(function)
        yield Functions(running, {arn: plan.step for arn, plan in plans.items()}, faults)


def _failed(kind: str, message: str) -> Answer:
    return Answer(json.dumps({"errorType": kind, "errorMessage": message}), failed=True)


def _kill_one(function: Function) -> None:
    """One instance, whatever it is doing."""
    if pids := function.pids():
        with suppress(ProcessLookupError):
            os.killpg(random.choice(pids), signal.SIGKILL)
