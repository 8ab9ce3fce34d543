"""Two processes that train together do what one does, stay alike, and neither waits for a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from contracts.errors import RankLost, SettingsInvalid
from contracts.fitted import from_bundle
from data_sources.dataset import write_dataset
from retrieval.golden import replay_golden
from stores.release_files import read_bundle
from tests.training_job import two_ranks
from training_job.__main__ import main
from training_job.batches import batch_spans
from training_job.fit import fit
from training_job.ranks import ALONE, Ranks

SURVIVOR_SECONDS = 20
"""In which a rank ends after another was killed; far below every timeout of the process group."""


def _environment(rank: int, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SM_")}
    return kept | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def _pair(command: list[str], logs: Path, more: dict[str, str] | None = None) -> list[subprocess.Popen[bytes]]:
    """Two ranks of one training, without torchrun to end one after the other; what they say goes to `logs`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs.mkdir(parents=True, exist_ok=True)
    pair = []
    for rank in (0, 1):
        with (logs / str(rank)).open("wb") as log:
            environment = _environment(rank, port) | (more or {})
            pair.append(subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log))
    return pair


def _ended(pair: list[subprocess.Popen[bytes]], logs: Path, seconds: float) -> str:
    """What both said, once they have ended; a rank that hangs fails the test."""
    try:
        for process in pair:
            process.wait(seconds)
    finally:
        for process in pair:
            process.kill()
            process.wait()
    return "\n".join((logs / str(rank)).read_text() for rank in (0, 1))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """The folder in which two ranks left what `two_ranks.py` says."""
    folder = tmp_path_factory.mktemp("two")
    pair = _pair(["-m", "tests.training_job.two_ranks", str(folder)], folder / "logs")
    said = _ended(pair, folder / "logs", 120)
    assert [process.returncode for process in pair] == [0, 0], said
    return folder


