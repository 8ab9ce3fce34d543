"""The dev server: real HTTP on the loopback, turned into the events that API Gateway would send.

One handler, two ways in: this builds payload 2.0 events (path decoded once, query string and headers as they came,
base64 for what is not text) and writes the responses back, so what is tried here is what is deployed. It knows no
routes and reads no stores. `tandem serve` and the tests call it.
"""

from __future__ import annotations

import signal
import sys
import threading
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import time
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from contracts.event import MAX_EVENTS_BODY_BYTES
from lambda_user_tower.edge import Edge
from lambda_user_tower.items_parse import MAX_ITEMS_BODY_BYTES
from local_mode.engine import local_settings

HOST: Final = "127.0.0.1"
"""Loopback only: there is no authentication here."""
_WORKERS: Final = 8
_SOCKET_SECONDS: Final = 10
"""A client that sends nothing for so long is hung up on."""
_MOST_READ: Final = 10 * 1024 * 1024
"""API Gateway's limit. So much of a body that is too large is read and thrown away, so that its sender, who reads
the answer only after sending, sees a 413 and no broken connection."""

_BODY_LIMIT: Final = max(MAX_EVENTS_BODY_BYTES, MAX_ITEMS_BODY_BYTES)
"""Of the endpoints' own limits, the highest."""

Handler = Callable[[dict[str, Any], object], dict[str, Any]]


def serve(home: Path, port: int) -> None:
    """Serve the folder `home` on the loopback until SIGINT or SIGTERM; requests under way are finished first."""
    edge = Edge(local_settings(home))
    server = DevServer(edge, port)
    stop = threading.Event()
    before = {sign: signal.signal(sign, lambda *_: stop.set()) for sign in (signal.SIGINT, signal.SIGTERM)}
    thread = threading.Thread(target=server.serve_forever, name="dev-server")
    thread.start()
    sys.stderr.write(f"serving {home} on http://{HOST}:{server.server_port}/v1/health (stop with Ctrl-C)\n")
    try:
        stop.wait()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        edge.close()
        for sign, action in before.items():
            signal.signal(sign, action)


def http_event(method: str, target: str, headers: Message, body: bytes) -> dict[str, Any]:
    """A request as the event of an HTTP API. `target` is the request target as it stood on the request line."""
    path, _, query = target.encode("latin-1").partition(b"?")  # http.server reads the request line as latin-1
    decoded = unquote_to_bytes(path).decode(errors="surrogateescape")
    text, is_base64 = _event_body(body)
    names = {name.lower(): ",".join(headers.get_all(name, [])) for name in headers.keys()}  # noqa: SIM118  # no dict
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": decoded,
        "rawQueryString": query.decode(errors="surrogateescape"),
        "headers": names,
        "requestContext": {
            "http": {
                "method": method,
                "path": decoded,
                "protocol": "HTTP/1.1",
                "sourceIp": HOST,
                "userAgent": names.get("user-agent", ""),
            },
            "requestId": uuid4().hex,
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": int(time() * 1000),
        },
        "isBase64Encoded": is_base64,
    }
    return event | ({"body": text} if body else {})


def _event_body(body: bytes) -> tuple[str, bool]:
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return b64encode(body).decode(), True


class DevServer(HTTPServer):
    """A server with a fixed number of workers, each of which keeps its own connection to the profile store."""

    def __init__(self, handler: Handler, port: int, body_limit: int = _BODY_LIMIT) -> None:
        """`body_limit`: bytes of a body that the handler may see; it gets one more of a longer one, and refuses it."""

        class Exchange(_Exchange):
            answer = staticmethod(handler)
            most_of_a_body = body_limit + 1

        super().__init__((HOST, port), Exchange)
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="dev-server")

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a worker."""
        self._workers.submit(self._work, request, client_address)

    def _work(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client has gone; there is nobody to tell
        finally:
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and finish the requests under way."""
        super().server_close()
        self._workers.shutdown()


class _Exchange(BaseHTTPRequestHandler):
    """One request and its response; the connection is closed after it, so that a stop waits for work only."""

    answer: Handler
    most_of_a_body: int
    timeout = _SOCKET_SECONDS
    server_version = "tandem"
    sys_version = ""

    def _exchange(self) -> None:
        if "transfer-encoding" in self.headers:
            self.send_error(411, "Send a Content-Length")
            return
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            self.send_error(400, "Content-Length is not a number")
            return
        announced = min(int(length[:18]), _MOST_READ)
        # one byte over the limit is enough for the handler to refuse the body, however much was announced
        body = self.rfile.read(min(announced, self.most_of_a_body))
        self._discard(announced - len(body))
        self._respond(self.answer(http_event(self.command, self.path, self.headers, body), None))

    def _discard(self, rest: int) -> None:
        while rest > 0 and (chunk := self.rfile.read(min(rest, _BODY_LIMIT))):
            rest -= len(chunk)

    def _respond(self, response: dict[str, Any]) -> None:
        body = response["body"].encode()
        self.send_response(response["statusCode"])
        for name, value in response["headers"].items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _exchange  # noqa: N815  # http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that the base class gives it
        """Say nothing: the handler writes a line per request, without user ids, and a path may hold one."""
