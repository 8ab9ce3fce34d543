"""The server as a Java process of this user: the JDK it needs, the start, and the stop by its own pid.

The process is `local_mode/detached.py`'s; what makes it ours is the runner and the state folder in its command line.
`server.py` calls it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import ServerUnavailable
from local_mode import detached
from local_mode.jdk import compiles, java_homes, java_version
from local_mode.opensearch.jars import BUILDS, Build

_RUNNER: Final = "org.codelibs.opensearch.runner.OpenSearchRunner"
_HEAP: Final = re.compile(r"[1-9][0-9]*[kmgKMG]")
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
            if version >= build.oldest_java and (not build.stubs or compiles(folder)):
                return build, folder
    return None


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
    return detached.launch(command, folder)


def runs(pid: int, folder: Path) -> bool:
    """Whether this pid is a server that was started for this state folder, and not a later owner of the number."""
    words = detached.command_line(pid)
    return f" {_RUNNER} " in words and f" {folder}/" in words


def stop(pid: int, folder: Path) -> None:
    """Stop the server of this state folder: asked first, killed if it does not go."""
    detached.stop(pid, lambda: runs(pid, folder))
