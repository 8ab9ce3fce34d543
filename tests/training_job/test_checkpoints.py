"""Checkpoints are whole or they are not there."""

from __future__ import annotations

import pytest
import torch

from training_job.checkpoints import Checkpoints, State


def _state(number: int) -> State:
    return State(
        {"a": torch.full((50, 4), float(number)), "n": torch.tensor(number)}, {"epoch": number, "big": "int:1"}
    )


def test_what_is_read_is_what_was_written(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new", "mine")
    assert checkpoints.newest() is None
    checkpoints.save(3, _state(3))
    read = checkpoints.newest()
    assert read.counters == {"epoch": 3, "big": "int:1"}
    assert torch.equal(read.tensors["a"], torch.full((50, 4), 3.0))


def test_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, "mine")
    for number in (1, 2, 10):
        checkpoints.save(number, _state(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000002", "checkpoint-000010"]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, name, damage):
    checkpoints = Checkpoints(tmp_path, "mine")
    checkpoints.save(1, _state(1))
    checkpoints.save(2, _state(2))
    path = tmp_path / "checkpoint-000002" / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) // 3] if damage == "cut" else data)
    assert checkpoints.newest().counters["epoch"] == (2 if (name, damage) == ("state.json", "none") else 1)


def test_a_checkpoint_of_other_data_is_not_resumed(tmp_path):
    Checkpoints(tmp_path, "theirs").save(1, _state(1))
    assert Checkpoints(tmp_path, "mine").newest() is None


def test_what_a_kill_left_half_written_is_not_a_checkpoint(tmp_path):
    (tmp_path / ".partial-checkpoint-000007-1").mkdir()
    (tmp_path / ".partial-checkpoint-000007-1" / "state.json").write_text("{")
    assert Checkpoints(tmp_path, "mine").newest() is None


def test_a_failed_write_leaves_the_previous_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, "mine")
    checkpoints.save(1, _state(1))
    with pytest.raises(TypeError):
        checkpoints.save(2, State({"a": torch.zeros(1)}, {"not json": object()}))
    assert checkpoints.newest().counters["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]
