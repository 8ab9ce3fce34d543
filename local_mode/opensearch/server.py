"""One OpenSearch for this machine: `start`, `stop` and `status`, wherever the server comes from.

The order is: OPENSEARCH_URL (somebody else's server, never stopped here), a server of this state folder that runs
already, Docker where an engine answers, jars of Maven Central on a JDK of this machine. The state folder holds the
record, the log and the data. The CLI and the tests' fixture call it.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import ServerUnavailable, StateBusy
from local_mode import detached
from local_mode.opensearch import containers, java
from local_mode.opensearch.jars import class_path
from local_mode.opensearch.record import (
    Server,
    ask,
    await_ready,
    forget,
    greeting,
    is_up,
    read_record,
    write_record,
)

URL_VARIABLE: Final = "OPENSEARCH_URL"
STATE_NAME: Final = "opensearch"
_READY_SECONDS: Final = 120
"""Ten on a quiet machine; a machine that is busy with everything else gets twelve times that."""
_LOCK_SECONDS: Final = 600
"""A start that waits for another one waits at most for its download."""
_PORTS: Final = range(9201, 9299)
"""The runner of the jars takes no port above 9299."""

Say = Callable[[str], None]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the server of a state folder."""

    running: bool
    url: str = ""
    kind: str = ""
    version: str = ""
    pid: int = 0
    log: str = ""


def start(home: Path, say: Say = lambda _: None) -> Server:
    """The server of a home folder, started if it does not run. Raises ServerUnavailable with what to install."""
    if given := os.environ.get(URL_VARIABLE):
        return _given(given)
    folder = _state_folder(home)
    with _alone(folder):
        remembered = read_record(folder)
        if remembered and _runs(remembered, folder):
            if is_up(remembered) or await_ready(remembered, _READY_SECONDS, lambda: _runs(remembered, folder)):
                return remembered
            _stop(remembered, folder)
        server = _launch(folder, say)
        write_record(folder, server)
        if not await_ready(server, _READY_SECONDS, lambda: _runs(server, folder)):
            raise _did_not_start(server, folder)
        return server


def stop(home: Path) -> bool:
    """Stop the server that was started for a home folder; whether there was one. Its data stays."""
    folder = _state_folder(home)
    if not folder.exists():
        return False
    with _alone(folder):
        server = read_record(folder)
        if server is None:
            return False
        ran = _runs(server, folder)
        _stop(server, folder)
        return ran


def status(home: Path) -> Status:
    """What runs for a home folder, or at OPENSEARCH_URL where that is set."""
    if given := os.environ.get(URL_VARIABLE):
        said = greeting(given)
        return Status(running=ask(given)[0] > 0, url=given, kind="url", version=said[1] if said else "")
    folder = _state_folder(home)
    server = read_record(folder)
    if server is None or not is_up(server):
        return Status(running=False)
    log = str(folder / detached.LOG_NAME) if server.kind == "java" else ""
    return Status(running=True, url=server.url, kind=server.kind, version=server.version, pid=server.pid, log=log)


def running_url(home: Path) -> str | None:
    """The address to search at: OPENSEARCH_URL, or the server of a home folder; None where neither is."""
    if given := os.environ.get(URL_VARIABLE):
        return given
    found = status(home)
    return found.url if found.running else None


def _state_folder(home: Path) -> Path:
    return home.resolve() / STATE_NAME


def _given(url: str) -> Server:
    """Somebody else's server: it must answer, and whether it lets us in is for its client to find out."""
    code, _ = ask(url)
    if not 200 <= code < 500:
        raise ServerUnavailable(
            f"{URL_VARIABLE} is set, but no server answers there.",
            fix=f"Start that server, or unset {URL_VARIABLE} to have one started here.",
        )
    said = greeting(url)
    return Server(kind="url", url=url, version=said[1] if said else "")


def _launch(folder: Path, say: Say) -> Server:
    # A name of this folder's own: whatever else answers at the port is seen not to be this server.
    name = f"tandem-opensearch-{sha256(str(folder).encode()).hexdigest()[:8]}"
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    if containers.engine_answers():
        say(f"starting {containers.IMAGE} in Docker")
        containers.launch(name, port)
        return Server(kind="docker", url=url, version=containers.VERSION, cluster=name, container=name)
    chosen = java.choose_build()
    if chosen is None:
        raise ServerUnavailable(
            "There is nothing to run OpenSearch with: no Docker engine answers and no JDK was found.",
            fix="Install Docker, or a JDK >= 21 and Maven (e.g. 'apt-get install openjdk-21-jdk-headless maven'), "
            f"or set {URL_VARIABLE} to a server that runs.",
        )
    build, java_home = chosen
    path = class_path(build, java_home, say)
    say(f"starting OpenSearch {build.version} with {java_home}")
    pid = java.launch(java.Start(build, java_home, path, name, port), folder)
    return Server(kind="java", url=url, version=build.version, cluster=name, pid=pid)


def _free_port() -> int:
    for port in random.sample(_PORTS, len(_PORTS)):  # in no order: two starts at once rarely want the same one
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerUnavailable(f"No port from {_PORTS[0]} to {_PORTS[-1]} is free.", fix="Stop servers that nobody uses.")


def _runs(server: Server, folder: Path) -> bool:
    return containers.runs(server.container) if server.kind == "docker" else java.runs(server.pid, folder)


def _stop(server: Server, folder: Path) -> None:
    if server.kind == "docker":
        containers.stop(server.container)
    else:
        java.stop(server.pid, folder)
    forget(folder)


def _did_not_start(server: Server, folder: Path) -> ServerUnavailable:
    said = containers.last_words(server.container) if server.kind == "docker" else detached.last_words(folder)
    _stop(server, folder)
    return ServerUnavailable(
        f"OpenSearch {server.version} did not get ready: {said}",
        fix=f"The log in {folder} says more; where memory is short, set TANDEM_OPENSEARCH_HEAP=512m.",
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One start or stop of a state folder at a time."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise StateBusy(f"{folder} is held by another command.", fix="Wait for it, or stop it.") from error
