"""The README's walk through what changes during the day, pasted into a shell as it stands there."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

README = Path(__file__).parents[2] / "README.md"
SCRIPTS = Path(sys.executable).parent


class Shown(NamedTuple):
    """A slate as the walk prints it."""

    items: list[str]
    why: dict[str, Any]


class Walk(NamedTuple):
    """What the walk left."""

    health: dict[str, Any]
    slates: list[Shown]
    told: list[dict[str, Any]]
    """Answers about events, items and the user, in their order."""
    requests: list[str]
    """Endpoints in the order in which the server answered them."""
    folder: Path
    port: int


def block() -> str:
    """The only block of the README that is bash."""
    (found,) = re.findall(r"^```bash\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shell(text: str, folder: Path, **variables: str) -> str:
    """Stdout of a shell into which a text is pasted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")}
    environment |= {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash"], input=text, cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The walk beside a small generated world, as `make demo` leaves a larger one."""
    folder, port = tmp_path_factory.mktemp("walk"), free_port()
    shell("tandem generate --users 200 --items 100 --out world && tandem train world --effort quick", folder)
    lines = shell(block(), folder, PORT=str(port)).splitlines()
    slates, told = [], []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith('{"route"'):
            slates.append(Shown(before.split(), json.loads(line)))
        elif line.startswith("{"):
            told.append(json.loads(line))
    log = [json.loads(line) for line in (folder / "serve.log").read_text().splitlines() if line.startswith("{")]
    requests = [line["endpoint"] for line in log if line["event"] == "request"]
    return Walk(told[0], slates, told[1:], requests, folder, port)


def test_a_stranger_gets_what_is_popular(walk: Walk) -> None:
    assert walk.health["status"] == "ok"
    assert len(walk.slates[0].items) == 20
    assert walk.slates[0].why["route"] == "unknown"


def test_three_events_change_the_slate_and_what_was_seen_is_gone(walk: Walk) -> None:
    before, after = walk.slates[:2]
    assert [answer["counts"] for answer in walk.told[:3]] == [{"accepted": 1}] * 3
    assert after.why["route"] == "cold_user"
    assert len(after.items) == 20
    assert not set(before.items[:3]) & set(after.items)
    assert [item for item in after.items if item in before.items] != before.items[3:], "no more than the seen taken out"


def test_a_new_item_appears_within_seconds_and_why_says_so(walk: Walk) -> None:
    assert (walk.told[3]["item_id"], walk.told[3]["status"]) == ("new-book", "fresh")
    assert walk.slates[2].items[-1] == "new-book"
    assert walk.slates[2].why["explored"] == 1
    assert walk.slates[1].why["explored"] == 0
    told, hidden = walk.requests.index("PUT /v1/items/{id}"), walk.requests.index("PATCH /v1/items/{id}")
    assert hidden - told <= 12, "asked once a second, and once more to show it"


def test_a_hidden_item_is_gone(walk: Walk) -> None:
    assert (walk.told[4]["item_id"], walk.told[4]["hidden"]) == ("new-book", True)
    assert "new-book" not in walk.slates[3].items
    assert walk.slates[3].why["explored"] == 0
    hidden, left = walk.requests.index("PATCH /v1/items/{id}"), walk.requests.index("DELETE /v1/users/{id}")
    assert left - hidden <= 17, "asked once a second, and once more to show it"


def test_who_left_is_a_stranger_again(walk: Walk) -> None:
    assert walk.told[5] == {"status": "deleted"}
    assert walk.slates[4].items == walk.slates[0].items
    assert walk.slates[4].why == walk.slates[0].why


def test_the_certificate_says_what_was_removed_and_that_it_is_gone(walk: Walk) -> None:
    certificate = json.loads((walk.folder / "ada.json").read_text())
    assert certificate["user_id"] == "ada"
    assert certificate["pending"] == []
    assert [(one["kind"], one["rows"]) for one in certificate["removed"]] == [
        ("event log", 3),
        ("exposures", 0),
        ("slates", 0),
    ]
    assert [(one["kind"], one["rows_since"]) for one in certificate["checked"]] == [
        ("event log", 0),
        ("exposures", 0),
        ("slates", 0),
    ]
    assert all(one["what"] and one["until"] for one in certificate["remains"])
    log = [file.read_bytes() for file in (walk.folder / ".tandem" / "events").rglob("*") if file.is_file()]
    assert not any(b'"ada"' in text for text in log)


def test_nothing_goes_on_running(walk: Walk) -> None:
    assert len(walk.slates) == 5
    assert len(walk.told) == 7
    assert walk.told[6]["hidden"] is False
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", walk.port)) != 0
