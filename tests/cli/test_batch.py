"""`tandem batch`: what it writes and prints, and how it says no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from contracts.errors import BatchMismatch, DatasetError
from tests.batch_job.recommend_world import PEOPLE, build, rows_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("batch"))


def tandem(home: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["batch", "--home", str(home), "--out", str(out), *words])


def test_everybody_as_json(home: Path, tmp_path: Path) -> None:
    done = tandem(home, tmp_path / "out", "--users", "all", "--num-items", "3", "--json")
    assert done.exit_code == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["batch"]["counts"]["users"] == len(PEOPLE)
    assert len(rows_of(tmp_path / "out")) == 3 * len(PEOPLE)
    assert "users" in done.stderr


def test_a_table_for_people_and_a_second_run(home: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("user_id\nwarm1\nleft\nanonymous:visit\n")
    words = ("--users", str(tmp_path / "some.csv"), "--processes", "1")
    first, second = (tandem(home, tmp_path / "out", *words).stdout for _ in range(2))
    assert "users left out: they left" in first
    shown = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in second.splitlines() if "│" in line}
    assert (shown["users with recommendations"], shown["recommendations"]) == ("1", "10")
    assert (shown["users left out: they left"], shown["anonymous sessions left out"]) == ("1", "1")
    assert shown["… made by this run"] == "0"


def test_the_settings_of_serving_count(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_PROMOTED", '{"genre": "eggs"}')
    monkeypatch.setenv("TANDEM_PROMOTED_SHARE", "1.0")
    assert tandem(home, tmp_path / "out", "--users", "all").exit_code == 0
    promoted = [int(item[1:]) % 5 == 4 for item in rows_of(tmp_path / "out")["item_id"]]
    assert sum(promoted) > len(promoted) / 2, "a fifth of the items are eggs"


def test_what_is_refused(home: Path, tmp_path: Path) -> None:
    assert isinstance(tandem(home, tmp_path / "a", "--users", str(tmp_path / "missing")).exception, DatasetError)
    assert tandem(home, tmp_path / "b", "--users", "all").exit_code == 0
    again = tandem(home, tmp_path / "b", "--users", "all", "--num-items", "4")
    assert isinstance(again.exception, BatchMismatch)
    assert tandem(home, tmp_path / "b", "--users", "all", "--num-items", "4", "--restart").exit_code == 0
    assert tandem(home, tmp_path / "b", "--users", "all", "--num-items", "0").exit_code == 2
