"""GrowthBook's endpoint for SDKs, as a real HTTP server on the loopback address."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

CLIENT_KEY: Final = "sdk-Abc123"


@dataclass
class FakeGrowthBook:
    """What it answers with, and what it was asked."""

    url: str = ""
    body: bytes = b'{"status": 200, "features": {}}'
    status: list[int] = field(default_factory=list)
    """Of the answers to come, first to last; then 200."""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def growthbook_server() -> Iterator[FakeGrowthBook]:
    """A running server; others than CLIENT_KEY are refused as GrowthBook does it."""
    growthbook = FakeGrowthBook()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            growthbook.asked.append(self.path)
            known = self.path == f"/api/features/{CLIENT_KEY}"
            status = growthbook.status.pop(0) if growthbook.status else 200 if known else 400
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(growthbook.body))} | growthbook.headers).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(growthbook.body)
            except OSError:
                self.close_connection = True  # whoever asked has heard enough

        def log_message(self, *_: object) -> None:
            """Nothing to say."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    growthbook.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield growthbook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
