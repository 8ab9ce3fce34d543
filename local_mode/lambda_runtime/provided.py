"""What AWS puts beside a function: the runtime client with what it needs, as a folder of its own, and the environment.

Only that much of this environment's libraries is within a function's reach, so that one which the bundle lacks is
missing here as it would be there. `function.py` calls it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

from contracts.errors import ServerUnavailable

RUNTIME_CLIENT: Final = "awslambdaric"

ACCOUNT: Final = "123456789012"
DEFAULT_REGION: Final = "us-east-1"


class Identity(NamedTuple):
    """What a function is, as it is told."""

    name: str
    handler: str
    memory_mb: int
    snap_start: bool
    region: str

    @property
    def arn(self) -> str:
        """Of its version."""
        return f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:{self.name}:{_VERSION}"


_VERSION: Final = "1"
"""A published version, which is what an alias points at; `$LATEST` is never served."""

_EXECUTION_ENVIRONMENT: Final = "AWS_Lambda_python3.14"
"""The runtime that is deployed: the client polls in a thread of its own there, which costs CPU, so it does here."""


def lay_runtime(folder: Path) -> None:
    """Fill `folder` with links to the runtime client and what it requires. Raises ServerUnavailable without it."""
    folder.mkdir()
    for name in _with_requirements(RUNTIME_CLIENT):
        library = distribution(name)
        top_levels = {file.parts[0] for file in library.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top_level in top_levels:
            (folder / top_level).symlink_to(str(library.locate_file(top_level)))


def _with_requirements(name: str) -> set[str]:
    """A library and what it requires, and so on."""
    try:
        requirements = distribution(name).requires or []
    except PackageNotFoundError as error:
        raise ServerUnavailable(
            f"{error.name} is not installed.", fix="Functions run on Linux; install the group `test`."
        ) from error
    found = {name}
    for requirement in requirements:
        if "extra ==" not in requirement and (match := re.match(r"[\w.-]+", requirement)):
            found |= _with_requirements(match[0])
    return found


def environment_of(identity: Identity, task_root: Path, runtime: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Everything that a function's process sees but the address of its Runtime API.

    `given` is what the function is configured with, credentials included; the variables that AWS reserves win over it.
    """
    defaults = {"LANG": "C.UTF-8", "TZ": ":UTC", "PATH": os.defpath}
    reserved = {
        "AWS_DEFAULT_REGION": identity.region,
        "AWS_EXECUTION_ENV": _EXECUTION_ENVIRONMENT,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(identity.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": identity.name,
        "AWS_LAMBDA_FUNCTION_VERSION": _VERSION,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if identity.snap_start else "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{identity.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_REGION": identity.region,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "LAMBDA_RUNTIME_DIR": str(runtime),
        "LAMBDA_TASK_ROOT": str(task_root),
        "PYTHONDONTWRITEBYTECODE": "1",  # the folder of a function cannot be written to
        "PYTHONPATH": str(runtime),  # after the working folder, which is the bundle
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": identity.handler,
    }
    return defaults | dict(given) | reserved
