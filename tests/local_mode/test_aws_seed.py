"""The first day for real: a small world is trained here and served from S3 and DynamoDB; every step can be repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from contracts.errors import DatasetError, GateBlocked, PointerConflict, ServerUnavailable, StoreUnavailable
from contracts.release import GateCheck, GateReport, Verdict
from data_sources.dataset import open_dataset
from data_sources.generator import WorldSettings, generate
from data_sources.indexed import IndexedDataset, index_dataset
from local_mode import retrain as retrain_module
from local_mode.aws import operate
from local_mode.aws import seed as seed_module
from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from local_mode.aws.seed import seed
from local_mode.aws.stores import AwsStores
from stores.s3_releases import S3Releases
from stores.search_engine import connect
from tests.local_mode.aws_deployment import deploy
from tests.local_mode.test_retrain import let_through
from training_job.settings import Effort, TrainingSettings

QUICK = TrainingSettings(effort=Effort.QUICK, deterministic=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "world"
    generate(out, WorldSettings(users=150, items=80))
    return out


@pytest.fixture(scope="module")
def indexed(dataset: Path) -> IndexedDataset:
    return index_dataset(open_dataset(dataset))


@pytest.fixture(autouse=True)
def _open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain_module, "judge_candidate", let_through)


@pytest.fixture
def account(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    account = Account()
    yield account
    account.close()


@pytest.fixture
def stores(account: Account, tmp_path: Path, request: pytest.FixtureRequest) -> AwsStores:
    """A deployment of the test's own, without a search domain."""
    prefix = f"seed-{abs(hash(request.node.nodeid)) % 10**8}"
    deploy(account, prefix)
    return AwsStores(Deployment.find(account, prefix), account, tmp_path / "home")


