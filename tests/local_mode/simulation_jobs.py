"""Jobs of a simulation done on the spot, where a test is not about processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OnTheSpot:
    """Stands in for `local_mode.simulation.pool.Jobs`."""

    def __init__(self, processes: int, tell: Callable[[int], None]) -> None:
        self.processes, self._tell = processes, tell
        self._waiting: list[tuple[Callable[[Any], None], Callable[..., Any], tuple[Any, ...]]] = []

    def add(self, then: Callable[[Any], None], job: Callable[..., Any], *arguments: Any) -> None:
        self._waiting.append((then, job, arguments))

    def finish(self) -> None:
        while self._waiting:
            then, job, arguments = self._waiting.pop(0)
            then(job(*arguments))
            self._tell(1)
