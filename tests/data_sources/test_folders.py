"""Folders appear whole or not at all: full disks, foreign folders, failures inside, and kill -9 at any moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import DatasetError, StorageFull
from data_sources.dataset import is_dataset, open_dataset, write_dataset
from data_sources.folders import replace_folder
from tests.data_sources.small_world import small_world


def _yes(_: Path) -> bool:
    return True


def _fill(target: Path, writer: str) -> None:
    with replace_folder(target, _yes) as folder:
        full = folder / "events.parquet"
        full.symlink_to("/dev/full")
        if writer == "polars":
            pl.DataFrame({"a": range(100_000)}).write_parquet(full)
        else:
            full.write_text("x" * 100_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is what stands in for a full disk")
@pytest.mark.parametrize("writer", ["polars", "python"])
def test_a_full_disk_is_named_and_leaves_nothing(writer: str, tmp_path: Path) -> None:
    target = tmp_path / "d"
    with pytest.raises(StorageFull, match="disk is full") as caught:
        _fill(target, writer)
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


def _fail_half_way(target: Path) -> None:
    with replace_folder(target, is_dataset) as folder:
        (folder / "half").write_text("x")
        raise ZeroDivisionError


def test_a_failure_inside_keeps_what_was_there(tmp_path: Path) -> None:
    world = small_world()
    write_dataset(tmp_path / "d", world.schema, world.events, world.users, world.items)
    with pytest.raises(ZeroDivisionError):
        _fail_half_way(tmp_path / "d")
    assert len(open_dataset(tmp_path / "d").events) == len(world.events)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_dataset_is_not_overwritten(kind: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    if kind == "folder":
        precious.mkdir()
        (precious / "thesis.txt").write_text("years of work")
    else:
        precious.write_text("years of work")
    world = small_world()
    with pytest.raises(DatasetError, match="is not a dataset"):
        write_dataset(precious, world.schema, world.events, world.users, world.items)
    assert (precious / "thesis.txt" if kind == "folder" else precious).read_text() == "years of work"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    world = small_world()
    write_dataset(tmp_path / "d", world.schema, world.events, world.users, world.items)
    assert is_dataset(tmp_path / "d")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    world = small_world()
    with pytest.raises(DatasetError, match="cannot be written"):
        write_dataset(tmp_path / "file" / "d", world.schema, world.events, world.users, world.items)


def test_what_a_killed_writer_left_is_swept_a_day_later(tmp_path: Path) -> None:
    world = small_world()
    for name in (".d.old.partial", ".d.young.partial", ".other.x.partial"):
        (tmp_path / name).mkdir()
    for name in (".d.old.partial", ".other.x.partial"):
        os.utime(tmp_path / name, (0, 0))
    write_dataset(tmp_path / "d", world.schema, world.events, world.users, world.items)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".d.young.partial", ".other.x.partial", "d"]


def test_a_folder_that_was_moved_aside_when_the_writer_died_comes_back(tmp_path: Path) -> None:
    world = small_world()
    write_dataset(tmp_path / "d", world.schema, world.events, world.users, world.items)
    (tmp_path / "d").rename(tmp_path / ".d.replaced")
    assert len(open_dataset(tmp_path / "d").events) == len(world.events)
    with pytest.raises(ZeroDivisionError):
        _fail_half_way(tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
    assert len(open_dataset(tmp_path / "d").events) == len(world.events)


REPOSITORY = Path(__file__).resolve().parents[2]

WRITER = """
    import sys
    from pathlib import Path
    from data_sources.dataset import write_dataset
    from tests.data_sources.small_world import small_world
    world = small_world()
    sizes = [100, 200, 400]
    print("ready", flush=True)
    for turn in range(100_000):
        write_dataset(Path(sys.argv[1]), world.schema, world.events.head(sizes[turn % 3]), world.users, world.items)
"""


def test_killed_at_any_moment_a_dataset_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    world, target, rng = small_world(), tmp_path / "d", random.Random(3)
    write_dataset(target, world.schema, world.events.head(100), world.users, world.items)
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(target)], stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert len(open_dataset(target).events) in (100, 200, 400)
    write_dataset(target, world.schema, world.events, world.users, world.items)
    assert len(open_dataset(target).events) == len(world.events)
