"""A batch as a whole: what is in its folder, how it goes on after a kill, what it refuses, and who is left out."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

import batch_job.recommend_folder
from batch_job.recommend import recommend_all
from batch_job.recommend_folder import BatchFolder
from contracts.batch import BatchDone
from contracts.errors import (
    BatchMismatch,
    JobFailed,
    NothingPublished,
    ProfilesUnavailable,
    RequestInvalid,
    StateBusy,
    StorageFull,
)
from retrieval.settings import RetrievalSettings
from stores.profiles import SqliteProfiles
from stores.releases import LocalReleases
from tests.batch_job.recommend_world import (
    EVERYBODY,
    PEOPLE,
    build,
    file_of,
    history,
    identities,
    plan_for,
    rows_of,
    sources_of,
    tell_live_items,
)
from tests.lambda_user_tower.conftest import publish
from tests.toy_world import DAY, NOW

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class Stop(Exception):
    """What ends a batch half-way."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that no test changes."""
    home = build(tmp_path_factory.mktemp("kept"))
    tell_live_items(home)
    return home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of the test's own."""
    return build(tmp_path / "home")


def stop_after(parts: int, then: Callable[[], None] | None = None) -> Callable[[int, int, str], None]:
    """Progress that raises once so many parts of five users are there."""

    def tell(done: int, total: int, _: str) -> None:
        if total and done >= 5 * parts:
            if then is None:
                raise Stop
            then()

    return tell


