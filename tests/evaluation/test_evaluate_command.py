"""`tandem evaluate`: one JSON object on stdout, a page where it was asked for, a named refusal where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli import evaluate
from contracts.errors import SplitImpossible
from data_sources.generator import WorldSettings, generate


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    evaluate.register(made)
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "dataset"
    generate(folder, WorldSettings(users=150, items=80))
    return folder


def test_json_is_all_of_stdout_and_the_page_is_written(app: typer.Typer, dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = CliRunner().invoke(
        app,
        ["evaluate", str(dataset), "--effort", "quick", "--max-users", "60", "--json", "--report", str(page)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["protocol"] == "global-time"
    assert found["counts"]["users_judged"] <= 60
    assert set(found["models"]["two_tower"]["recall@20"]) == {"value", "low", "high"}
    assert "global-time" in page.read_text(encoding="utf-8")
    assert str(page) in done.stderr


def test_the_tables_are_for_people(app: typer.Typer, dataset: Path) -> None:
    done = CliRunner().invoke(
        app, ["evaluate", str(dataset), "--effort", "quick", "--protocol", "leave-last"], catch_exceptions=False
    )
    assert done.exit_code == 0
    for words in ("leave-last", "two-tower", "NDCG@10 by segment", "On NDCG@10"):
        assert words in done.stdout


@pytest.mark.parametrize(("option", "value"), [("--protocol", "sideways"), ("--effort", "heroic")])
def test_a_wrong_choice_is_named(app: typer.Typer, dataset: Path, option: str, value: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(dataset), option, value])
    assert done.exit_code == 2
    assert value in done.stderr


def test_a_protocol_that_the_data_cannot_follow_is_refused(app: typer.Typer, dataset: Path) -> None:
    with pytest.raises(SplitImpossible, match="given split"):
        CliRunner().invoke(app, ["evaluate", str(dataset), "--protocol", "given"], catch_exceptions=False)
