"""Live data in one SQLite file: restarts, three stores and several processes beside each other, damage, a full disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import stores.sqlite_file
from contracts.errors import LiveDataUnavailable, StateBusy, StorageFull
from contracts.live import Counts
from stores.fresh_items import SqliteFreshItems
from stores.identities import SqliteIdentities
from stores.live_counts import SqliteLiveCounts
from stores.live_records import CURRENT_FORMAT
from stores.profiles import SqliteProfiles
from tests.stores.live_worlds import NOW, told

A = {"title": "a"}
ALL = (SqliteFreshItems, SqliteIdentities, SqliteLiveCounts)
_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "live.sqlite"


@contextmanager
def by_hand(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def test_all_three_share_a_file_and_find_it_after_a_restart(path):
    for _ in range(2):
        with SqliteFreshItems(path) as items, SqliteIdentities(path) as identities, SqliteLiveCounts(path) as counts:
            items.put([told("a", A, "r1")], NOW)
            identities.bury("u", NOW)
            counts.write(Counts(1, "w", {"a": 1.0}))
    with SqliteLiveCounts(path) as counts, SqliteIdentities(path) as identities, SqliteFreshItems(path) as items:
        assert len(items.changes().items) == len(list(identities.tombstones())) == len(counts.since(0)) == 1


def test_a_cursor_is_good_in_the_next_process(path):
    with SqliteFreshItems(path) as items:
        items.put([told("a", A)], NOW)
        cursor = items.changes().cursor
    with SqliteFreshItems(path) as items:
        assert items.changes(cursor).items == []
        items.settle(["a"], [], NOW)
        items.put([told("b", A)], NOW)
        assert [item.item_id for item in items.changes(cursor).items] == ["b"]


_PROCESS = """
import sys
from pathlib import Path
from contracts.live import LiveItem
from stores.fresh_items import Put, SqliteFreshItems
from stores.identities import SqliteIdentities
told = lambda name: Put(LiveItem(item_id=name, features={"by": me}, digest=me))
path, me = Path(sys.argv[1]), sys.argv[2]
with SqliteFreshItems(path) as items, SqliteIdentities(path) as identities:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(20):
        items.put([told(f"{me}-{number}"), told("shared")], number + 1)
        items.patch(f"{me}-{number}", 1, available=False)
        identities.merge(f"anonymous:{number}", me, 1)
    items.count({f"{me}-{number}": 1 for number in range(20)}, 1)
"""


def test_processes_that_make_the_file_and_write_it_at_once_lose_nothing(path):
    begin = [sys.executable, "-c", _PROCESS, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*begin, f"p{number}"], cwd=_REPOSITORY, **pipes) for number in range(3)]
    view, cursor = {}, ""
    with SqliteFreshItems(path) as items:
        for process in processes:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        writing = True
        while writing:
            writing = any(process.poll() is None for process in processes)
            found, cursor = items.changes(cursor)
            view |= {item.item_id: item for item in found}
        for process in processes:
            assert (process.wait(), process.communicate()[1]) == (0, "")
        assert view == {item.item_id: item for item in items.all()}
    written = {name: item for name, item in view.items() if name != "shared"}
    assert set(written) == {f"p{process}-{number}" for process in range(3) for number in range(20)}
    assert all(item.events == 1 and item.available is False for item in written.values())
    with SqliteIdentities(path) as identities:
        assert len(list(identities.merges())) == 20


@pytest.mark.parametrize("store", ALL)
def test_a_file_that_is_no_store_is_named(path, store):
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(LiveDataUnavailable, match=r"live\.sqlite") as caught:
        store(path)
    assert "Move the file away" in caught.value.fix


def test_another_version_and_another_store_are_refused(path):
    SqliteIdentities(path).close()
    with by_hand(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    for store in ALL:
        with pytest.raises(LiveDataUnavailable, match="version 99"):
            store(path)
    profiles = path.with_name("profiles.sqlite")
    SqliteProfiles(profiles).close()
    with pytest.raises(LiveDataUnavailable, match=r"profiles\.sqlite"):
        SqliteFreshItems(profiles)


def test_a_writer_that_waits_too_long_is_named_and_readers_do_not_wait(path, monkeypatch):
    monkeypatch.setattr(stores.sqlite_file, "_BUSY_MS", 10)
    with SqliteFreshItems(path) as items, SqliteIdentities(path) as identities, SqliteLiveCounts(path) as counts:
        items.put([told("a", A)], NOW)
        with by_hand(path) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            for write in (
                lambda: items.put([told("b", A)], NOW),
                lambda: items.patch("a", NOW, hidden=True),
                lambda: identities.bury("u", NOW),
                lambda: counts.write(Counts(1, "w", {})),
            ):
                with pytest.raises(StateBusy, match="another process"):
                    write()
            assert [item.item_id for item in items.changes().items] == ["a"]
        items.patch("a", NOW, hidden=True)  # and it goes on


def test_a_full_disk_is_named_and_leaves_what_was_there(path):
    with SqliteFreshItems(path) as items:
        items.put([told("a", A)], NOW)
        with items._file.writing() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        items._file._writer.execute(f"PRAGMA max_page_count = {pages}")
        many = [told(f"i{number}", {"title": "x" * 1_000}) for number in range(100)]
        with pytest.raises(StorageFull, match=r"live\.sqlite"):
            items.put([*many, told("a", {"title": "changed"})], NOW)
        assert list(items.all()) == items.changes().items == [told("a", A).item]
        items.patch("a", NOW, hidden=True)


@pytest.mark.parametrize("damaged", [b"", b"\x01\xc1", b"\x01\xa1\xb4", bytes((CURRENT_FORMAT + 1,)) + b"\x80", b"\0"])
def test_a_damaged_or_newer_record_is_named(path, damaged):
    with SqliteFreshItems(path) as items, SqliteLiveCounts(path) as counts:
        items.put([told("a", A), told("b", A)], NOW)
        counts.write(Counts(1, "w", {"a": 1.0}))
        with by_hand(path) as connection:
            connection.execute("UPDATE items SET record = ? WHERE item_id = 'a'", (damaged,))
            connection.execute("UPDATE counts SET weights = ?", (damaged,))
        for call in (
            lambda: items.get(["a"]),
            items.changes,
            lambda: list(items.all()),
            lambda: items.patch("a", NOW, hidden=True),
            lambda: items.settle(["b"], [], NOW),
            lambda: counts.since(0),
        ):
            with pytest.raises(LiveDataUnavailable, match=r"live\.sqlite"):
                call()
        assert items.get(["b"]) == {"b": told("b", A).item}
        items.remove(["a"])
        counts.write(Counts(1, "w", {"a": 2.0}))
        assert [item.item_id for item in items.changes().items] == ["b"]
        assert counts.since(0) == [Counts(1, "w", {"a": 2.0})]


def test_features_that_are_no_plain_data_leave_the_store_as_it_was(path):
    with SqliteFreshItems(path) as items:
        put = told("a", A)
        wrong = type(put)(type(put.item)(item_id="b", features={"f": object()}))
        with pytest.raises(TypeError):
            items.put([put, wrong], NOW)
        assert list(items.all()) == []
        items.put([put], NOW)
