"""A night on one machine: what it leaves, what it refuses, and that killing it does no harm."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import GateBlocked, StateBusy, StorageFull, TandemError
from contracts.release import GateCheck, GateReport, Verdict
from data_sources.dataset import open_dataset
from data_sources.generator import WorldSettings, generate
from data_sources.importers.sequences import import_sequences
from data_sources.indexed import index_dataset
from local_mode import retrain as retrain_module
from local_mode.asking import ask
from local_mode.retrain import retrain
from stores.profiles import SqliteProfiles
from stores.releases import LocalReleases
from training_job.gate import judge_candidate
from training_job.settings import Effort, TrainingSettings

QUICK = TrainingSettings(effort=Effort.QUICK, deterministic=True)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "world"
    generate(out, WorldSettings(users=150, items=80))
    return out


def let_through(*_: object, release: str, serving_release: str | None = None, **__: object) -> GateReport:
    """A gate without an opinion: these tests are about the night, not about the quality of a tiny world."""
    check = GateCheck("stand-in", Verdict.PASS, "lets everything through")
    return GateReport(release=release, compared_with=serving_release, checks=[check], served_model="two_tower")


@pytest.fixture(autouse=True)
def _open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain_module, "judge_candidate", let_through)


def test_a_night_ends_with_a_release_that_serves_its_users(dataset: Path, tmp_path: Path) -> None:
    done = retrain(dataset, tmp_path, QUICK)
    indexed = index_dataset(open_dataset(dataset))
    busiest = int(indexed.interactions.lengths.argmax())
    user = indexed.user_ids[busiest]
    slate = ask(tmp_path, {"user_id": user, "num_items": 5})
    assert slate["why"]["route"] == "model"
    assert slate["why"]["release"] == done.manifest.id
    seen = set(indexed.item_ids.gather(indexed.interactions.items[indexed.interactions.of(busiest)]).to_list())
    served = [item["item_id"] for item in slate["items"]]
    assert len(set(served)) == 5
    assert not seen & set(served)
    with SqliteProfiles(tmp_path / "profiles.sqlite") as profiles:
        assert profiles.get(user).n_events == indexed.interactions.lengths[busiest]
    assert not any((tmp_path / "runs").glob("*/"))


def test_the_deterministic_mode_gives_the_same_bytes_twice(dataset: Path, tmp_path: Path) -> None:
    digests = {retrain(dataset, tmp_path / name, QUICK, publish_it=False).manifest.digest for name in ("a", "b")}
    assert len(digests) == 1


def test_without_publishing_nothing_serves(dataset: Path, tmp_path: Path) -> None:
    done = retrain(dataset, tmp_path, QUICK, publish_it=False)
    store = LocalReleases(tmp_path)
    assert done.publication is None
    assert store.current() is None
    assert store.ids() == [done.manifest.id]


def test_a_warm_start_names_its_parent(dataset: Path, tmp_path: Path) -> None:
    first = retrain(dataset, tmp_path, QUICK)
    second = retrain(dataset, tmp_path, QUICK, warm_start=first.manifest.id)
    assert second.manifest.parent == first.manifest.id
    assert LocalReleases(tmp_path).serving().publication.previous == first.publication.id  # type: ignore[union-attr]


def test_a_blocked_candidate_leaves_what_served(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = retrain(dataset, tmp_path, QUICK)
    blocked = GateReport(
        release="r", compared_with=None, checks=[GateCheck("x", Verdict.BLOCK, "worse")], served_model="two_tower"
    )
    monkeypatch.setattr(retrain_module, "judge_candidate", lambda *_, **__: blocked)
    with pytest.raises(GateBlocked, match="x: worse"):
        retrain(dataset, tmp_path, TrainingSettings(effort=Effort.QUICK, seed=1))
    assert LocalReleases(tmp_path).serving().publication == first.publication


def test_a_home_that_served_other_data_takes_new_data(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other items, other features: the gate has nothing to compare and says so."""
    monkeypatch.setattr(retrain_module, "judge_candidate", judge_candidate)
    lines = (f"u{user}\t" + " ".join(f"x{(user + step * 3) % 40}" for step in range(12)) for user in range(60))
    (tmp_path / "sequences.txt").write_text("\n".join(lines))
    import_sequences(tmp_path / "sequences.txt", tmp_path / "other")
    retrain(dataset, tmp_path / "home", QUICK)
    done = retrain(tmp_path / "other", tmp_path / "home", QUICK)
    assert done.publication is not None
    verdicts = {check.name: check.verdict for check in done.gate.checks}
    assert verdicts["serving_release"] is Verdict.WARN


def test_of_two_nights_on_the_same_input_one_is_told_so(dataset: Path, tmp_path: Path) -> None:
    outcomes: list[object] = []

    def night() -> None:
        try:
            outcomes.append(retrain(dataset, tmp_path, QUICK))
        except TandemError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=night) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [outcome for outcome in outcomes if isinstance(outcome, StateBusy)]
    assert len(refused) == 1
    assert LocalReleases(tmp_path).current() is not None


def test_two_nights_with_different_seeds_do_not_mix(dataset: Path, tmp_path: Path) -> None:
    """Both seal; the pointer takes the first and refuses the second, which was judged against an older state."""
    from tests.local_mode.nights import run_side_by_side

    outcomes = run_side_by_side(dataset, tmp_path, seeds=(1, 2))
    store = LocalReleases(tmp_path)
    assert sorted(outcomes) in ([0, 0], [0, 2])
    for release in store.ids():
        opened = store.open(release)
        assert np.isfinite(opened.items.two_tower).all()
    assert store.serving().publication.release in store.ids()


def test_a_full_disk_publishes_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    first = retrain(dataset, tmp_path, QUICK)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        retrain(dataset, tmp_path, TrainingSettings(effort=Effort.QUICK, seed=3))
    assert LocalReleases(tmp_path).serving().publication == first.publication


def test_killed_at_random_points_it_serves_the_old_or_the_new_and_then_finishes() -> None:
    """A sample of `make soak`, in a process that has not computed yet (it forks)."""
    command = [sys.executable, "-m", "benchmarks.kill_soak", "--kills", "6", "--seed", "7", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == 6
    assert result["torn"] == []
    assert result["recovered"] == 1