def data_keys(stores: AwsStores) -> dict[str, bytes]:
    """The objects of the data bucket."""
    client, bucket = stores.account.client("s3"), stores.deployment.data_bucket
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_a_seeded_deployment_serves_its_users(
    dataset: Path, indexed: IndexedDataset, stores: AwsStores, tmp_path: Path
) -> None:
    told: list[str] = []
    done = seed(dataset, stores, QUICK, progress=lambda _done, _total, text: told.append(text))
    elsewhere = S3Releases(stores.deployment.releases_bucket, tmp_path / "cache", client=stores.account.client("s3"))
    current = elsewhere.serving()
    assert current.publication == done.publication
    assert current.publication.release == done.release
    assert len(elsewhere.open(done.release).items) == 80
    busiest = int(indexed.interactions.lengths.argmax())
    profile = stores.profiles.get(indexed.user_ids[busiest])
    assert profile.n_events == indexed.interactions.lengths[busiest]
    files = {path.relative_to(dataset).as_posix(): path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    kept = data_keys(stores)
    listing = msgspec.json.decode(kept.pop("datasets/world.files.json"))
    assert kept == {f"datasets/world/{name}": content for name, content in files.items()}
    assert listing.keys() == files.keys()
    assert {"training the towers", "writing profiles of 150 users", "sending events.parquet"} <= set(told)
    assert set(done.seconds) >= {"check", "train", "gate", "copy", "publish", "profiles", "dataset"}


def test_seeded_again_nothing_is_done_and_nothing_changes(dataset: Path, stores: AwsStores) -> None:
    first = seed(dataset, stores, QUICK)
    again = seed(dataset, stores, QUICK)
    assert again.done_before
    assert again.publication == first.publication
    assert len(stores.releases.publications()) == 1
    other = seed(dataset, stores, replace(QUICK, seed=1))  # another input is another release
    assert not other.done_before
    assert other.publication.previous == first.publication.id
    assert other.gate.compared_with == first.release


def test_killed_in_each_step_it_goes_on_without_training_again(
    dataset: Path, stores: AwsStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """No handler of ours may catch it."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    for step in ("copy_in", "publish_candidate", "follow_up", "mirror"):
        with monkeypatch.context() as patch:
            patch.setattr(S3Releases if step == "copy_in" else seed_module, step, die)
            with pytest.raises(Killed):
                seed(dataset, stores, QUICK)
        monkeypatch.setattr(seed_module, "train_candidate", die)  # from now on
    done = seed(dataset, stores, QUICK)
    assert stores.releases.serving().publication.release == done.release
    assert len(stores.releases.publications()) == 1
    assert "datasets/world.files.json" in data_keys(stores)


def test_killed_for_good_while_it_trains_it_finishes_the_next_time(dataset: Path, stores: AwsStores) -> None:
    command = [sys.executable, "-m", "cli.main", "aws", "seed", str(dataset), "--effort", "quick"]
    command += ["--prefix", stores.deployment.prefix, "--home", str(stores.home)]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "epoch" in line:
                running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    assert stores.releases.current() is None
    assert seed(dataset, stores, TrainingSettings(effort=Effort.QUICK)).publication == (
        stores.releases.serving().publication
    )


def test_a_verdict_on_another_state_is_not_used(
    dataset: Path, stores: AwsStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else published while this machine was off: the gate has to judge against that."""
    first = seed(dataset, stores, QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(seed_module, "publish_candidate", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            seed(dataset, stores, replace(QUICK, seed=1))
    third = seed(dataset, stores, replace(QUICK, seed=2))
    second = seed(dataset, stores, replace(QUICK, seed=1))
    assert third.gate.compared_with == first.release
    assert second.gate.compared_with == third.release


def test_what_the_gate_blocks_is_not_copied_and_can_be_published_by_hand(
    dataset: Path, stores: AwsStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def block(*_: object, release: str, **__: object) -> GateReport:
        checks = [GateCheck("stand-in", Verdict.BLOCK, "worse")]
        return GateReport(release=release, compared_with=None, checks=checks, served_model="two_tower")

    monkeypatch.setattr(retrain_module, "judge_candidate", block)
    for _ in range(2):  # the second time without training
        with pytest.raises(GateBlocked, match="stand-in: worse"):
            seed(dataset, stores, QUICK)
    assert stores.releases.ids() == []
    (release,) = {path.parent.name for path in stores.home.glob("releases/*/manifest.json")}
    assert operate.publish(stores, release, "als").served_model == "als"
    assert stores.releases.serving().publication.release == release


def test_back_and_forth_by_hand(dataset: Path, stores: AwsStores) -> None:
    first, second = seed(dataset, stores, QUICK), seed(dataset, stores, replace(QUICK, seed=1))
    assert operate.rollback(stores, None) == first.publication
    assert stores.releases.serving().publication == first.publication
    assert operate.rollback(stores, second.publication.id) == second.publication
    with pytest.raises(PointerConflict):
        stores.releases.publish(first.publication, "an etag that was")


def test_a_dataset_that_has_changed_is_the_one_in_the_bucket(dataset: Path, stores: AwsStores, tmp_path: Path) -> None:
    world = tmp_path / "world"
    seed(dataset, stores, QUICK)
    before = data_keys(stores)
    generate(world, WorldSettings(users=160, items=80))
    (world / "notes.txt").write_text("new")
    seed(world, stores, QUICK)
    after = data_keys(stores)
    assert after["datasets/world/notes.txt"] == b"new"
    assert {after[name] == content for name, content in before.items() if name.endswith("events.parquet")} == {False}
    (world / "notes.txt").unlink()
    seed(world, stores, replace(QUICK, seed=4))
    assert "datasets/world/notes.txt" not in data_keys(stores)


def test_what_cannot_work_is_said_before_training(
    dataset: Path, stores: AwsStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_module, "train_candidate", lambda *_, **__: pytest.fail("trained"))
    gone = replace(stores, deployment=replace(stores.deployment, releases_bucket="tandem-not-there"))
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        seed(dataset, gone, QUICK)
    with pytest.raises(ServerUnavailable, match="no search domain"):
        seed(dataset, stores, QUICK, engine_above=10)
    dark = replace(stores, deployment=replace(stores.deployment, search_endpoint="http://127.0.0.1:9"))
    with pytest.raises(ServerUnavailable, match="ConnectionError"):
        seed(dataset, dark, QUICK, engine_above=10)
    with pytest.raises(DatasetError, match="cannot be the name"):
        seed(dataset, stores, QUICK, name="../other")


def test_a_large_catalogue_is_served_from_the_search_domain(
    dataset: Path, stores: AwsStores, opensearch_url: str
) -> None:
    searching = replace(stores, deployment=replace(stores.deployment, search_endpoint=opensearch_url))
    first = seed(dataset, searching, QUICK, engine_above=10)
    assert first.publication.index is not None
    second = seed(dataset, searching, replace(QUICK, seed=1), engine_above=10)
    assert operate.rollback(searching, None).index == first.publication.index
    assert operate.publish(searching, second.release, "two_tower", engine_above=10).index == second.publication.index
    client = connect(opensearch_url)
    for publication in (first.publication, second.publication):
        assert client.count(index=publication.index)["count"] == 80
        client.indices.delete(index=publication.index)
    client.close()
