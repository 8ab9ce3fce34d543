"""`tandem profiles repair` on a home: what it counts, what it refuses, and that it can be run again."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from contracts.event import Event
from index_loader.publish import publish
from stores.event_log import LocalEventLog
from stores.profiles import SqliteProfiles
from stores.releases import LocalReleases
from tests.index_loader.worlds import seal
from tests.toy_world import item_id, toy_model

NOON = 1_795_176_000
"""2026-11-20, 12:00 UTC."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a published release and a log of which no profile knows."""
    home = tmp_path / "home"
    store = LocalReleases(home)
    publish(store, seal(store, toy_model()), None, None)
    log = LocalEventLog(home / "events")
    for day in range(2):
        now = NOON + day * 86_400
        told = [
            Event(
                event_id=f"{day}-{user}",
                user_id=user,
                item_id=item_id(day),
                event_type="view",
                timestamp=now,
                received_at=now,
            )
            for user in ("anna", "ben")
        ]
        assert log.append(told) == ["", ""]
    log.close()
    (home / "events" / "2026-11-21" / "torn.jsonl").write_bytes(b'%%\n{"event_id":"torn')
    return home


def tandem(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["profiles", "repair", *words, "--home", str(home)])


def repair(home: Path, *words: str, status: int = 0) -> dict[str, Any]:
    done = tandem(home, *words, "--json")
    assert done.exit_code == status, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_repairs_once_and_says_what_it_found(home: Path) -> None:
    assert repair(home, "--since", "2026-11-21", "--dry-run")["events_added"] == 2
    found = repair(home)
    assert (found["users_changed"], found["events_added"], found["failed"]) == (2, 4, {})
    assert found["reading"]["unfinished"] == 1
    assert [damage["object"] for damage in found["reading"]["damaged"]] == ["2026-11-21/torn.jsonl"]
    with SqliteProfiles(home / "profiles.sqlite") as profiles:
        assert [one.item_id for one in profiles.get("anna").history] == [item_id(0), item_id(1)]
    again = tandem(home, "--rebuild")
    assert again.exit_code == 0
    assert "users changed" in again.stdout
    assert "2026-11-21/torn.jsonl: 1 lines" in again.stderr.replace("\n", " ")
    assert repair(home, "--rebuild")["users_changed"] == 0


def test_a_part_of_the_log_rebuilds_nothing(home: Path) -> None:
    done = tandem(home, "--rebuild", "--since", "2026-11-21")
    assert done.exit_code == 2
    assert "a rebuild needs the whole log" in done.stderr


def test_a_profile_that_cannot_be_changed_is_status_1(home: Path) -> None:
    repair(home)
    with sqlite3.connect(home / "profiles.sqlite") as connection:
        connection.execute("UPDATE profiles SET profile = x'c1' WHERE user_id = 'ben'")
    connection.close()
    assert repair(home, status=1)["failed"] == {"profiles-unavailable": 1}
