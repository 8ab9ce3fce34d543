"""Real HTTP in front of the handler: the events are those of API Gateway, and a stop finishes what was begun."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import Message
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.request import MAX_BODY_BYTES
from lambda_user_tower.edge import Edge
from lambda_user_tower.payload import read_body, read_call
from local_mode.dev_server import HOST, DevServer, http_event
from tests.toy_world import item_id


@contextmanager
def serving(handler: Any) -> Iterator[int]:
    """A server on a free port, in a thread; the port."""
    server = DevServer(handler, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def port(edge: Edge) -> Iterator[int]:
    with serving(edge) as number:
        yield number


def call(port: int, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and parsed body of a request."""
    with closing(HTTPConnection(HOST, port, timeout=20)) as connection:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, {"content-type": "application/json"} | sent)
        response = connection.getresponse()
        data = response.read()
        return response.status, response.headers, json.loads(data) if data else None


def test_every_endpoint_over_http(port: int) -> None:
    status, headers, slate = call(port, "POST", "/v1/recommendations", b'{"user_id": "warm", "num_items": 3}')
    assert (status, headers["content-type"], len(slate["items"])) == (200, "application/json", 3)
    assert call(port, "GET", "/v1/users/cool/recommendations?num_items=2&explain=true")[2]["items"][0]["explain"]
    assert call(port, "GET", f"/v1/items/{item_id(7)}/similar")[2]["why"]["route"] == "similar"
    assert call(port, "GET", "/v1/popular?segment.gender=F")[2]["why"]["segment"] == "gender=F"
    assert call(port, "GET", "/v1/health")[2]["status"] == "ok"


def test_problems_over_http(port: int) -> None:
    status, headers, problem = call(port, "POST", "/v1/recommendations", b'{"num_items": "10"}')
    assert (status, headers["content-type"], problem["field"]) == (400, "application/problem+json", "num_items")
    assert call(port, "GET", "/v1/recommendations")[1]["allow"] == "POST"
    assert call(port, "PUT", "/v1/health")[0] == 405
    assert call(port, "HEAD", "/v1/health")[0] == 405
    assert call(port, "OPTIONS", "/elsewhere")[0] == 404
    assert call(port, "GET", "/v1/users/%FF/recommendations")[2]["field"] == "user_id"
    assert call(port, "POST", "/v1/recommendations", b'{"user_id": "\xff"}')[2]["field"] == "body"
    assert call(port, "POST", "/v1/recommendations", b"{}", content_encoding="gzip")[0] == 415


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 3_000_000, 20_000_000])
def test_a_body_that_is_too_large_is_refused_and_mostly_not_read(port: int, size: int) -> None:
    with closing(HTTPConnection(HOST, port, timeout=20)) as connection:
        connection.putrequest("POST", "/v1/recommendations")
        connection.putheader("content-length", str(size))
        connection.putheader("content-type", "application/json")
        connection.endheaders()
        connection.send(b" " * min(size, 10 * 1024 * 1024))  # of twenty million, half is never sent
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["field"]) == (413, "body")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("content-length: -1", 400),
        ("content-length: 1e3", 400),
        ("content-length: ٣", 400),
        ("transfer-encoding: chunked", 411),
    ],
)
def test_a_length_that_is_none_is_refused(port: int, header: str, status: int) -> None:
    with closing(socket.create_connection((HOST, port), timeout=20)) as connection:
        connection.sendall(f"POST /v1/recommendations HTTP/1.1\r\n{header}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] == str(status).encode()


def test_clients_that_go_away_or_speak_no_http_do_not_stop_it(port: int) -> None:
    for words in (b"", b"\r\n\r\n", b"\x16\x03\x01\x00\xff", b"GET\r\n\r\n", b"GET /v1/health HTTP/1.1\r\nx: y"):
        with closing(socket.create_connection((HOST, port), timeout=20)) as connection:
            connection.sendall(words)
    assert call(port, "GET", "/v1/health")[0] == 200


@given(st.text(min_size=1, max_size=20))
def test_an_id_survives_the_way_from_url_to_handler(identifier: str) -> None:
    path = f"/v1/users/{quote(identifier, safe='')}/recommendations"
    event = http_event("GET", f"{path}?exclude_ids={quote(identifier, safe='')}", Message(), b"")
    read = read_call(json.loads(json.dumps(event)))
    assert read.path == f"/v1/users/{identifier}/recommendations"
    assert read.query == f"exclude_ids={quote(identifier, safe='')}"


def test_raw_utf_8_in_a_request_line_is_what_it_says() -> None:
    target = "/v1/users/ü/recommendations?filter.genre=ä".encode().decode("latin-1")  # as http.server reads it
    read = read_call(http_event("GET", target, Message(), b""))
    assert (read.path, read.query) == ("/v1/users/ü/recommendations", "filter.genre=ä")


@given(st.binary(max_size=50))
def test_a_body_arrives_as_it_was_sent(body: bytes) -> None:
    event = http_event("POST", "/v1/recommendations", Message(), body)
    assert ("body" in event) == bool(body)
    if body:
        assert read_body(json.loads(json.dumps(event))) == body


def test_header_names_are_lower_case_and_repeated_ones_joined() -> None:
    headers = Message()
    headers["X-Thing"] = "a"
    headers["x-thing"] = "b"
    assert http_event("GET", "/", headers, b"")["headers"] == {"x-thing": "a,b"}


def test_requests_under_way_are_finished_at_a_stop() -> None:
    arrived, may_answer, answered = threading.Event(), threading.Event(), threading.Event()

    def slow(event: dict[str, Any], context: object) -> dict[str, Any]:
        arrived.set()
        assert may_answer.wait(10)
        answered.set()
        return {"statusCode": 200, "headers": {}, "body": '"finished"'}

    answers: list[Any] = []
    with serving(slow) as port:
        client = threading.Thread(target=lambda: answers.append(call(port, "GET", "/")[2]))
        client.start()
        assert arrived.wait(10)
        threading.Timer(0.05, may_answer.set).start()
    assert answered.is_set()  # the server is closed, and the request was not dropped for it
    client.join()
    assert answers == ["finished"]


def test_tandem_serve_stops_on_sigterm(home: Path) -> None:
    program = f"import pathlib; from local_mode.dev_server import serve; serve(pathlib.Path({str(home)!r}), 0)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        port = re.search(r":(\d+)/", first)
        assert port, first
        assert call(int(port[1]), "GET", "/v1/health")[0] == 200
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(20) == 0
    assert json.loads(rest.splitlines()[-1])["status"] == 200
    assert "Traceback" not in rest
