"""`check`, `generate` and `import` as typed: one JSON object on stdout, exit status for scripts, examples that run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.data import register
from contracts.errors import DatasetError, ImportRejected
from tests.data_sources.small_world import small_world

app = typer.Typer()
register(app)


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def _json(result: Result) -> Any:
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return json.loads(result.stdout)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sources that the examples of the help name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    small_world().save(tmp_path / "dataset")
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::2::5::978300760\n")
    (tmp_path / "ml-1m" / "users.dat").write_text("1::F::1::10::48067\n")
    (tmp_path / "ml-1m" / "movies.dat").write_text("2::Jumanji (1995)::Adventure\n")
    (tmp_path / "sequences.txt").write_text("u\t1 2 3\n")
    (tmp_path / "gowalla").mkdir()
    (tmp_path / "gowalla" / "train.txt").write_text("0 1 2\n")
    (tmp_path / "gowalla" / "test.txt").write_text("0 3\n")
    return tmp_path


COMMANDS = [["check"], ["generate"], ["import", "movielens"], ["import", "sequences"], ["import", "lightgcn"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_in_the_help_runs(command: list[str], work: Path) -> None:
    text = _run(*command, "--help").stdout
    found = re.search(r"Example: tandem (.*?)\s*(?:│|\n)", text)
    assert found is not None
    words = shlex.split(found[1])
    assert words[: len(command)] == command
    result = _run(*words, "--json")
    if command != ["check"]:  # the folder of the check is of another year than now
        assert result.exit_code == 0, result.output
    assert isinstance(_json(result), dict)


def test_check_says_no_with_status_1_and_what_to_do(work: Path) -> None:
    (work / "dataset" / "events.parquet").unlink()
    result = _run("check", "dataset")
    assert result.exit_code == 1
    assert "FAIL tables-present" in result.stdout
    assert re.search(r"where:.*\n.*why:.*\n.*fix:", result.stdout)
    report = _json(_run("check", "dataset", "--json"))
    assert report["status"] == "FAIL"
    failing = next(check for check in report["checks"] if check["name"] == "tables-present")
    assert set(failing) == {"name", "status", "found", "where", "why", "fix"}


def test_check_of_a_fine_dataset_has_status_0(work: Path) -> None:
    assert _run("generate", "--users", "300", "--items", "100", "--out", "w").exit_code == 0
    result = _run("check", "w")
    assert result.exit_code == 0
    assert "PASS schema" not in result.stdout
    assert "PASS schema" in _run("check", "w", "--all").stdout


def test_generate_takes_every_flag(work: Path) -> None:
    flags = "--users 40 --items 30 --seed 5 --days 20 --cold-share 0.2 --events-per-user 10 --until 2025-01-31"
    report = _json(_run("generate", "--out", "w", *flags.split(), "--json"))
    assert (report["users"], report["items"], report["seed"]) == (40, 30, 5)


def test_import_reports_rejected_lines(work: Path) -> None:
    (work / "sequences.txt").write_text("u\t1 2 3\nbroken\nv\t1\n")
    with pytest.raises(ImportRejected):
        CliRunner().invoke(app, ["import", "sequences", "sequences.txt", "--out", "d"], catch_exceptions=False)
    words = ["import", "sequences", "sequences.txt", "--out", "d", "--max-rejected", "0.5"]
    report = _json(_run(*words, "--json"))
    assert report["rejected"] == {"sequences.txt": 1}
    assert report["first_rejected"] == [
        {"file": "sequences.txt", "line": 2, "text": "broken", "reason": "not `user TAB item item …`"}
    ]
    shown = _run(*words)
    assert "sequences.txt line 2" in shown.stderr


def test_named_failures_reach_the_entry_point(work: Path) -> None:
    with pytest.raises(DatasetError):
        CliRunner().invoke(app, ["import", "movielens", "nowhere", "--out", "d"], catch_exceptions=False)


@pytest.mark.parametrize("flags", [["--users", "0"], ["--cold-share", "1.5"], ["--until", "tomorrow"], []])
def test_flags_out_of_range_are_usage_errors(flags: list[str], work: Path) -> None:
    out = ["--out", "w"] if flags else []
    assert _run("generate", *flags, *out).exit_code == 2
    assert not (work / "w").exists()
