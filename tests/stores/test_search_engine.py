"""How an engine is reached: signed as AWS checks it, compressed only over a network, and patient for bulk work."""

from __future__ import annotations

import gzip
import hmac
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from contracts.errors import SettingsInvalid
from stores.search_engine import _on_this_machine, connect

KEY, SECRET, TOKEN, REGION = "AKIDEXAMPLE", "a/secret+key", "a-session-token", "eu-central-1"
BODY = {"query": {"match_all": {}}}


@pytest.fixture
def requests() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers `{}` and keeps what came in, as it came in."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.append({"method": self.command, "target": self.path, "headers": headers, "body": body})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET), ("SESSION_TOKEN", TOKEN)):
        monkeypatch.setenv(f"AWS_{name}", value)


def expected_signature(request: dict[str, Any]) -> str:
    """AWS's own recipe, over the bytes that arrived (IAM User Guide, "Create a signed AWS API request")."""
    headers, (path, _, query) = request["headers"], request["target"].partition("?")
    fields = dict(word.strip().split("=", 1) for word in headers["authorization"].partition(" ")[2].split(","))
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
    signed = fields["SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            request["method"],
            path,
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(headers[name].split())}" for name in signed),
            "",
            ";".join(signed),
            sha256(request["body"]).hexdigest(),
        ]
    )
    scope = f"{headers['x-amz-date'][:8]}/{REGION}/es/aws4_request"
    assert fields["Credential"] == f"{KEY}/{scope}"
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), sha256)
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, sha256(canonical.encode()).hexdigest()])
    assert fields["Signature"] == hmac.digest(key, text.encode(), sha256).hex()
    return fields["Signature"]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.usefixtures("credentials")
def test_every_request_is_signed_as_aws_checks_it(requests: tuple[str, list[dict[str, Any]]], compress: bool) -> None:
    url, seen = requests
    client = connect(url, region=REGION, compress=compress)
    params = {"filter_path": "took,timed_out,hits.hits._score", "request_cache": "false"}
    client.search(index="items-r20261125t000000-0a1b-r1", body=BODY, params=params)
    client.bulk(index="items-r1", body=b'{"index":{"_id":"a b/\xc3\xa9"}}\n{"row":1}\n')
    first, second = (expected_signature(request) for request in seen)
    assert first != second
    assert seen[0]["headers"]["x-amz-security-token"] == TOKEN
    packed = seen[1]["body"]
    assert (gzip.decompress(packed) if compress else packed).endswith(b'{"row":1}\n')


@pytest.mark.usefixtures("credentials")
def test_a_request_that_was_changed_on_its_way_is_noticed(requests: tuple[str, list[dict[str, Any]]]) -> None:
    url, seen = requests
    connect(url, region=REGION).search(index="items-r1", body=BODY)
    with pytest.raises(AssertionError):
        expected_signature(seen[0] | {"body": b"{}"})


def test_without_a_region_nothing_is_signed(requests: tuple[str, list[dict[str, Any]]]) -> None:
    url, seen = requests
    connect(url).search(index="items-r1", body=BODY)
    assert "authorization" not in seen[0]["headers"]


def test_a_region_without_credentials_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsInvalid, match="no AWS credentials"):
        connect("http://127.0.0.1:1", region=REGION)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:9201", True),
        ("http://localhost:9200", True),
        ("http://[::1]:9200", True),
        ("https://search-items.eu-central-1.es.amazonaws.com", False),
        ("http://10.0.0.7:9200", False),
    ],
)
def test_bulk_bodies_are_compressed_only_over_a_network(url: str, here: bool) -> None:
    assert _on_this_machine(url) is here
