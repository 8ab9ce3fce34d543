"""`tandem tune` and what is done with it: one JSON object, a file that trainings take, refusals with a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli import run, tune
from contracts.errors import SettingsInvalid, StudyUnusable
from data_sources.generator import WorldSettings, generate
from training_job.settings import TrainingSettings


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    made = typer.Typer()
    run.register(made)
    tune.register(made)
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "dataset"
    generate(folder, WorldSettings(users=150, items=80))
    return folder


def test_json_is_what_the_file_says_and_a_second_run_goes_on(app: typer.Typer, dataset: Path, tmp_path: Path) -> None:
    out, study = tmp_path / "new" / "tuned.json", tmp_path / "tuned.study"
    words = ["tune", str(dataset), "--study", str(study), "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--trials", "2", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found == json.loads(out.read_bytes())
    assert {trial["number"] for trial in found["trials"]} == {1, 2}
    more = CliRunner().invoke(app, [*words, "--trials", "3"], catch_exceptions=False)
    assert "trial 3/3" in more.stderr
    assert "trial 1/3" not in more.stderr
    for words_shown in ("3 trials judged by", "NDCG@20", "default", "temperature", "horizon.window"):
        assert words_shown in more.stdout
    assert f"{out} changes nothing" in more.stderr or f"--tuned {out}" in more.stderr
    with pytest.raises(StudyUnusable, match="made with seed 0"):
        CliRunner().invoke(app, [*words, "--seed", "1"], catch_exceptions=False)


def test_a_training_takes_the_changes_of_a_file(app: typer.Typer, dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "tuned.json"
    file.write_text(json.dumps({"changes": {"temperature": 0.21, "passes": 0.5}, "effort": "standard"}))
    words = ["train", str(dataset), "--effort", "quick", "--no-publish", "--home", str(tmp_path / "home"), "--json"]
    done = CliRunner().invoke(app, [*words, "--tuned", str(file)], catch_exceptions=False)
    told = json.loads(done.stdout)["release"]["training"]
    assert told["recipe"]["temperature"] == 0.21
    assert told["changes"] == {"temperature": 0.21, "passes": 0.5}
    assert "was tuned at effort standard" in done.stderr


def test_a_file_that_nobody_can_train_with_is_named_before_anything_is_read(app: typer.Typer, dataset: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"schema\.toml"):
        CliRunner().invoke(
            app, ["train", str(dataset), "--tuned", str(dataset / "schema.toml")], catch_exceptions=False
        )


def test_a_wrong_effort_is_named(app: typer.Typer, dataset: Path) -> None:
    assert CliRunner().invoke(app, ["tune", str(dataset), "--effort", "heroic"]).exit_code == 2


def test_what_is_carried_to_a_job_is_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "tuned.json"
    file.write_text(json.dumps({"changes": {"temperature": 0.21, "hidden": 128}}))
    text = tune.tuned_text(file, "quick")
    job = TrainingSettings.from_hyperparameters(TrainingSettings(tuned=text).to_hyperparameters())
    assert job.changes.values == {"temperature": 0.21, "hidden": 128}
    assert tune.tuned_text(None, "quick") == ""
