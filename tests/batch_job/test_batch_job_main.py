"""`python -m batch_job`: one line of what was done, and a failure where SageMaker looks for it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from batch_job.__main__ import main
from contracts.certificate import Certificate
from contracts.night import SnapshotReport, snapshot_listing, snapshot_prefix
from contracts.profile import HistoryEvent
from index_loader.publish import publish
from local_mode.dynamodb_local.server import create_live_table, create_profiles_table
from stores.dynamodb_profiles import DynamoDBProfiles
from stores.mirrored_folder import fetch, listed
from stores.releases import LocalReleases
from stores.s3_releases import S3Releases
from tests.aws import REGION
from tests.batch_job.night_world import MIDNIGHT, NightWorld, event
from tests.index_loader.worlds import seal
from tests.stores.profile_worlds import client_of
from tests.toy_world import toy_model


@pytest.fixture
def environment(world: NightWorld, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """As SageMaker sets it, with its folder in the test's own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    (world.folder / "ml").mkdir()
    table, live = f"profiles-{uuid4().hex}", f"live-{uuid4().hex}"
    with closing(client_of(moto_endpoint)) as client:
        create_profiles_table(client, table)
        create_live_table(client, live)
    names = {"DATA_BUCKET": world.bucket.name, "PROFILES_TABLE": table, "LIVE_TABLE": live, "HISTORY_DAYS": "0"}
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


def test_a_user_is_forgotten_and_no_line_names_them(world: NightWorld, environment, capsys, tmp_path: Path) -> None:
    world.seed()
    world.arrive(event(1, "u00"), event(2, "someone"))
    (tmp_path / "user").write_text("u00\n")
    with closing(DynamoDBProfiles(environment["TANDEM_PROFILES_TABLE"])) as profiles:
        profiles.append("u00", [HistoryEvent("i1", MIDNIGHT)])
    words = [
        "forget",
        "--user-file",
        str(tmp_path / "user"),
        "--certificate",
        str(tmp_path / "out" / "certificate.json"),
    ]
    assert main(words, environment) == 0
    line = capsys.readouterr().out
    told = json.loads(line)
    assert (told["step"], told["rows"], told["complete"]) == ("forget", 1 + 4 + 1, False)  # Firehose may have more
    assert "u00" not in line
    certificate = msgspec.json.decode((tmp_path / "out" / "certificate.json").read_bytes(), type=Certificate)
    assert (certificate.user_id, certificate.profile, len(certificate.pending)) == ("u00", True, 1)
    assert [one.kind for one in certificate.removed] == [
        "event log",
        "exposures",
        "slates",
        "recommendations",
        "dataset",
    ]
    with closing(DynamoDBProfiles(environment["TANDEM_PROFILES_TABLE"])) as profiles:
        assert profiles.get("u00").history == []


def test_many_users_are_recommended_for_from_the_release_in_s3(
    world: NightWorld, environment, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases, local = f"releases-{uuid4().hex}", LocalReleases(tmp_path / "made")
    world.client.create_bucket(Bucket=releases, CreateBucketConfiguration={"LocationConstraint": REGION})
    release = seal(local, toy_model())
    store = S3Releases(releases, tmp_path / "cache", client=world.client)
    store.copy_in(local, release)
    publish(store, release, None, None)
    with closing(DynamoDBProfiles(environment["TANDEM_PROFILES_TABLE"])) as profiles:
        profiles.append("u00", [HistoryEvent("i000001", MIDNIGHT)])
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    more = {"TANDEM_RELEASES_BUCKET": releases, "TANDEM_HOME": str(tmp_path / "home")}
    assert main(["recommend", "--users", "all", "--out", str(tmp_path / "out")], environment | more) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["step"], told["counts"]["users"], told["counts"]["rows"]) == ("recommend", 1, 10)


@pytest.mark.parametrize(
    ("step", "missing"), [("forget", "--user-file"), ("recommend", "--users"), ("snapshot", "--night")]
)
def test_an_argument_that_a_step_needs_is_named(step: str, missing: str, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([step], {})
    assert f"{step} needs {missing}" in capsys.readouterr().err


def test_it_is_a_module_that_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "batch_job", "--help"], capture_output=True, text=True, check=True)
    assert "snapshot" in done.stdout
