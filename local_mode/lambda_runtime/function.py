"""A function as it is deployed: a bundle, a handler, an environment, and as many instances as are asked at once.

The first invocation starts an instance (a cold start), the next ones find it warm; two at the same time have two. With
SnapStart an instance is first brought to its snapshot and stopped there, and an invocation goes on from it. A memory
cannot be copied here, so every instance makes its own snapshot; and neither CPU shares nor the memory limit are
enforced. `gateway.py`, the benchmarks and the tests call it.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from contracts.errors import FunctionError
from local_mode.lambda_runtime.instance import PAYLOAD_LIMIT, Instance
from local_mode.lambda_runtime.provided import DEFAULT_REGION, Identity, environment_of, lay_runtime
from local_mode.lambda_runtime.runtime_api import Kind

INIT_SECONDS: Final = 10.0
"""Lambda gives an import so long, and then begins again within the time-out of the invocation that waits for it."""

SNAPSHOT_SECONDS: Final = 130.0
"""What it gives an import, and the hooks, that end in a snapshot."""


class Function:
    """What is invoked. A context manager: every process ends with it."""

    def __init__(
        self,
        bundle: Path,
        handler: str,
        environment: Mapping[str, str],
        *,
        memory_mb: int = 1024,
        timeout_seconds: float = 30.0,
        snap_start: bool = False,
    ) -> None:
        """Starts nothing yet. `environment` is all that the function is told, credentials and AWS_REGION included.

        Raises ServerUnavailable where the runtime client is not installed.
        """
        self.bundle, self.timeout_seconds = bundle.resolve(), timeout_seconds
        region = environment.get("AWS_REGION", DEFAULT_REGION)
        self.identity = Identity(handler.rpartition(".")[2], handler, memory_mb, snap_start, region)
        self._scratch = tempfile.TemporaryDirectory(prefix="tandem-function-")
        runtime = Path(self._scratch.name) / "runtime"
        lay_runtime(runtime)
        self._log = Path(self._scratch.name) / "log"
        self._environment = environment_of(self.identity, self.bundle, runtime, environment)
        self._lock = threading.Lock()
        self._closed = False
        self._all: set[Instance] = set()
        self._idle: list[Instance] = []
        self._snapshots: list[Instance] = []

    def invoke(self, event: object) -> Any:
        """What the handler returns. Raises FunctionError with the payload that Lambda would answer with."""
        data = json.dumps(event).encode()
        if len(data) > PAYLOAD_LIMIT:
            raise FunctionError.of(
                {
                    "errorType": "RequestEntityTooLargeException",
                    "errorMessage": f"the event has more than {PAYLOAD_LIMIT} bytes.",
                }
            )
        instance = self._take()
        try:
            return instance.invoke(data, self.timeout_seconds, self.identity.arn)
        finally:
            self._give_back(instance)

    def snapshot(self) -> None:
        """Bring an instance to its snapshot and stop it there, as publishing a version does. Raises FunctionError."""
        instance = self._start(Kind.AT_SNAPSHOT, SNAPSHOT_SECONDS)
        instance.freeze()
        with self._lock:
            self._snapshots.append(instance)

    def restore(self) -> None:
        """Have an instance ready to be invoked, hooks included: restored, or started. Raises FunctionError."""
        self._give_back(self._cold())

    def freeze(self) -> None:
        """Stop every idle instance, as Lambda does between invocations. The next invocation thaws the one it takes."""
        with self._lock:
            for instance in self._idle:
                instance.freeze()

    def thaw(self) -> None:
        """Let them go on."""
        with self._lock:
            for instance in self._idle:
                instance.thaw()

    def pids(self) -> list[int]:
        """Of the instances that live."""
        with self._lock:
            return sorted(instance.pid for instance in self._all if instance.is_alive)

    def log(self) -> str:
        """What every instance has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def close(self) -> None:
        """End every instance, also those that are at work."""
        with self._lock:
            self._closed = True
            instances, self._all = self._all, set()
            self._idle, self._snapshots = [], []
        for instance in instances:
            instance.close()
        self._scratch.cleanup()

    def __enter__(self) -> Function:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> Instance:
        """An instance that nobody else has: the one used last, else a new one."""
        with self._lock:
            while self._idle:
                if (instance := self._idle.pop()).is_alive:
                    return instance
        return self._cold()

    def _cold(self) -> Instance:
        if not self.identity.snap_start:
            return self._start(Kind.READY, INIT_SECONDS + self.timeout_seconds)
        with self._lock:
            waiting = self._snapshots.pop() if self._snapshots else None
        if waiting is None:
            waiting = self._start(Kind.AT_SNAPSHOT, SNAPSHOT_SECONDS)
        try:
            waiting.restore()
        except FunctionError:
            self._drop(waiting)
            raise
        return waiting

    def _start(self, until: Kind, patience_seconds: float) -> Instance:
        with self._lock:
            if self._closed:  # between a cold start's look for an instance and its start
                gone = "the function is gone."
                raise FunctionError.of({"errorType": "ResourceNotFoundException", "errorMessage": gone})
            instance = Instance(self.identity.handler, self.bundle, self._environment, self._log)
            self._all.add(instance)
        try:
            instance.ready(until, patience_seconds)
        except FunctionError:
            self._drop(instance)
            raise
        return instance

    def _give_back(self, instance: Instance) -> None:
        if not instance.is_alive:
            self._drop(instance)
            return
        with self._lock:
            self._idle.append(instance)

    def _drop(self, instance: Instance) -> None:
        with self._lock:
            known = instance in self._all
            self._all.discard(instance)
        if known:
            instance.close()
