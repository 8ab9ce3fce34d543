"""`python -m batch_job`: one line of what was done, and a failure where SageMaker looks for it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from batch_job.__main__ import main
from contracts.night import SnapshotReport, snapshot_listing, snapshot_prefix
from local_mode.dynamodb_local.server import create_profiles_table
from stores.dynamodb_profiles import DynamoDBProfiles
from stores.mirrored_folder import fetch, listed
from tests.batch_job.night_world import MIDNIGHT, NightWorld, event
from tests.stores.profile_worlds import client_of


@pytest.fixture
def environment(world: NightWorld, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """As SageMaker sets it, with its folder in the test's own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    (world.folder / "ml").mkdir()
    table = f"profiles-{uuid4().hex}"
    with closing(client_of(moto_endpoint)) as client:
        create_profiles_table(client, table)
    names = {"DATA_BUCKET": world.bucket.name, "PROFILES_TABLE": table, "HISTORY_DAYS": "0"}
    return {"TANDEM_ML": str(world.folder / "ml")} | {f"TANDEM_{name}": value for name, value in names.items()}


def run(facts, step: str, *more: str, environment: dict[str, str], token: int | None = None) -> int:
    return main([step, "--night", facts.night, "--token", str(token or facts.token), *more], environment)


def test_a_night_of_both_steps(world: NightWorld, environment, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    world.seed()
    world.arrive(event(1, "new", at=MIDNIGHT))
    facts = world.begin(MIDNIGHT + 60)
    assert run(facts, "snapshot", environment=environment) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["decision"], told["events"], told["new_events"]) == ("snapshot", "go", 21, 1)
    assert told["files_sent"] == len(world.nights.read(facts.night, SnapshotReport).files)
    folder = world.folder / "input"
    fetch(world.bucket, snapshot_prefix(facts.night), listed(world.bucket, snapshot_listing(facts.night)), folder)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert run(facts, "backfill", "--dataset", str(folder), environment=environment) == 0
    assert json.loads(capsys.readouterr().out)["profiles"] == 6
    with closing(DynamoDBProfiles(environment["TANDEM_PROFILES_TABLE"])) as profiles:
        assert [one.item_id for one in profiles.get("new").history] == ["i0"]
        assert profiles.get("u00").features == {"gender": "f"}


def test_a_failure_is_left_where_sagemaker_looks(world: NightWorld, environment, capsys) -> None:
    world.seed({"events.csv": "user_id,item_id,timestamp\nu,i,soon\n"})
    facts = world.begin(MIDNIGHT)
    assert run(facts, "snapshot", environment=environment) == 1
    message = Path(environment["TANDEM_ML"], "output", "message").read_text()
    assert message.startswith("dataset-invalid: datasets/shop/events.csv, column timestamp, row 1 ('soon'): 1 value")
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("step", ["snapshot", "backfill"])
def test_nothing_is_done_under_another_token(world: NightWorld, environment, capsys, step: str, tmp_path) -> None:
    world.seed()
    facts = world.begin(MIDNIGHT)
    assert run(facts, step, "--dataset", str(tmp_path), environment=environment, token=facts.token + 1) == 1
    assert capsys.readouterr().err.startswith("lease-lost: ")
    assert world.nights.find(facts.night, SnapshotReport) is None


def test_settings_that_are_not_there_are_named(capsys) -> None:
    words = ["backfill", "--night", "n000001-20261126", "--token", "1", "--dataset", "x"]
    assert main(words, {}) == 1
    assert "TANDEM_DATA_BUCKET, TANDEM_PROFILES_TABLE is not set" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(words[:-2], {})


def test_it_is_a_module_that_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "batch_job", "--help"], capture_output=True, text=True, check=True)
    assert "snapshot" in done.stdout
