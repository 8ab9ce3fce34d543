"""Log lines: JSON, one each, and never a user's id."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_user_tower.edge import Edge
from lambda_user_tower.logs import Log
from lambda_user_tower.settings import LambdaSettings
from tests.lambda_user_tower.conftest import http, post

CANARY = "alice@example.com"


def test_no_line_holds_a_user_id_wherever_it_was_put(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [
        post({"user_id": CANARY}),
        post({"user_id": [CANARY]}),
        post({CANARY: 1}),
        post({"features": {CANARY: {}}}),
        post({"filters": {CANARY: "x"}}),
        post({"prefer": CANARY}),
        post({"session": {"history": [{"item_id": CANARY}]}}),
        post(f'{{"user_id": "{CANARY}'),
        http("GET", f"/v1/users/{CANARY}/recommendations"),
        http("GET", f"/v1/users/{CANARY}/recommendations", f"{CANARY}=1"),
        http("GET", f"/v1/items/{CANARY}/similar"),
        http("GET", f"/v1/{CANARY}"),
        http("PUT", f"/v1/users/{CANARY}/recommendations"),
        http(CANARY, "/v1/health"),
        http("GET", "/v1/popular", f"category={CANARY}"),
    ]
    with closing(Edge(LambdaSettings(home=home))) as edge:
        for event in events:
            edge(event)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(events) + 1  # one says that the publication was opened
    assert all(json.loads(line)["event"] for line in lines)
    assert not any("alice" in line for line in lines)


@given(st.text() | st.sampled_from(["a\nb", "\ud800", "\u2028{}", "\x85", "\x1b[31m"]))
def test_nothing_that_is_logged_starts_a_line_of_its_own(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("sys.stderr.write", written.append)
        Log().write("INFO", "event", text=text)
    assert len("".join(written).splitlines()) == 1
    assert json.loads(written[0])["text"] == text


def test_a_pseudonym_is_stable_under_a_key_and_differs_without() -> None:
    one, same, other, random = Log(key="secret"), Log(key="secret"), Log(key="another"), Log()
    assert one.pseudonym("u") == same.pseudonym("u") != one.pseudonym("v")
    assert len({log.pseudonym("u") for log in (one, other, random, Log())}) == 4
    assert one.pseudonym(None) is None
    assert Log(key="k" * 1000).pseudonym("\ud800")


def test_the_level_decides_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log("WARNING")
    log.answered(200, {})
    log.answered(404, {})
    assert capsys.readouterr().err == ""
    log.answered(503, {"request_id": "r"})
    assert json.loads(capsys.readouterr().err) == {
        "level": "ERROR",
        "event": "request",
        "status": 503,
        "request_id": "r",
    }
