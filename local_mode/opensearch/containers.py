"""The server as a Docker container: the same version as from jars, with the native k-NN library.

Everything is done through the `docker` command, so that contexts and remote engines work as its user set them up.
`server.py` calls it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from contracts.errors import ServerUnavailable
from local_mode.opensearch.java import heap

IMAGE: Final = "opensearchproject/opensearch:3.5.0"
VERSION: Final = "3.5.0"
_ANSWER_SECONDS: Final = 3
_PULL_SECONDS: Final = 600
"""The image has 900 MB; `docker run` pulls it the first time."""
_SETTINGS: Final = {
    "discovery.type": "single-node",
    "cluster.routing.allocation.disk.threshold_enabled": "false",
    "action.auto_create_index": "false",
    "knn.algo_param.index_thread_qty": "2",
    "DISABLE_SECURITY_PLUGIN": "true",
    "DISABLE_INSTALL_DEMO_CONFIG": "true",
}


def engine_answers() -> bool:
    """Whether there is a Docker whose engine answers within three seconds."""
    return shutil.which("docker") is not None and _docker("info", seconds=_ANSWER_SECONDS) is not None


def launch(name: str, port: int) -> None:
    """Start a container on a port of the loopback; its cluster and the volume of its data have the same name."""
    settings = _SETTINGS | {"cluster.name": name, "OPENSEARCH_JAVA_OPTS": f"-Xms{heap()} -Xmx{heap()}"}
    words = [word for key, value in settings.items() for word in ("-e", f"{key}={value}")]
    volume = f"{name}:/usr/share/opensearch/data"
    _docker("rm", "--force", name)
    address = f"127.0.0.1:{port}:9200"
    ran = _docker("run", "-d", "--name", name, "-p", address, "-v", volume, *words, IMAGE, seconds=_PULL_SECONDS)
    if ran is None:
        raise ServerUnavailable(
            f"Docker could not run {IMAGE}.", fix=f"Try 'docker pull {IMAGE}', or set OPENSEARCH_URL to a server."
        )


def runs(name: str) -> bool:
    """Whether the container of this name is running."""
    said = _docker("inspect", "--format", "{{.State.Running}}", name)
    return said is not None and said.strip() == "true"


def stop(name: str) -> None:
    """Stop and remove the container; its volume stays."""
    _docker("stop", "--time", "15", name)
    _docker("rm", "--force", name)


def last_words(name: str) -> str:
    """The end of the container's log, for a message."""
    return " / ".join((_docker("logs", "--tail", "3", name) or "it wrote no log").splitlines())


def _docker(*words: str, seconds: float = 60) -> str | None:
    """What a docker command prints; None where it fails or does not come back."""
    program = shutil.which("docker")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours, the program is the user's own docker
            [program, *words], cwd=Path.home(), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
