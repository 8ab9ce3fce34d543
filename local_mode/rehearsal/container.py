"""What a container of SageMaker is on this machine: a folder laid out like `/opt/ml`, and a process group with a time.

`toolkit.py` and `processing.py` run one each in their own way.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

CONTAINER: Final = "/opt/ml"
"""Where a container finds its folders; here it is the scratch folder of an attempt."""
LONGEST_SECONDS: Final = 86_400
"""SageMaker's own limit where a request names none."""
POLL_SECONDS: Final = 0.05
"""Between looks at a process."""


def relocated(text: str, ml: Path) -> str:
    """A path, or a command with paths, as it is here."""
    return text.replace(CONTAINER, str(ml))


def ends_at(request: Mapping[str, Any]) -> float:
    """When a job that begins now has run as long as it may, by `time.monotonic`."""
    seconds: float = request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", LONGEST_SECONDS)
    return time.monotonic() + seconds


def kill_group(pid: int) -> None:
    """As an instance ends: `kill -9` of a process group, gone or not, and nothing is told."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def shell_status(exit_code: int) -> int:
    """An exit code as a shell counts it: a process that a signal ended has 128 and the signal."""
    return exit_code if exit_code > 0 else 128 - exit_code
