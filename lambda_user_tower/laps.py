"""How long each stage of a request took, for its log line: a few clock readings, and no metric of its own.

A custom metric costs by the month whether anybody looks; a field of a line that is written anyway costs its bytes, and
a query over lines when it is asked. `edge.py` starts one a request, `recommend.py` and `intake.py` mark their stages.
"""

from __future__ import annotations

import time


class Laps:
    """Milliseconds of each stage, by the name of its field."""

    __slots__ = ("_at", "ms")

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._at = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage: `<stage>_ms` is the time since the one before."""
        now = time.perf_counter()
        self.ms[f"{stage}_ms"] = round((now - self._at) * 1_000, 2)
        self._at = now
