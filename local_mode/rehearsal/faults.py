"""What goes wrong in a rehearsal, and when: a process killed, an instance taken away, a job that never begins.

A plan says what happens to which call of a step; a soak kills whatever runs at a moment that it draws. Functions and
jobs tell here what of theirs can be killed while it runs. `sagemaker.py` and `functions.py` call it.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kill:
    """`kill -9` of every process of the call."""

    after_seconds: float = 0.0


@dataclass(frozen=True)
class TakeAway:
    """The instance of a training job is taken away, as spot instances are; the job begins again."""

    after_seconds: float = 0.0


@dataclass(frozen=True)
class NeverBegins:
    """A job ends before its container does anything."""

    reason: str
    """FailureReason."""


@dataclass(frozen=True)
class Meanwhile:
    """Something else happens first."""

    do: Callable[[], Any]


Fault = Kill | TakeAway | NeverBegins | Meanwhile

NO_CAPACITY = NeverBegins(
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
NO_IMAGE = NeverBegins(
    "ClientError: Cannot pull the image. Please check that the repository exists, that the image has this tag, and "
    "that the role may pull it: ecr:BatchCheckLayerAvailability, ecr:BatchGetImage, ecr:GetDownloadUrlForLayer"
)


class Faults:
    """The plan, and what runs."""

    def __init__(self) -> None:
        self._planned: dict[tuple[str, int], Fault] = {}
        self._calls: Counter[str] = Counter()
        self._running: dict[object, tuple[str, Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def plan(self, step: str, fault: Fault, call: int = 1) -> None:
        """Let it happen to the `call`-th call of a step from now on."""
        with self._lock:
            self._planned[step, self._calls[step] + call] = fault

    def begins(self, step: str) -> Fault | None:
        """A call of a step begins: what is to go wrong with it. What happens meanwhile has happened then."""
        with self._lock:
            self._calls[step] += 1
            fault = self._planned.pop((step, self._calls[step]), None)
        if isinstance(fault, Meanwhile):
            fault.do()
        return fault

    def calls(self, step: str) -> int:
        """How often a step has been called."""
        return self._calls[step]

    @contextmanager
    def exposed(self, step: str, fault: Fault | None, kill: Callable[[], None]) -> Iterator[None]:
        """While this runs it can be killed, and is where that was planned."""
        token = object()
        with self._lock:
            self._running[token] = step, kill
        timer = threading.Timer(fault.after_seconds, kill) if isinstance(fault, Kill) else None
        if timer is not None:
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                del self._running[token]

    def kill_any(self, draw: random.Random) -> str:
        """Kill something that runs; the step whose it was, empty where nothing ran."""
        with self._lock:
            running = list(self._running.values())
        if not running:
            return ""
        step, kill = draw.choice(running)
        kill()
        return step


def kill_below(folder: Path) -> None:
    """`kill -9` of every process that works in a folder or below it."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # ended meanwhile, or not ours
                if (process / "cwd").resolve().is_relative_to(folder.resolve()):
                    os.kill(int(process.name), signal.SIGKILL)
