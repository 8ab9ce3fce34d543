"""A proxy before a search engine that answers searches wrongly on demand. `faults.py` and its test drive it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import urllib3

HANG_SECONDS: Final = 2.0
"""How long a black hole holds on: far beyond every deadline, short enough to end a benchmark."""
DRIP_SECONDS: Final = 0.02

Spoil = Callable[[dict[str, Any]], Any]


def _with_hits(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spoil:
    return lambda answer: answer | {"hits": {"hits": [hit | change(hit) for hit in answer["hits"]["hits"]]}}


SPOILT: Final[dict[str, Spoil]] = {
    "half the shards": lambda answer: answer | {"_shards": {"failed": 1}},
    "engine out of time": lambda answer: answer | {"timed_out": True},
    "another index": _with_hits(lambda _: {"_index": "items-other-r1"}),
    "scores that are no numbers": _with_hits(lambda _: {"_score": "NaN"}),
    "rows beyond the release": _with_hits(lambda _: {"fields": {"row": [10**9]}}),
    "hits without rows": _with_hits(lambda _: {"fields": {}}),
    "one item again and again": lambda answer: answer | {"hits": {"hits": [answer["hits"]["hits"][0]] * 50}},
    "not an object": lambda _: [1, 2, 3],
}
"""Changes of a good answer."""

BODIES: Final[dict[str, tuple[int, bytes]]] = {
    "429": (429, b'{"error": {"type": "rejected_execution_exception"}, "status": 429}'),
    "503": (503, b"<html>503 Service Unavailable</html>"),
    "500": (500, b'{"error": "boom"}'),
    "404, the index is gone": (404, b'{"error": {"type": "index_not_found_exception"}, "status": 404}'),
    "403": (403, b'{"message": "User is not authorized"}'),
    "garbage": (200, b"\x00\xff\xfe garbage"),
    "nested too deep": (200, b"[" * 200_000),
}
SOCKETS: Final = ("refused", "black hole", "slow", "dripping", "cut off")
FAULTS: Final = (*SOCKETS, *BODIES, *SPOILT)


class FaultyProxy:
    """Forwards everything, and spoils searches while `fault` is set."""

    def __init__(self, upstream: str) -> None:
        self._pool = urllib3.PoolManager(num_pools=2, maxsize=16)
        self._upstream = upstream
        self.fault = ""
        self.searches = 0
        """Searches that reached this side."""
        self._lock = threading.Lock()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One exchange."""
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        is_search = handler.path.partition("?")[0].endswith("/_search")
        if is_search:
            with self._lock:
                self.searches += 1
        fault = self.fault if is_search else ""
        if fault in BODIES:
            return self._send(handler, *BODIES[fault])
        if fault in ("refused", "black hole"):
            time.sleep(HANG_SECONDS if fault == "black hole" else 0)
            handler.close_connection = True
            return None
        headers = {"content-type": handler.headers.get("content-type", "application/json")}
        url = self._upstream + handler.path
        answer = self._pool.request(handler.command, url, body=body or None, headers=headers)
        data = answer.data
        if fault in SPOILT:
            data = json.dumps(SPOILT[fault](json.loads(data))).encode()
        if fault == "slow":
            time.sleep(HANG_SECONDS)
        return self._send(handler, answer.status, data, fault)

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, fault: str = "") -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if fault == "cut off":
            handler.wfile.write(body[: len(body) // 2])
            handler.close_connection = True
        elif fault == "dripping":
            for place in range(min(len(body), int(HANG_SECONDS / DRIP_SECONDS))):
                handler.wfile.write(body[place : place + 1])
                handler.wfile.flush()
                time.sleep(DRIP_SECONDS)
            handler.close_connection = True
        elif handler.command != "HEAD":
            handler.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what this is for."""


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[tuple[FaultyProxy, str]]:
    """A proxy on the loopback and its address."""
    proxy = FaultyProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            with suppress(ConnectionError):
                proxy.answer(self)

        do_GET = do_POST = do_PUT = do_HEAD = _any  # noqa: N815  # http.server's

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
