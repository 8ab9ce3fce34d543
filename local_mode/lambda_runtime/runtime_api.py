"""The Lambda Runtime API of one execution environment: HTTP on the loopback, spoken by `awslambdaric`.

The process asks for the next invocation and is kept waiting until there is one, posts what became of it, and with
SnapStart asks to be restored. Each thing that it says arrives at `heard` in order. It starts no process and knows no
deadline but the one that it passes on; `instance.py` owns one per process. Protocol:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import queue
import threading
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

HOST: Final = "127.0.0.1"
_PREFIX: Final = "/2018-06-01/runtime/"
_STOPS_WITHIN_SECONDS: Final = 0.05
"""How long a closed server may take to notice."""


class Kind(Enum):
    """What a process may say, or what is said of it."""

    AT_SNAPSHOT = "asks to be restored"
    READY = "asks for the next invocation"
    RESPONSE = "answered"
    ERROR = "its handler raised"
    INIT_ERROR = "its import, or a hook before the snapshot, failed"
    RESTORE_ERROR = "a hook after the restore raised"
    EXITED = "the process has ended"


class Said(NamedTuple):
    """One thing that a process said."""

    kind: Kind
    body: bytes = b""
    request_id: str = ""


class Invocation(NamedTuple):
    """An event on its way to a handler."""

    request_id: str
    event: bytes
    """JSON."""
    deadline_ms: int
    """Unix milliseconds."""
    function_arn: str

    def headers(self) -> dict[str, str]:
        """As Lambda sends them. The trace is not sampled: nothing here would collect it."""
        digits = self.request_id.replace("-", "")
        trace = f"Root=1-{self.deadline_ms // 1000:08x}-{digits[:24]};Parent={digits[:16]};Sampled=0"
        return {
            "content-type": "application/json",
            "lambda-runtime-aws-request-id": self.request_id,
            "lambda-runtime-deadline-ms": str(self.deadline_ms),
            "lambda-runtime-invoked-function-arn": self.function_arn,
            "lambda-runtime-trace-id": trace,
        }


class RuntimeApi:
    """The server of one process."""

    def __init__(self) -> None:
        """Listens from here on."""
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._next: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        self._restore: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._server = _Server((HOST, 0), type("Exchange", (_Exchange,), {"api": self}))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOPS_WITHIN_SECONDS,), name="runtime-api", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """What AWS_LAMBDA_RUNTIME_API must be."""
        return f"{HOST}:{self._server.server_port}"

    def hand_over(self, invocation: Invocation) -> None:
        """Answer the process, which asks for the next invocation or soon will."""
        self._next.put(invocation)

    def restore(self) -> None:
        """Answer the process, which waits at its snapshot."""
        self._restore.put(True)

    def hear(self, said: Said) -> None:
        """Something was said, by the process or of it."""
        self._said.put(said)

    def heard(self, patience_seconds: float) -> Said | None:
        """The next thing said; None where nothing is for so long."""
        try:
            return self._said.get(timeout=max(0.0, patience_seconds))
        except queue.Empty:
            return None

    def close(self) -> None:
        """Stop listening and let go of a process that still asks."""
        self._next.put(None)
        self._restore.put(False)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for_invocation(self) -> Invocation | None:
        """The next invocation; None when there will be none."""
        self.hear(Said(Kind.READY))
        return self._next.get()

    def wait_for_restore(self) -> bool:
        """Whether the process goes on from its snapshot."""
        self.hear(Said(Kind.AT_SNAPSHOT))
        return self._restore.get()


class _Server(ThreadingHTTPServer):
    """Threads end with their connections, which end with the process that speaks."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nobody is there to be told: the process was killed while it spoke."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection of the process."""

    api: RuntimeApi
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # one segment a response: unbuffered, with Nagle's algorithm, each takes 40 ms more
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """`invocation/next` and `restore/next`: answered when there is something to answer."""
        asked = self.path.removeprefix(_PREFIX)
        if asked == "invocation/next":
            invocation = self.api.wait_for_invocation()
            if invocation is None:
                self._answer(410, b"")
            else:
                self._answer(200, invocation.event, invocation.headers())
        elif asked == "restore/next":
            self._answer(200 if self.api.wait_for_restore() else 410, b"")
        else:
            self._answer(404, b"")

    def do_POST(self) -> None:
        """What became of an invocation, of the import, of the hooks."""
        body = self._body()
        said = _said_of(self.path.removeprefix(_PREFIX), body)
        if said is None:
            self._answer(404, b"")
            return
        self.api.hear(said)
        self._answer(202, b'{"status":"OK"}')

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that the base class gives it
        """Say nothing."""


_POSTED: Final = {"response": Kind.RESPONSE, "error": Kind.ERROR}


def _said_of(path: str, body: bytes) -> Said | None:
    """What a POST to a path below the prefix says; None for a path that Lambda does not have."""
    if path == "init/error":
        return Said(Kind.INIT_ERROR, body)
    if path == "restore/error":
        return Said(Kind.RESTORE_ERROR, body)
    parts = path.split("/")
    if len(parts) == 3 and parts[0] == "invocation" and parts[2] in _POSTED:
        return Said(_POSTED[parts[2]], body, parts[1])
    return None
