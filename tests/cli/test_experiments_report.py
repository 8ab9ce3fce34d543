"""`tandem experiments report`: a table for people, JSON for scripts, and status 1 where the split is broken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from cli import experiments_report
from contracts.errors import ExposuresInvalid

DAY = 86_400
USERS = 400


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ex.jsonl and ev.csv: two arms, `new` clicks half as often again."""
    folder = tmp_path_factory.mktemp("logs")
    rng = np.random.default_rng(4)
    arms = rng.choice(["control", "new"], USERS)
    clicks = rng.poisson(6 * rng.lognormal(0, 0.3, USERS) * np.where(arms == "new", 1.5, 1.0))
    names = np.array([f"u{n}" for n in range(USERS)])
    exposed = pl.DataFrame({"user_id": names, "timestamp": 40 * DAY, "experiment_id": "e", "variation_id": arms})
    exposed.write_ndjson(folder / "ex.jsonl")
    who = np.repeat(names, clicks)
    pl.DataFrame({"user_id": who, "timestamp": 40 * DAY + rng.integers(0, 9 * DAY, len(who))}).write_csv(
        folder / "ev.csv"
    )
    return folder


def run(logs: Path, *options: str) -> Any:
    app = typer.Typer()
    app.callback()(lambda: None)
    experiments_report.register(app)
    arguments = ["report", "--exposures", str(logs / "ex.jsonl"), "--events", str(logs / "ev.csv"), *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "80"})


def test_json_has_everything(logs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(logs, "--json", "--looks", "--report", str(page))
    assert done.exit_code == 0
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["experiment"], found["control"], found["users"]) == ("e", "control", USERS)
    assert [one["metric"] for one in found["effects"]] == ["clicks", "sessions", "retention"]
    clicks, _, retention = found["effects"]
    assert 0 < clicks["sequential_low"] < clicks["low"] < clicks["high"] < clicks["sequential_high"]
    assert retention["estimate"] is None  # NaN: nobody's days are over
    assert found["verdicts"][0]["verdict"] == "better"
    assert {one["code"] for one in found["notices"]} == {"weights-assumed", "no-history", "retention-incomplete"}
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<svg" in text
    assert "clicks: new is better than control" in text
    assert not re.search(r"(src|href)=.http", text.replace("xlink:href", ""))


def test_a_person_reads_a_table_and_a_sentence(logs: Path) -> None:
    done = run(logs, "--metrics", "clicks,clicks_per_session", "--weights", "control=.5,new=.5")
    assert done.exit_code == 0
    assert "clicks: new is better than control (+" in " ".join(done.stdout.split())
    assert "Sample ratio: p = " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "weights-assumed" not in done.stderr
    assert "no-history" in done.stderr


def test_a_broken_split_shows_no_effect_and_exits_with_1(logs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(logs, "--weights", "control=.8,new=.2", "--report", str(page))
    assert done.exit_code == 1
    assert "No verdict" in done.stdout
    assert "better" not in done.stdout
    assert "lift" not in done.stdout
    assert "<svg" not in page.read_text(encoding="utf-8")


def test_weights_come_from_the_file_of_experiments(logs: Path, tmp_path: Path) -> None:
    rule = {
        "key": "e",
        "variations": [{}, {"model": "als"}],
        "weights": [0.5, 0.5],
        "coverage": 1,
        "meta": [{"key": "control"}, {"key": "new"}],
        "hashAttribute": "id",
        "hashVersion": 2,
        "seed": "e",
        "phase": "0",
    }
    file = tmp_path / "experiments.json"
    file.write_text(json.dumps({"features": {"tandem.e": {"defaultValue": {}, "rules": [rule]}}}))
    found = json.loads(run(logs, "--weights", str(file), "--json").stdout)
    assert [(one["arm"], one["weight"]) for one in found["arms"]] == [("control", 0.5), ("new", 0.5)]
    rule["key"] = "other"
    file.write_text(json.dumps({"features": {"tandem.e": {"defaultValue": {}, "rules": [rule]}}}))
    refused = run(logs, "--weights", str(file))
    assert refused.exit_code == 2
    assert "other" in refused.stderr


@pytest.mark.parametrize("weights", ["a", "a=x", "a=nan,b=1", "a=1,a=1", "a=-1,b=2"])
def test_weights_that_are_none_are_a_usage_error(logs: Path, weights: str) -> None:
    assert run(logs, "--weights", weights).exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--experiment", "f"), "nobody was exposed to 'f'; the experiments are e"),
        (("--control", "old"), "nobody is in the control 'old'; the arms are 'control', 'new'"),
        (("--metrics", "ctr"), "'ctr' is no metric"),
        (("--clicks", "purchase"), "no event is of type 'purchase'"),
        (("--weights", "control=1,old=1"), "of arms without a weight: 'new'"),
    ],
)
def test_what_is_not_there_is_named(logs: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ExposuresInvalid) as refused:
        run(logs, *options)
    assert message in refused.value.message
