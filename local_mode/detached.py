"""A process that outlives the command that started it, found again by its pid and stopped only when it is ours.

The system gives the number of a pid that ended to somebody else: before a signal is sent, the caller reads the command
line and says whether it is the process that it started. The servers of this machine are run through it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Final

LOG_NAME: Final = "server.log"
_STOP_SECONDS: Final = 15
"""OpenSearch closes its indexes in a second or two; whoever needs more is killed, which its translog survives."""


def launch(command: Sequence[str], folder: Path) -> int:
    """Start a command in a folder, which gets its log; returns its pid."""
    # Through a shell that ends at once: the process is nobody's child, so no command has to wait for its end.
    detach = f'"$@" </dev/null >{LOG_NAME} 2>&1 & echo $!'
    done = subprocess.run(  # noqa: S603 - the words are ours, the program is the JDK that was chosen
        ["/bin/sh", "-c", detach, "sh", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=True,
    )
    return int(done.stdout)


def command_line(pid: int) -> str:
    """The words that a process was started with; empty where there is none."""
    proc = Path("/proc") / str(pid) / "cmdline"
    if Path("/proc/self").exists():
        try:
            return proc.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            return ""
    done = subprocess.run(  # noqa: S603 - asks for the words of one process, where there is no /proc (macOS)
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout


def stop(pid: int, is_ours: Callable[[], bool]) -> None:
    """Stop a process as long as it is ours: asked first, killed if it does not go."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not is_ours():
            return
        os.kill(pid, sign)
        until = monotonic() + _STOP_SECONDS
        while is_ours() and monotonic() < until:
            sleep(0.1)


def last_words(folder: Path) -> str:
    """What the log says went wrong, or how it ends, for a message (a server may swallow its own exception)."""
    try:
        lines = (folder / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it wrote no log"
    return " / ".join(line.strip() for line in lines[-2:])[:600] or "its log is empty"
