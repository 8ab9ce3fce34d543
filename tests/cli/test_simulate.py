"""`tandem simulate`: what it prints, as a table and as JSON, the page, and how it says no."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from local_mode.simulation import simulate
from tests.local_mode.simulation_jobs import OnTheSpot

SMALL = ("--runs", "1", "--users", "60", "--items", "40", "--warm-days", "10", "--days", "3", "--no-dose")


@pytest.fixture(autouse=True, scope="module")
def _on_the_spot() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulate, "Jobs", OnTheSpot)
        patched.setattr(os, "fsync", lambda _file: None)
        yield


def tandem(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_as_json_with_a_page_and_logs_that_the_report_reads(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = tandem("simulate", *SMALL, "--home", str(tmp_path), "--json", "--report", str(page))
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    for one in told["pooled"] + told["runs"][0]["effects"]:
        assert {"arm", "metric", "estimate", "low", "high", "true_effect"} <= one.keys()
        assert (one["true_effect"] is None) == (one["metric"] == "retention")  # three days have none
        if one["metric"] in {"clicks", "sessions", "coverage"}:  # one user's slates may be as varied as another's
            assert one["low"] <= one["estimate"] <= one["high"]
    assert {one["arm"] for one in told["pooled"]} == {"als", "two_tower", "two_tower_reranked"}
    assert told["settings"]["users"] == 60
    assert told["verdict"]
    assert "<html" in page.read_text()
    logs = tmp_path / "simulation" / "run-1"
    words = ("--exposures", str(logs / "exposures"), "--events", str(logs / "dataset" / "events"))
    report = tandem("experiments", "report", *words, "--control", "popularity", "--json")
    assert report.exit_code == 0, report.output


def test_a_table_for_people_before_a_second_night_an_arm_alone_is_its_twin(tmp_path: Path) -> None:
    done = tandem("simulate", *SMALL, "--home", str(tmp_path), "--seed", "3", "--family", "noise", "--alone")
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert all(true == alone for *_, true, alone in rows)
    assert [row[0] for row in rows][:4] == ["clicks: popularity", "als", "two_tower", "two_tower_reranked"]
    assert "cannot be told from the control" in done.stdout
    assert "simulation/run-1/exposures" in done.stderr
    assert "days of all lines" in done.stderr


def test_who_ends_it_is_heard_and_finds_the_home_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnTheSpot, "finish", lambda _self: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    done = tandem("simulate", *SMALL, "--home", str(tmp_path / "home"))
    assert done.exit_code
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (tmp_path / "home").exists()


def test_what_a_simulation_refuses(tmp_path: Path) -> None:
    assert tandem("simulate", "--family", "utopia", "--home", str(tmp_path)).exit_code == 2
    assert tandem("simulate", "--runs", "0", "--home", str(tmp_path)).exit_code == 2
    assert not list(tmp_path.iterdir())