@pytest.mark.parametrize("kind", two_ranks.KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_a_step_of_two_is_the_step_of_one_with_all_the_users(two, kind):
    stepper = two_ranks.a_stepper(kind, ALONE)
    before = stepper.towers.items.values.clone()
    batches = two_ranks.whole_batches(stepper.recipe, stepper.data)
    expected = two_ranks.take_steps(stepper, batches)
    assert {len(np.unique(batch.users)) for batch in batches} == {300, 1}  # of one user, a rank has none
    assert (stepper.towers.items.values - before).abs().max() > 0.01
    for rank in (0, 1):
        with np.load(two / f"steps-{rank}.npz") as found:
            for name, array in expected.items():
                np.testing.assert_allclose(
                    found[f"{'-'.join(map(str, kind))} {name}"], array, rtol=1e-4, atol=2e-5, err_msg=name
                )


def test_both_ranks_hold_the_same_towers_to_the_last_bit(two):
    for stem in ("steps", "towers"):
        with np.load(two / f"{stem}-0.npz") as first, np.load(two / f"{stem}-1.npz") as second:
            assert first.files == second.files
            for name in first.files:
                assert np.array_equal(first[name], second[name]), name


def _assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Equal but for the last bits: torch raises the last few of many numbers to a power by another routine."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_two_that_share_the_item_vectors_hold_half_each_and_take_the_same_steps(two):
    n_items = two_ranks.world().interactions.n_items
    for rank in (0, 1):
        assert json.loads((two / f"held-{rank}.json").read_text()) == [n_items] * len(two_ranks.KINDS)
        owned = len(range(rank, n_items, 2))
        assert json.loads((two / "shared" / f"held-{rank}.json").read_text()) == [owned] * len(two_ranks.KINDS)
    with np.load(two / "steps-0.npz") as whole, np.load(two / "shared" / "steps-0.npz") as shared:
        _assert_close(dict(shared), dict(whole))


def test_a_training_that_shares_the_item_vectors_ends_as_one_that_does_not_and_resumes_to_the_byte(two):
    whole, shared = (json.loads((folder / "fitted.json").read_text()) for folder in (two, two / "shared"))
    assert shared["began"][1] > 0
    assert shared["digests"][0] == shared["digests"][1]
    rounds = shared["report"]["rounds"]
    assert rounds["losses"] == pytest.approx(whole["report"]["rounds"]["losses"], rel=1e-4)
    assert rounds["scores"] == pytest.approx(whole["report"]["rounds"]["scores"], abs=0.01)


def test_a_checkpoint_does_not_tell_whether_the_item_vectors_were_shared(two):
    newest = [max((folder / "checkpoints").iterdir()) / "state.safetensors" for folder in (two, two / "shared")]
    whole, shared = (load_file(path) for path in newest)
    assert len(whole["moment.items.first"]) == two_ranks.world().interactions.n_items
    assert whole.keys() == shared.keys()
    assert {name: array.shape for name, array in shared.items()} == {name: array.shape for name, array in whole.items()}
    for name, array in whole.items():
        np.testing.assert_allclose(shared[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_training_of_two_is_as_good_as_that_of_one(two):
    report = json.loads((two / "fitted.json").read_text())["report"]
    indexed = two_ranks.world()
    alone = fit(indexed, indexed.interactions, two_ranks.SETTINGS).report
    assert (report["ranks"], alone["ranks"]) == (2, 1)
    assert report["recipe"] == alone["recipe"]
    assert len(report["rounds"]["losses"]) > 3
    epochs = alone["counts"]["examples"] / 301
    assert report["counts"]["examples"] / 301 == pytest.approx(epochs, rel=0.35)  # one may stop a round earlier
    for model, expected in alone["validation"].items():
        assert report["validation"][model]["ndcg@20"] == pytest.approx(expected["ndcg@20"], abs=0.03), model
    assert report["validation"]["two_tower"]["ndcg@20"] > 2 * report["validation"]["popularity"]["ndcg@20"]


def test_two_that_resume_end_where_they_would_have(two):
    facts = json.loads((two / "fitted.json").read_text())
    assert facts["began"][0] == 0
    assert facts["began"][1] > 0
    assert facts["digests"][0] == facts["digests"][1]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder, world = tmp_path_factory.mktemp("data") / "data", two_ranks.world()
    events = pl.DataFrame(
        {
            "user_id": world.user_ids.gather(world.interactions.users),
            "item_id": world.item_ids.gather(world.interactions.items),
            "timestamp": world.interactions.times,
        }
    )
    users = world.users.with_columns(world.user_ids.alias("user_id"))
    write_dataset(folder, world.schema, events, users, world.items.with_columns(world.item_ids.alias("item_id")))
    return folder


def _job(dataset: Path, folder: Path) -> dict[str, str]:
    return {
        "SM_CHANNEL_TRAINING": str(dataset),
        "SM_MODEL_DIR": str(folder / "model"),
        "SM_OUTPUT_DATA_DIR": str(folder / "output" / "data"),
        "SM_OUTPUT_DIR": str(folder / "output"),
        "SM_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "SM_HPS": json.dumps({"effort": "best", "checkpoint_seconds": 0, "threads": 1}),
    }


@pytest.fixture(scope="module")
def killed(dataset, tmp_path_factory):
    """The folder of a job of which rank 1 was killed while it trained, how both ended, and after how long."""
    folder = tmp_path_factory.mktemp("killed")
    pair = _pair(["-m", "training_job"], folder / "logs", _job(dataset, folder))
    while not list((folder / "checkpoints").glob("checkpoint-*")) and pair[0].poll() is None:
        time.sleep(0.02)
    pair[1].kill()
    begun = time.monotonic()
    said = _ended(pair, folder / "logs", SURVIVOR_SECONDS)
    return folder, [process.returncode for process in pair], time.monotonic() - begun, said


def test_a_killed_rank_ends_the_other_with_a_named_failure(killed):
    folder, statuses, seconds, said = killed
    assert statuses == [1, -signal.SIGKILL], said
    assert "rank-lost: rank 0 of 2 cannot reach the others" in said
    assert seconds < SURVIVOR_SECONDS
    assert not (folder / "model").exists()
    assert "rank-lost" in (folder / "output" / "failure").read_text()


def test_torchrun_goes_on_from_the_checkpoints_of_a_killed_job_and_only_rank_0_writes(killed, dataset, tmp_path):
    folder, *_ = killed
    job = _job(dataset, folder) | {"TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    newest = max(path.name for path in (folder / "checkpoints").iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training_job"],
        env={name: value for name, value in os.environ.items() if not name.startswith("SM_")} | job,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    report = json.loads(line)
    assert report == json.loads((folder / "output" / "data" / "report.json").read_text())
    assert report["ranks"] == 2
    assert max(path.name for path in (folder / "checkpoints").iterdir()) > newest
    model = from_bundle(read_bundle(folder / "model"))
    replay_golden(model)
    assert np.isfinite(model.items.two_tower).all()


def test_a_rank_that_waits_for_its_share_ends_with_rank_0(two):
    assert (two / "ended-0").read_text().startswith("not-enough-data: ")
    assert (two / "ended-1").read_text().startswith("rank-lost: rank 1 of 2 cannot reach the others")


def test_the_file_that_sagemaker_shows_keeps_the_first_reason(tmp_path, monkeypatch, capsys):
    """A rank that is left alone says so, but not over the reason of the one that left it."""

    def fail(environment):
        raise RankLost("rank 1 of 2 cannot reach the others.")

    monkeypatch.setattr("training_job.container.train", fail)
    file = tmp_path / "failure"
    file.write_text("not-enough-data: no events\n")
    assert main([], {"SM_OUTPUT_DIR": str(tmp_path)}) == 1
    assert file.read_text() == "not-enough-data: no events\n"
    file.unlink()
    assert main([], {"SM_OUTPUT_DIR": str(tmp_path)}) == 1
    assert file.read_text() == capsys.readouterr().err.splitlines()[0] + "\n"


@given(st.integers(0, 40), st.integers(1, 6))
def test_every_user_belongs_to_one_rank_and_ranks_are_even(n_users, size):
    shares = [Ranks(rank, size).users(n_users) for rank in range(size)]
    assert sorted(np.concatenate(shares)) == list(range(n_users))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 6))
def test_the_parts_of_a_batch_are_together_no_larger_than_a_batch_and_a_user_a_rank(n_users, batch, size):
    steps = -(-n_users // batch)
    parts = np.array(
        [
            [span.stop - span.start for span in batch_spans(len(Ranks(rank, size).users(n_users)), batch, steps)]
            for rank in range(size)
        ]
    )
    assert parts.shape == (size, steps)
    assert parts.sum() == n_users
    assert parts.sum(axis=0).max() <= batch + size


@given(st.integers(0, 300), st.integers(1, 40))
def test_batches_of_one_process_are_full_but_for_the_last(n_users, batch):
    spans = list(batch_spans(n_users, batch))
    lengths = [span.stop - span.start for span in spans]
    assert lengths == [batch] * (n_users // batch) + [n_users % batch] * bool(n_users % batch)
    assert [user for span in spans for user in range(n_users)[span]] == list(range(n_users))


def test_one_process_is_not_asked_for_the_environment_of_several():
    assert Ranks.of({}) is ALONE
    assert Ranks.of({"WORLD_SIZE": "1", "RANK": "0"}) is ALONE
    random = np.random.default_rng(0)
    assert ALONE.own(random) is random


def test_half_of_torchruns_environment_is_refused():
    with pytest.raises(SettingsInvalid, match="MASTER_ADDR"):
        Ranks.of({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"})


def test_ranks_draw_their_own_and_keep_a_common_generator():
    common = [np.random.default_rng(4) for _ in range(2)]
    drawn = [Ranks(rank, 2).own(random).random() for rank, random in enumerate(common)]
    assert drawn[0] != drawn[1]
    assert common[0].random() == common[1].random()


def test_rank_0_makes_short_runs_alone_before_all_train(two):
    for folder in (two, two / "shared"):
        assert list(json.loads((folder / "fitted.json").read_text())["report"]["short_runs"]) == ["0.12", "0.2"]
