"""What is remembered of a server between two commands, and whether it answers.

The record is one JSON file in the state folder. It is a memory, not a proof: whoever reads it asks the server, and
`java.py` or `containers.py`, whether what it says is still so.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from stores.release_files import write_atomically

RECORD_NAME: Final = "server.json"
_ASK_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.2


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server, and how to find it again."""

    kind: str
    """`url` (somebody else's), `docker` or `java`."""
    url: str
    version: str = ""
    cluster: str = ""
    """The cluster name that it must answer with; empty for somebody else's."""
    pid: int = 0
    container: str = ""


def write_record(folder: Path, server: Server) -> None:
    """Remember a server in a state folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECORD_NAME, msgspec.json.encode(server))


def read_record(folder: Path) -> Server | None:
    """The server that is remembered; None where there is none, or where the file is not ours."""
    try:
        return msgspec.json.decode((folder / RECORD_NAME).read_bytes(), type=Server)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def forget(folder: Path) -> None:
    """Remove the record."""
    (folder / RECORD_NAME).unlink(missing_ok=True)


def ask(url: str, path: str = "/") -> tuple[int, bytes]:
    """One GET, past any proxy: status and body, (0, b"") where nobody answers."""
    parts = urlsplit(url)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers=_credentials(parts.username, parts.password))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()


def _credentials(name: str | None, password: str | None) -> dict[str, str]:
    if name is None:
        return {}
    pair = f"{unquote(name)}:{unquote(password or '')}".encode()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"}


class _Version(msgspec.Struct):
    number: str = ""


class _Greeting(msgspec.Struct):
    cluster_name: str = ""
    version: _Version = msgspec.field(default_factory=_Version)


def greeting(url: str) -> tuple[str, str] | None:
    """(cluster name, version) of the OpenSearch at an address; None where none answers."""
    status, body = ask(url)
    try:
        said = msgspec.json.decode(body, type=_Greeting) if status == 200 else None
    except msgspec.DecodeError:
        return None
    return (said.cluster_name, said.version.number) if said else None


def is_up(server: Server) -> bool:
    """Whether the server answers, and is the one that we started, with a cluster that has a leader."""
    said = greeting(server.url)
    if said is None or (server.cluster and said[0] != server.cluster):
        return False
    return ask(server.url, "/_cluster/health?wait_for_status=yellow&timeout=1s")[0] == 200


def await_ready(server: Server, seconds: float, alive: Callable[[], bool]) -> bool:
    """Wait until the server is up; False when the time is over, or when what runs it is no longer alive."""
    until = monotonic() + seconds
    while monotonic() < until:
        if is_up(server):
            return True
        if not alive():
            return False
        sleep(_POLL_SECONDS)
    return False
