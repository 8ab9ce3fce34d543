"""Fetching from GrowthBook: what is repeated, what is refused, and that no message tells the client key."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Iterator

import pytest

from contracts.errors import ExperimentsUnavailable, PayloadInvalid, SettingsInvalid
from experiments.growthbook_api import TRIES, fetch_payload
from experiments.payload import MAX_SOURCE_BYTES, read_payload
from tests.experiments.growthbook_server import CLIENT_KEY, FakeGrowthBook, growthbook_server
from tests.experiments.payloads import RICH


@pytest.fixture
def growthbook() -> Iterator[FakeGrowthBook]:
    with growthbook_server() as server:
        yield server


def test_a_payload_is_fetched(growthbook: FakeGrowthBook) -> None:
    growthbook.body = RICH.encode()
    assert fetch_payload(f" {growthbook.url}/ ", f"{CLIENT_KEY}\n") == read_payload(RICH)
    assert growthbook.asked == [f"/api/features/{CLIENT_KEY}"]


def test_what_passes_is_asked_again(growthbook: FakeGrowthBook) -> None:
    growthbook.status, growthbook.headers = [503, 429], {"Retry-After": "3600"}
    assert fetch_payload(growthbook.url, CLIENT_KEY, wait_seconds=0).experiments == ()
    assert len(growthbook.asked) == 1 + TRIES
    growthbook.status = [500] * 9
    with pytest.raises(ExperimentsUnavailable, match="answers 500"):
        fetch_payload(growthbook.url, CLIENT_KEY, wait_seconds=0)
    assert len(growthbook.asked) == 2 * (1 + TRIES)


@pytest.mark.parametrize("status", [301, 400, 404])
def test_another_answer_is_none(growthbook: FakeGrowthBook, status: int) -> None:
    growthbook.status, growthbook.headers = [status], {"Location": "/elsewhere"}
    with pytest.raises(ExperimentsUnavailable, match=f"answers {status}") as caught:
        fetch_payload(growthbook.url, CLIENT_KEY)
    assert len(growthbook.asked) == 1
    assert CLIENT_KEY not in str(caught.value)


def test_nobody_there_is_named_without_the_key() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ExperimentsUnavailable, match="does not answer: NewConnectionError") as caught:
            fetch_payload(f"http://127.0.0.1:{unused.getsockname()[1]}", CLIENT_KEY, wait_seconds=0)
    assert CLIENT_KEY not in "".join(traceback.format_exception(caught.value))


def test_a_body_that_breaks_off_is_none(growthbook: FakeGrowthBook) -> None:
    growthbook.headers = {"Content-Length": "1000"}
    with pytest.raises(ExperimentsUnavailable, match=r"does not answer: (IncompleteRead|ProtocolError)"):
        fetch_payload(growthbook.url, CLIENT_KEY)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"<html>", "no JSON"),
        (b'{"encryptedFeatures": "abc.def"}', "encrypted"),
        (b'{"features": {"tandem.a": {"defaultValue": {"model": "gpt"}}}}', r"tandem\.a"),
        (b" " * (MAX_SOURCE_BYTES + 1), f"more than {MAX_SOURCE_BYTES} bytes"),
    ],
)
def test_what_is_no_payload_is_refused(growthbook: FakeGrowthBook, body: bytes, named: str) -> None:
    growthbook.body = body
    with pytest.raises(PayloadInvalid, match=named):
        fetch_payload(growthbook.url, CLIENT_KEY)


@pytest.mark.parametrize(
    ("host", "key"), [("cdn.growthbook.io", "k"), ("file:///x", "k"), ("http://h", ""), ("http://h", "../x")]
)
def test_no_host_and_no_key(host: str, key: str) -> None:
    with pytest.raises(SettingsInvalid):
        fetch_payload(host, key)
