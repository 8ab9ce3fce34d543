"""A SageMaker processing job on this machine: a container's command over a folder laid out like `/opt/ml`.

Inputs come down from S3, the command runs in a process group of its own with `/opt/ml` replaced by a scratch folder,
outputs go up in the end, and what it leaves in `output/message` becomes the job's ExitMessage. It knows nothing of what
is run, no image, no network isolation and one host. `sagemaker.py` calls it for `createProcessingJob.sync`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from local_mode.rehearsal.container import POLL_SECONDS, ends_at, kill_group, relocated, shell_status
from local_mode.rehearsal.s3_folders import bring_down, send_up

MESSAGE_CHARACTERS: Final = 1_024
"""Of ExitMessage, in DescribeProcessingJob."""
_INHERITED: Final = ("HOME", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables of this process that the command sees; nothing of this repository's."""

Exposed = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Told how to kill the process, for as long as it runs."""


@dataclass(frozen=True)
class ProcessingResult:
    """How a job ended, with the words of DescribeProcessingJob."""

    status: str
    failure_reason: str = ""
    exit_message: str = ""


def run_processing(
    request: Mapping[str, Any], scratch: Path, environment: Mapping[str, str], s3: Any, exposed: Exposed
) -> ProcessingResult:
    """Run a job to its end. `scratch`: takes its folder; `environment`: with which boto3 in it finds AWS."""
    ml = scratch / str(request["ProcessingJobName"]) / "ml"
    (ml / "output").mkdir(parents=True)
    for each in request.get("ProcessingInputs", ()):
        uri = each["S3Input"]["S3Uri"]
        if not bring_down(uri, _here(each["S3Input"]["LocalPath"], ml), s3):
            return ProcessingResult("Failed", f"ClientError: Failed to download data. No S3 objects found under {uri}")
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", ())
    for each in outputs:
        _here(each["S3Output"]["LocalPath"], ml).mkdir(parents=True, exist_ok=True)
    _tell(request, ml)
    exit_code = _run(request, ml, environment, exposed)
    if exit_code is None:
        return ProcessingResult("Stopped", "", "")
    for each in outputs:
        send_up(_here(each["S3Output"]["LocalPath"], ml), each["S3Output"]["S3Uri"], s3)
    message = _message(ml)
    shutil.rmtree(ml / "processing", ignore_errors=True)  # inputs and the unpacked archive, as its machine goes
    if exit_code == 0:
        return ProcessingResult("Completed", exit_message=message)
    reason = f"AlgorithmError: See job logs for more information, exit code: {shell_status(exit_code)}"
    return ProcessingResult("Failed", reason, message)


def _here(path: str, ml: Path) -> Path:
    return Path(relocated(path, ml))


def _tell(request: Mapping[str, Any], ml: Path) -> None:
    """The two files in which a container finds what it is."""
    config = ml / "config"
    config.mkdir()
    (config / "processingjobconfig.json").write_text(json.dumps(dict(request)))
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))


def _run(request: Mapping[str, Any], ml: Path, environment: Mapping[str, str], exposed: Exposed) -> int | None:
    """The exit status of the command; None where it took longer than it may."""
    application = request["AppSpecification"]
    command = [*application["ContainerEntrypoint"], *application.get("ContainerArguments", ())]
    until = ends_at(request)
    with (ml.parent / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # what the state machine says, which is this repository's
            [relocated(part, ml) for part in command],
            cwd=ml,
            env=_environment(request, ml, environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with exposed(lambda: kill_group(process.pid)):
                while (exit_code := process.poll()) is None and time.monotonic() < until:
                    time.sleep(POLL_SECONDS)
                return exit_code
        finally:
            kill_group(process.pid)
            process.wait()


def _environment(request: Mapping[str, Any], ml: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What the container is told, with its folders where they lie here; `python3` is the one that runs this."""
    temporary = ml.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    told = {
        name: re.sub("^/tmp(?=/|$)", str(temporary), value)
        if value.startswith("/tmp")  # noqa: S108  # the container's, not this machine's
        else relocated(value, ml)
        for name, value in request.get("Environment", {}).items()
    }
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        "TMPDIR": str(temporary),
        **environment,
        "TANDEM_ML": str(ml),
        **told,
    }


def _message(ml: Path) -> str:
    file = ml / "output" / "message"
    return file.read_text(errors="replace")[:MESSAGE_CHARACTERS] if file.is_file() else ""
