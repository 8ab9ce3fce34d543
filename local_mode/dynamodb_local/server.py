"""One DynamoDB Local per folder: `start` and `stop`, and the tables of profiles and of live data.

It runs from jars of Maven Central on a JDK of this machine, in memory, on the loopback, without telemetry; what it held
is gone when it stops. The folder holds its record and its log. The tests' fixture, the soak and the rehearsal of
serving call it.
"""

from __future__ import annotations

import socket
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import msgspec

from contracts.errors import ServerUnavailable
from local_mode import detached
from local_mode.jars import Jars, fetched
from local_mode.jdk import compiles, java_homes, java_version
from local_mode.opensearch.record import ask
from stores.dynamodb_table import KEY
from stores.live_table import CHANGED, EXPIRES, FEED, ID, KIND

JARS: Final = Jars(
    name="DynamoDB Local",
    version="2.6.1",
    oldest_java=17,
    libraries=("com.amazonaws:DynamoDBLocal:2.6.1",),
    pins=Path(__file__).with_name("jars-2.6.1.sha256"),
    megabytes=51,
    instead="do without it: moto stands in for it in most tests",
)
RECORD_NAME: Final = "dynamodb-local.json"
_LOOPBACK: Final = Path(__file__).with_name("Loopback.java")
_READY_SECONDS: Final = 120
"""Four on a quiet machine; a machine that is busy with everything else gets thirty times that."""
_POLL_SECONDS: Final = 0.1
_HEAP: Final = "-Xmx512m"
"""Holds ten thousand profiles of the largest size with room to spare."""


class Running(msgspec.Struct, frozen=True):
    """A server that was started."""

    url: str
    pid: int


def start(folder: Path) -> str:
    """The URL of the server of a folder, started if it does not run. Raises ServerUnavailable with what to install."""
    folder = folder.resolve()
    remembered = _read(folder)
    if remembered and _runs(remembered.pid, folder) and _answers(remembered.url):
        return remembered.url
    stop(folder)
    java_home = _java()
    lib = fetched(JARS, java_home, lambda _: None) / "lib"
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [
        *(str(java_home / "bin" / "java"), _HEAP, f"-Dtandem.folder={folder}", f"-Djava.library.path={lib}"),
        *("-cp", f"{lib}/*", str(_LOOPBACK)),
        *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)),
    ]
    running = Running(f"http://127.0.0.1:{port}", detached.launch(command, folder))
    (folder / RECORD_NAME).write_bytes(msgspec.json.encode(running))
    _await_ready(running, folder)
    return running.url


def stop(folder: Path) -> bool:
    """Stop the server of a folder; whether there was one."""
    folder = folder.resolve()
    remembered = _read(folder)
    if remembered is None:
        return False
    ran = _runs(remembered.pid, folder)
    detached.stop(remembered.pid, lambda: _runs(remembered.pid, folder))
    (folder / RECORD_NAME).unlink(missing_ok=True)
    return ran


def create_profiles_table(client: Any, name: str) -> None:
    """A table as the storage stack makes it, for a client of whatever engine."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def create_live_table(client: Any, name: str) -> None:
    """The table of live data, likewise."""
    client.create_table(
        TableName=name,
        KeySchema=_keys(KIND, ID),
        AttributeDefinitions=[
            {"AttributeName": attribute, "AttributeType": kind}
            for attribute, kind in ((KIND, "S"), (ID, "S"), (CHANGED, "N"))
        ],
        LocalSecondaryIndexes=[
            {"IndexName": FEED, "KeySchema": _keys(KIND, CHANGED), "Projection": {"ProjectionType": "ALL"}}
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES})


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def _java() -> Path:
    for folder in java_homes():
        if compiles(folder) and java_version(folder) >= JARS.oldest_java:
            return folder
    raise ServerUnavailable(
        f"There is no JDK >= {JARS.oldest_java} to run {JARS} with.",
        fix="Install one, and Maven (e.g. 'apt-get install openjdk-17-jdk-headless maven').",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _read(folder: Path) -> Running | None:
    try:
        return msgspec.json.decode((folder / RECORD_NAME).read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _runs(pid: int, folder: Path) -> bool:
    return f" -Dtandem.folder={folder} " in detached.command_line(pid)


def _answers(url: str) -> bool:
    return ask(url)[0] == 400  # it refuses what is not signed


def _await_ready(running: Running, folder: Path) -> None:
    until = monotonic() + _READY_SECONDS
    while monotonic() < until and _runs(running.pid, folder):
        if _answers(running.url):
            return
        sleep(_POLL_SECONDS)
    said = detached.last_words(folder)
    stop(folder)
    raise ServerUnavailable(f"{JARS} did not get ready: {said}", fix=f"The log in {folder} says more.")
