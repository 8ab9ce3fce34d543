"""One execution environment: a process that handles one event at a time, from its start to its end.

Started from a bundle, brought to its first `next` or to its snapshot, invoked under a time-out, stopped and continued
as Lambda freezes and thaws it, killed where it takes too long. It does not know its siblings: `function.py` has as many
as are asked for at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from contracts.errors import FunctionError
from local_mode.lambda_runtime.provided import RUNTIME_CLIENT
from local_mode.lambda_runtime.runtime_api import Invocation, Kind, RuntimeApi, Said

RESTORE_SECONDS: Final = 10.0
"""Lambda's limit for loading the runtime and the hooks after a restore."""

PAYLOAD_LIMIT: Final = 6 * 1024 * 1024
"""Bytes of JSON that Lambda takes in or gives out in one synchronous call."""

_LEAVES_WITHIN_SECONDS: Final = 10.0
"""A killed process is gone at once; one that is not has hung in the kernel, and that should be seen."""


class Instance:
    """A process behind its own Runtime API."""

    def __init__(self, handler: str, task_root: Path, environment: Mapping[str, str], log: Path) -> None:
        """Start the process; its output is added to `log`. `ready` waits for it."""
        self._api = RuntimeApi()
        self._frozen = False
        with log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603  # this Python, from the caller's bundle
                [
                    sys.executable,
                    "-S",
                    "-m",
                    RUNTIME_CLIENT,
                    handler,
                ],  # -S: nothing of this environment is within reach
                cwd=task_root,
                env={**environment, "AWS_LAMBDA_RUNTIME_API": self._api.address},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watch = threading.Thread(target=self._note_end, name="lambda-instance", daemon=True)
        self._watch.start()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be invoked, now or after it has thawed."""
        return self._process.poll() is None

    def ready(self, kind: Kind, patience_seconds: float) -> None:
        """Wait until it asks for an event (READY) or to be restored (AT_SNAPSHOT). Raises FunctionError."""
        self._await(frozenset({kind}), patience_seconds, f"Init took more than {patience_seconds:.2f} seconds")

    def restore(self) -> None:
        """Go on from the snapshot, hooks included. Raises FunctionError."""
        self.thaw()
        self._api.restore()
        late = f"Restore took more than {RESTORE_SECONDS:.2f} seconds"
        self._await(frozenset({Kind.READY}), RESTORE_SECONDS, late)

    def invoke(self, event: bytes, timeout_seconds: float, function_arn: str) -> Any:
        """What the handler returns for an event. Raises FunctionError; after a time-out the process is gone."""
        self.thaw()
        request_id = str(uuid4())
        deadline_ms = int((time.time() + timeout_seconds) * 1000)
        self._api.hand_over(Invocation(request_id, event, deadline_ms, function_arn))
        late = f"RequestId: {request_id} Error: Task timed out after {timeout_seconds:.2f} seconds"
        said = self._await(frozenset({Kind.RESPONSE, Kind.ERROR}), timeout_seconds, late)
        if said.kind is Kind.ERROR:
            raise FunctionError.of(json.loads(said.body))
        if len(said.body) > PAYLOAD_LIMIT:
            raise FunctionError.of(_payload("Function.ResponseSizeTooLarge", f"more than {PAYLOAD_LIMIT} bytes"))
        return json.loads(said.body)

    def freeze(self) -> None:
        """Stop every thread of the process where it is."""
        if self.is_alive and not self._frozen:
            os.killpg(self.pid, signal.SIGSTOP)
            self._frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        if self.is_alive and self._frozen:
            os.killpg(self.pid, signal.SIGCONT)
        self._frozen = False

    def close(self) -> None:
        """Kill the process, as Lambda does without asking, and stop its Runtime API."""
        self._kill()
        self._watch.join(_LEAVES_WITHIN_SECONDS)
        self._api.close()

    def _kill(self) -> None:
        if self.is_alive:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(_LEAVES_WITHIN_SECONDS)

    def _note_end(self) -> None:
        self._process.wait()
        self._api.hear(Said(Kind.EXITED))

    def _await(self, wanted: frozenset[Kind], patience_seconds: float, late: str) -> Said:
        """The first wanted thing that is said. Whatever else ends the wait raises FunctionError."""
        until = time.monotonic() + patience_seconds
        while (said := self._api.heard(until - time.monotonic())) is not None:
            if said.kind in wanted:
                return said
            if said.kind in (Kind.INIT_ERROR, Kind.RESTORE_ERROR):
                self._kill()
                raise FunctionError.of(json.loads(said.body))
            if said.kind is Kind.EXITED:
                raise FunctionError.of(_payload("Runtime.ExitError", f"Runtime exited with {self._how_it_ended()}"))
        self._kill()
        raise FunctionError.of(_payload("Sandbox.Timedout", late))

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _payload(kind: str, message: str) -> dict[str, Any]:
    """An error that Lambda itself makes."""
    return {"errorType": kind, "errorMessage": message}