def parts_in(out: Path) -> dict[str, int]:
    """Part → when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}


def test_everybody_with_a_profile_and_nobody_else(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    told: list[tuple[int, int, str]] = []
    done = recommend_all(plan_for(part_users=5), sources_of(kept), out, lambda *words: told.append(words))
    rows = rows_of(out)
    assert set(rows["user_id"]) == set(PEOPLE), "not who left, and no anonymous session"
    assert dict(rows.schema) == batch_job.recommend_folder.COLUMNS
    assert rows.group_by("user_id").len()["len"].unique().to_list() == [10]
    assert rows["rank"].to_list() == list(range(1, 11)) * len(PEOPLE)
    assert (done.counts.users, done.counts.rows, done.counts.left) == (len(PEOPLE), 10 * len(PEOPLE), 0)
    assert done.counts.routes == {"cold_user": 3, "model": len(PEOPLE) - 3}
    assert {path.name for path in out.iterdir()} == {"_manifest.json", "_SUCCESS", *parts_in(out)}
    assert len(parts_in(out)) == done.parts_made == done.manifest.parts == 4
    assert msgspec.json.decode((out / "_SUCCESS").read_bytes(), type=BatchDone) == done
    manifest = json.loads((out / "_manifest.json").read_bytes())
    assert (manifest["publication"], manifest["moment"], manifest["users"]) == ("p1", NOW, "all")
    assert told[-1] == (len(PEOPLE), len(PEOPLE), "users")


def test_whom_a_file_names(kept: Path, tmp_path: Path) -> None:
    named = ["warm3", "nobody", "left", "warm3", "again", "anonymous:visit", "anonymous:other", "warm3"]
    done = recommend_all(plan_for(file_of(tmp_path, named)), sources_of(kept), tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "part-*.parquet")
    assert rows["user_id"].unique(maintain_order=True).to_list() == ["warm3", "nobody", "again"]
    assert rows.filter(pl.col("user_id") == "nobody")["route"].unique().to_list() == ["unknown"]
    assert (done.counts.users, done.counts.left, done.manifest.anonymous, done.manifest.listed) == (3, 1, 2, 4)


def test_one_user_and_one_place(kept: Path, tmp_path: Path) -> None:
    recommend_all(plan_for(file_of(tmp_path, ["warm0"]), num_items=1), sources_of(kept), tmp_path / "out")
    assert rows_of(tmp_path / "out").select("user_id", "rank").rows() == [("warm0", 1)]


def test_nobody_has_a_profile_yet(kept: Path, tmp_path: Path) -> None:
    """A night's batch of an empty store is empty, and finished."""
    empty = replace(sources_of(kept), profiles=lambda: SqliteProfiles(tmp_path / "none.sqlite"))
    done = recommend_all(plan_for(), empty, tmp_path / "out")
    assert (done.counts.users, done.manifest.parts) == (0, 0)
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_a_batch_that_was_ended_goes_on_at_its_own_moment(kept: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    recommend_all(plan_for(part_users=5), sources_of(kept), whole)
    with pytest.raises(Stop):
        recommend_all(plan_for(part_users=5), sources_of(kept), out, stop_after(2))
    before = parts_in(out)
    assert len(before) == 2
    assert not (out / "_SUCCESS").exists()
    done = recommend_all(plan_for(part_users=5, now_seconds=NOW + 300 * DAY), sources_of(kept), out)
    assert done.manifest.moment == NOW
    assert done.parts_made == 2
    assert before.items() <= parts_in(out).items(), "what was there was not made again"
    assert rows_of(out).equals(rows_of(whole))
    assert done.counts == recommend_all(plan_for(part_users=5), sources_of(kept), whole).counts


def test_an_end_while_users_are_listed_leaves_nothing_to_go_on_from(kept: Path, tmp_path: Path) -> None:
    BatchFolder(tmp_path / "out").lists.mkdir(parents=True)
    (BatchFolder(tmp_path / "out").lists / "00000.arrow").write_bytes(b"half a li")
    assert recommend_all(plan_for(), sources_of(kept), tmp_path / "out").counts.users == len(PEOPLE)


KILLED = """
if __name__ == "__main__":  # its processes need not import all this
    import sys
    from pathlib import Path
    from batch_job.recommend import recommend_all
    from tests.batch_job.recommend_world import plan_for, sources_of

    recommend_all(plan_for(part_users=2, processes=2), sources_of(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_killed_batch_of_two_processes_leaves_none_behind_and_goes_on(kept: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "out", tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(kept), str(out)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment) as process:
        while not parts_in(out) and process.poll() is None:
            time.sleep(0.002)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(children) >= 2
    assert not (out / "_SUCCESS").exists()
    ends = time.monotonic() + 20
    while any(_runs(child) for child in children):
        assert time.monotonic() < ends, "a process lives on without its parent"
        time.sleep(0.01)
    before = parts_in(out)
    recommend_all(plan_for(part_users=2), sources_of(kept), out)
    assert before.items() <= parts_in(out).items()
    recommend_all(plan_for(part_users=2), sources_of(kept), tmp_path / "whole")
    assert rows_of(out).equals(rows_of(tmp_path / "whole"))


def _runs(process: str) -> bool:
    try:
        return "spawn" in Path(f"/proc/{process}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_that_is_ended_from_outside_is_named(kept: Path, tmp_path: Path) -> None:
    sources, out = sources_of(kept), tmp_path / "out"
    with pytest.raises(Stop):
        recommend_all(plan_for(part_users=5), sources, out, stop_after(1))
    before = parts_in(out)
    with pytest.raises(JobFailed, match="ended from outside"):
        recommend_all(plan_for(part_users=5, processes=2), replace(sources, profiles=partial(os._exit, 9)), out)
    assert parts_in(out) == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_items": 5}, "num_items 10, now it is 5"),
        ({"users": "file"}, "other users"),
        ({"retrieval": RetrievalSettings(cold_quota=0.3)}, "TANDEM_RETRIEVAL_COLD_QUOTA 0.1, now it is 0.3"),
        ({"promoted": {"genre": "art"}}, "PROMOTED {}, now it is"),
        ({"part_users": 3}, "PART_USERS"),
    ],
)
def test_a_folder_is_never_mixed(kept: Path, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(Stop):
        recommend_all(plan_for(part_users=5), sources_of(kept), out, stop_after(1))
    (out / "notes.txt").write_text("somebody's")
    if "users" in changes:
        changes = {"users": file_of(tmp_path, ["warm0"])}
    plan = {"part_users": 5, **changes}
    with pytest.raises(BatchMismatch, match=named) as refused:
        recommend_all(plan_for(**plan), sources_of(kept), out)
    assert "--restart" in refused.value.fix
    done = recommend_all(plan_for(**plan, restart=True), sources_of(kept), out)
    assert len(rows_of(out)) == done.counts.rows
    assert (out / "notes.txt").exists()


def test_a_publication_that_came_meanwhile_is_another_batch(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        recommend_all(plan_for(part_users=5), sources_of(home), tmp_path / "out", stop_after(1))
    publish(home, LocalReleases(home).serving().publication.release, served_model="als")
    with pytest.raises(BatchMismatch, match="publication p1, now it is p2"):
        recommend_all(plan_for(part_users=5), sources_of(home), tmp_path / "out")
    done = recommend_all(plan_for(part_users=5, restart=True), sources_of(home), tmp_path / "out")
    assert set(rows_of(tmp_path / "out")["model"]) == {"als", "popularity"}
    assert done.manifest.served_model == "als"


@pytest.mark.parametrize("content", [None, b"{", b'{"format_version": 99}', b"\xff"])
def test_parts_without_a_manifest_that_can_be_read_are_not_added_to(kept: Path, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out"
    recommend_all(plan_for(), sources_of(kept), out)
    (out / "_manifest.json").unlink()
    if content is not None:
        (out / "_manifest.json").write_bytes(content)
    with pytest.raises(BatchMismatch, match="manifest"):
        recommend_all(plan_for(), sources_of(kept), out)


def test_a_part_that_was_taken_away_is_not_made_of_nothing(kept: Path, tmp_path: Path) -> None:
    recommend_all(plan_for(part_users=5), sources_of(kept), tmp_path / "out")
    (tmp_path / "out" / "part-00001.parquet").unlink()
    with pytest.raises(BatchMismatch, match="part-00001"):
        recommend_all(plan_for(part_users=5), sources_of(kept), tmp_path / "out")


def test_who_leaves_meanwhile_is_in_no_part(home: Path, tmp_path: Path) -> None:
    """Of a part that is there, of one that is not, and one of whom only the tombstone is written yet."""
    users = [*PEOPLE[:3], "warm0", "warm1", "warm2", "warm3", "warm4"]
    gone = {"told": True, "warm3": True, "warm4": False}
    left = False

    def leave() -> None:
        nonlocal left
        if left:
            return
        left = True
        with closing(identities(home)) as told, SqliteProfiles(home / "profiles.sqlite") as profiles:
            for user, forgotten in gone.items():
                told.bury(user, NOW + 5)
                if forgotten:
                    profiles.forget(user, NOW + 5)
            profiles.append("warm3", history((1,), later=DAY))  # and comes back: what was made is of the time before

    plan = plan_for(file_of(tmp_path, users), part_users=5)
    done = recommend_all(plan, sources_of(home), tmp_path / "out", stop_after(1, leave))
    rows = rows_of(tmp_path / "out")
    assert set(rows["user_id"]) == set(users) - set(gone)
    assert (done.counts.users, done.counts.left, done.counts.rows) == (5, 3, 50)
    assert sum(done.counts.routes.values()) == 5
    with closing(identities(home)) as told:
        told.bury("warm0", NOW + DAY)
    again = recommend_all(plan, sources_of(home), tmp_path / "out")
    assert (again.counts.users, again.counts.left, again.parts_made) == (4, 4, 0)
    assert "warm0" not in set(rows_of(tmp_path / "out")["user_id"]), "asked again, a finished folder only loses"


def test_who_was_buried_is_left_out_before_the_profile_is_gone(home: Path, tmp_path: Path) -> None:
    with closing(identities(home)) as told:
        told.bury("warm5", NOW - 30 * DAY)
        told.bury("stranger", NOW - 30 * DAY)
    done = recommend_all(
        plan_for(file_of(tmp_path, ["warm5", "warm6", "stranger"])), sources_of(home), tmp_path / "out"
    )
    assert set(rows_of(tmp_path / "out")["user_id"]) == {"warm6"}
    assert done.counts.left == 2


def test_a_full_disk_is_named_and_nothing_half_is_visible(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write = tmp_path / "out", batch_job.recommend_folder.write_atomically

    def full(path: Path, data: bytes) -> None:
        if path.name == "part-00002.parquet":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(batch_job.recommend_folder, "write_atomically", full)
    with pytest.raises(StorageFull, match="part-00002"):
        recommend_all(plan_for(part_users=5), sources_of(kept), out)
    monkeypatch.undo()
    assert sorted(parts_in(out)) == ["part-00000.parquet", "part-00001.parquet"]
    assert recommend_all(plan_for(part_users=5), sources_of(kept), out).parts_made == 2


def test_two_batches_do_not_write_one_folder(kept: Path, tmp_path: Path) -> None:
    with BatchFolder(tmp_path / "out").held(), pytest.raises(StateBusy):
        recommend_all(plan_for(), sources_of(kept), tmp_path / "out")
    assert recommend_all(plan_for(), sources_of(kept), tmp_path / "out").counts.users == len(PEOPLE)


def test_a_damaged_profile_costs_one_user_their_taste(home: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home / "profiles.sqlite")) as file:
        file.execute("UPDATE profiles SET profile = x'00' WHERE user_id = 'warm2'")
        file.commit()
    done = recommend_all(plan_for(file_of(tmp_path, EVERYBODY)), sources_of(home), tmp_path / "out")
    routes = dict(rows_of(tmp_path / "out").filter(pl.col("rank") == 1).select("user_id", "route").iter_rows())
    assert (done.counts.unreadable, routes["warm2"], routes["warm3"]) == (1, "unknown", "model")


def test_a_store_of_damaged_profiles_is_down(home: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home / "profiles.sqlite")) as file:
        file.execute("UPDATE profiles SET profile = x'00' WHERE user_id LIKE 'warm%'")
        file.commit()
    with pytest.raises(ProfilesUnavailable):
        recommend_all(plan_for(file_of(tmp_path, EVERYBODY)), sources_of(home), tmp_path / "out")


def test_what_cannot_be_begun(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingPublished):
        recommend_all(plan_for(), sources_of(tmp_path / "empty"), tmp_path / "out")
    with pytest.raises(RequestInvalid, match=r"filters\.colour"):
        recommend_all(plan_for(promoted={"colour": "red"}), sources_of(kept), tmp_path / "out")
