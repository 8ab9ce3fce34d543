"""The server as a Java process of this user: the JDK it needs, the start, and the stop by its own pid.

The process is detached, so that it outlives the command that started it, and is only ever stopped after its command
line has been read and found to be ours. `server.py` calls it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from contracts.errors import ServerUnavailable
from local_mode.opensearch.jars import BUILDS, Build

LOG_NAME: Final = "server.log"
_RUNNER: Final = "org.codelibs.opensearch.runner.OpenSearchRunner"
_STOP_SECONDS: Final = 15
"""A node closes its indexes in a second or two; whoever needs more is killed, which the translog survives."""
_HEAP: Final = re.compile(r"[1-9][0-9]*[kmgKMG]")
_FOLDERS: Final = ("/usr/lib/jvm/*", "/usr/java/*", "/opt/java*", "/opt/jdk*", "/opt/homebrew/opt/openjdk*")
_FOLDERS_MAC: Final = ("/Library/Java/JavaVirtualMachines/*/Contents/Home",)
_FOLDERS_USER: Final = (".sdkman/candidates/java/*", ".jdks/*")
_SETTINGS: Final = """network.host: 127.0.0.1
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
action.auto_create_index: false
knn.algo_param.index_thread_qty: 2
"""
_FLAGS: Final = (
    "-Djava.awt.headless=true",
    "-Djna.nosys=true",
    "-Dio.netty.noUnsafe=true",
    "-Dlog4j.shutdownHookEnabled=false",
    "-Dlog4j2.disable.jmx=true",
    "-Dopensearch.set.netty.runtime.available.processors=false",
)


def heap() -> str:
    """The heap of a server, TANDEM_OPENSEARCH_HEAP or 1g. Raises ServerUnavailable for what is no size."""
    size = os.environ.get("TANDEM_OPENSEARCH_HEAP", "1g")
    if not _HEAP.fullmatch(size):
        raise ServerUnavailable(f"TANDEM_OPENSEARCH_HEAP={size!r} is no size of a heap.", fix="Say e.g. 1g or 512m.")
    return size


def choose_build() -> tuple[Build, Path] | None:
    """The newest build that a JDK of this machine can run, with that JDK's folder; None where there is no JDK."""
    found = {folder: java_version(folder) for folder in java_homes()}
    for build in BUILDS:
        for folder, version in found.items():
            if version >= build.oldest_java and (not build.stubs or (folder / "bin" / "javac").exists()):
                return build, folder
    return None


def java_homes() -> Iterator[Path]:
    """Folders that may hold a Java: JAVA_HOME, the one on the PATH, the usual places."""
    if named := os.environ.get("JAVA_HOME"):
        yield Path(named)
    for program in ("javac", "java"):
        if found := shutil.which(program):
            yield Path(found).resolve().parent.parent
    patterns = (*_FOLDERS, *_FOLDERS_MAC, *(f"{Path.home()}/{pattern}" for pattern in _FOLDERS_USER))
    for pattern in patterns:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)


def java_version(folder: Path) -> int:
    """The feature release of the Java in a folder, 0 where there is none that runs."""
    try:
        done = subprocess.run(  # noqa: S603 - asks a Java found on this machine for its version
            [str(folder / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = re.search(r'version "(\d+)', done.stderr)
    return int(said[1]) if said else 0


@dataclass(frozen=True)
class Start:
    """What a process is started with."""

    build: Build
    java_home: Path
    class_path: str
    cluster: str
    port: int


def launch(wanted: Start, folder: Path) -> int:
    """Start a server in a state folder, detached, on one port of the loopback; returns its pid."""
    home = folder / wanted.build.version  # an older version cannot read what a newer one wrote
    config = home / "node_1" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "opensearch.yml").write_text(_SETTINGS, encoding="utf-8")
    command = [
        *(str(wanted.java_home / "bin" / "java"), f"-Xms{heap()}", f"-Xmx{heap()}", *wanted.build.java_flags, *_FLAGS),
        *("-cp", wanted.class_path, _RUNNER),
        *("-basePath", str(home), "-numOfNode", "1", "-clusterName", wanted.cluster),
        *("-baseHttpPort", str(wanted.port - 1)),  # the runner adds the number of the node
        *("-moduleTypes", ",".join(wanted.build.modules), "-pluginTypes", "org.opensearch.knn.plugin.KNNPlugin"),
    ]
    # Through a shell that ends at once: the server is nobody's child, so no command has to wait for its end.
    detach = f'"$@" </dev/null >{LOG_NAME} 2>&1 & echo $!'
    done = subprocess.run(  # noqa: S603 - the words are ours, the program is the JDK that was chosen
        ["/bin/sh", "-c", detach, "sh", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        start_new_session=True,
        check=True,
    )
    return int(done.stdout)


def runs(pid: int, folder: Path) -> bool:
    """Whether this pid is a server that was started for this state folder, and not a later owner of the number."""
    words = _command_line(pid)
    return f" {_RUNNER} " in words and f" {folder}/" in words


def _command_line(pid: int) -> str:
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


def stop(pid: int, folder: Path) -> None:
    """Stop the server of this state folder: asked first, killed if it does not go."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not runs(pid, folder):
            return
        os.kill(pid, sign)
        until = monotonic() + _STOP_SECONDS
        while runs(pid, folder) and monotonic() < until:
            sleep(0.1)


def last_words(folder: Path) -> str:
    """What the log says went wrong, or how it ends, for a message (the runner itself swallows its exception)."""
    try:
        lines = (folder / LOG_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it wrote no log"
    return " / ".join(line.strip() for line in lines[-2:])[:600] or "its log is empty"
