"""Live items beside the publication that serves: followed, laid over, and neither ever loses the other."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from contracts.deadline import Deadline
from contracts.errors import LiveDataUnavailable
from contracts.live import LiveItem, features_digest
from lambda_user_tower.live import FIRST_PATIENCE_SECONDS, OLD_SECONDS, WHOLE_SECONDS, LiveItems
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import Clocks
from lambda_user_tower.serving import Served, Serving
from lambda_user_tower.settings import LambdaSettings
from stores.fresh_items import Changes, Put, SqliteFreshItems
from stores.releases import LocalReleases
from tests.lambda_user_tower.conftest import publish, seal
from tests.toy_world import item_id, toy_model

CHECK = 5.0
ART = {"genre": "art", "title": "Toy art"}
A_SHARE_OF_IN_TIME = 5.0
"""Seconds: a hundred times what a request waits for at most, and less than its share of the time would be."""


def in_time() -> Deadline:
    """A minute from now: one that is made where the file is read may be over when the test is run."""
    return Deadline(60_000)


class Clock:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


class Store(SqliteFreshItems):
    """Real, but may be told to fail, to wait, and counts what is asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fails, self.may_answer, self.cursors = False, threading.Event(), list[str]()
        self.may_answer.set()

    def changes(self, cursor: str = "", deadline: Deadline | None = None) -> Changes:
        self.cursors.append(cursor)
        assert self.may_answer.wait(10)
        if self.fails:
            raise LiveDataUnavailable("the store does not answer.")
        return super().changes(cursor, deadline)

    def tell(self, name: str, features: dict[str, Any], created_at: int = 1_000) -> None:
        """As a client that was answered by a process which knows no release."""
        item = LiveItem(item_id=name, features=features, digest=features_digest(features), created_at=created_at)
        self.put([Put(item)], created_at)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "live.sqlite")) as opened:
        yield opened
        opened.may_answer.set()


class Followed:
    """Live items of a store, on clocks that stand still."""

    def __init__(self, store: Store) -> None:
        self.clock, self.applied = Clock(), list[set[str]]()
        self.live = LiveItems(lambda: store, CHECK, Log(), Clocks(self.clock, self.clock))
        self.live.apply = lambda items: self.applied.append(set(items))

    def later(self, seconds: float = CHECK) -> bool:
        """Whether it is up to date after a while and a look."""
        self.clock.seconds += seconds
        self.live.looks.refresh()
        looking = self.live.looks._under_way
        return (looking is None or looking.wait(10)) and not self.live.looks.is_old


@pytest.fixture
def followed(store: Store) -> Followed:
    return Followed(store)


def test_what_is_told_is_known_after_a_look_and_applied_once(followed: Followed, store: Store) -> None:
    assert followed.live.age_seconds is None
    assert followed.later()
    assert (followed.live.items, followed.applied) == ({}, [])
    store.tell("x", ART)
    assert followed.later(CHECK - 1)
    assert "x" not in followed.live.items  # too early to look
    assert followed.later(1)
    known = followed.live.items
    assert known["x"].features == ART
    assert followed.later()
    assert followed.live.items is known  # nothing new: nothing is laid over again
    store.patch("x", 1_000, hidden=True)
    assert followed.later()
    assert (known["x"].hidden, followed.live.items["x"].hidden) == (False, True)
    assert followed.applied == [{"x"}, {"x"}]


def test_a_store_that_fails_leaves_what_was_known_and_is_logged_at_each_try(
    followed: Followed, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.tell("x", ART)
    assert followed.later()
    store.fails = True
    assert followed.later()  # five seconds are not old
    assert not followed.later(OLD_SECONDS)
    assert "x" in followed.live.items
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["live-data-not-read"] * 2
    store.fails = False
    assert followed.later()
    assert followed.live.age_seconds == 0


def test_what_could_not_be_applied_is_told_again(followed: Followed, store: Store) -> None:
    assert followed.later()
    store.tell("x", ART)
    taken, followed.live.apply = followed.live.apply, refuse
    assert not followed.later(OLD_SECONDS + 1)
    assert followed.live.items == {}
    followed.live.apply = taken
    assert followed.later()
    assert (set(followed.live.items), followed.applied) == ({"x"}, [{"x"}])


def refuse(_: object) -> None:
    raise ValueError("could not convert string to float")


def test_what_the_store_has_forgotten_is_forgotten_within_an_hour(followed: Followed, store: Store) -> None:
    for name in ("settled", "stays"):
        store.tell(name, ART)
    assert followed.later()
    assert store.settle(["settled"], ["r1"], 1_000) == 1
    assert followed.later()
    assert set(followed.live.items) == {"settled", "stays"}
    assert followed.later(WHOLE_SECONDS)
    assert set(followed.live.items) == {"stays"}
    assert store.cursors.count("") == 2  # all others went on from where they were


class Scene:
    """A folder with a publication, live items and a process that serves from both."""

    def __init__(self, home: Path, store: Store, **settings: Any) -> None:
        self.home, self.clock, self.store = home, Clock(), store
        told = LambdaSettings(home=home, pointer_check_seconds=CHECK, **settings)
        self.live = LiveItems(lambda: store, CHECK, Log(), Clocks(self.clock, self.clock))
        self.serving = Serving(LocalReleases(home), self.live, told, Log(), self.clock)

    def publish(self, seed: int = 0, **changes: Any) -> str:
        release = seal(self.home, toy_model(seed=seed))
        publish(self.home, release, **changes)
        return release

    def later(self, seconds: float = CHECK) -> Served:
        """What serves after a while, once every look that began has ended."""
        self.clock.seconds += seconds
        self.serving.pin()
        with self.serving._opening:
            pass
        if (looking := self.live.looks._under_way) is not None:
            assert looking.wait(10)
        return self.serving.pin_fresh(in_time())


@pytest.fixture
def scene(tmp_path: Path, store: Store) -> Scene:
    return Scene(tmp_path, store)


def row_of(served: Served, name: str) -> int:
    return served.model.items.ids.row(name)


def may_be_served(served: Served, name: str) -> bool:
    row = row_of(served, name)
    return row >= 0 and bool(served.model.servable.rows[row])


def test_a_cold_start_has_the_live_items_from_its_first_request_on(scene: Scene) -> None:
    scene.publish()
    scene.store.tell("new", ART)
    scene.store.patch(item_id(0), 1_000, hidden=True)
    served = scene.serving.pin()
    assert may_be_served(served, "new")
    assert not may_be_served(served, item_id(0))
    assert may_be_served(served, item_id(3))
    assert served.degraded == ()


def test_what_is_hidden_is_gone_with_the_next_look_and_comes_back(scene: Scene) -> None:
    scene.publish()
    assert may_be_served(scene.serving.pin(), item_id(3))
    pinned = scene.serving.pin()
    scene.store.patch(item_id(3), 1_000, hidden=True)
    assert not may_be_served(scene.later(), item_id(3))
    assert may_be_served(pinned, item_id(3))  # who pinned it keeps it
    scene.store.patch(item_id(3), 1_000, hidden=False, available=False)
    assert not may_be_served(scene.later(), item_id(3))
    scene.store.patch(item_id(3), 1_000, available=None)
    assert may_be_served(scene.later(), item_id(3))


def test_a_process_that_wakes_up_waits_for_news(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambda_user_tower.looks.PATIENCE_MS", 10_000)  # this machine may be busy
    scene.publish()
    scene.serving.pin()
    scene.store.tell("new", ART)
    scene.clock.seconds += 3_000
    served = scene.serving.pin_fresh(in_time())
    assert (may_be_served(served, "new"), served.degraded) == (True, ())


def test_where_none_comes_it_says_so_and_does_not_wait_for_long(scene: Scene) -> None:
    scene.publish()
    scene.store.tell("old", ART)
    scene.serving.pin()
    scene.store.may_answer.clear()
    scene.clock.seconds += 3_000
    began = time.monotonic()
    served = scene.serving.pin_fresh(in_time())
    assert time.monotonic() - began < A_SHARE_OF_IN_TIME
    assert served.degraded == ("live_data_old",)
    assert may_be_served(served, "old")
    scene.store.may_answer.set()
    assert scene.later().degraded == ()


def test_a_cold_start_without_the_store_serves_the_release_alone(tmp_path: Path, store: Store) -> None:
    store.fails = True
    scene = Scene(tmp_path, store)
    scene.publish()
    began = time.monotonic()
    served = scene.serving.pin_fresh(in_time())
    assert time.monotonic() - began < FIRST_PATIENCE_SECONDS  # it failed at once, so nothing was waited for
    assert served.degraded == ("live_data_old",)
    assert len(served.model.items) == 200


def test_the_next_publication_takes_over_with_the_live_items_over_it(scene: Scene) -> None:
    """Whoever pins sees the fresh item and not the hidden one, before, while and after another release takes over."""
    first = scene.publish(0)
    scene.store.tell("new", ART)
    scene.store.patch(item_id(3), 1_000, hidden=True)
    scene.serving.pin()
    seen: set[str] = set()
    wrong: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            served = scene.serving.pin()
            seen.add(served.publication.release)
            if not may_be_served(served, "new") or may_be_served(served, item_id(3)):
                wrong.append(served.publication.release)

    watching = threading.Thread(target=watch)
    watching.start()
    for seed in (1, 2):
        second = scene.publish(seed)
        until(lambda release=second: scene.later().publication.release == release)
    publish(scene.home, first)  # and a rollback, whose release has no encoding of what came since
    scene.store.tell("newer", ART)
    until(lambda: scene.later().publication.release == first)
    until(lambda: may_be_served(scene.later(), "newer"))
    done.set()
    watching.join()
    assert wrong == []
    assert {first, second} <= seen


def test_no_change_is_lost_between_a_look_and_a_publication_that_is_opened_meanwhile(scene: Scene) -> None:
    scene.publish(0)
    scene.serving.pin()
    opened = scene.serving._open(LocalReleases(scene.home).serving().publication, "tag")  # before the item is told
    scene.store.tell("between", ART)
    assert may_be_served(scene.later(), "between")
    assert may_be_served(scene.serving._completed(opened), "between")


def test_a_note_about_the_publication_keeps_the_live_items(scene: Scene) -> None:
    scene.publish(0)
    scene.store.tell("new", ART)
    scene.serving.pin()
    bad = scene.publish(1)
    (scene.home / "releases" / bad / "golden.json").write_text("[]")
    served = scene.later()
    assert served.degraded == ("publication_not_opened",)
    assert may_be_served(served, "new")


def test_what_the_store_has_no_encoding_of_is_encoded_here_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval.fresh import FreshEncoder

    encoded: list[dict[str, Any]] = []
    encode = FreshEncoder.encode
    monkeypatch.setattr(FreshEncoder, "encode", lambda self, told: encoded.append(told) or encode(self, told))
    scene.publish()
    scene.store.tell("new", ART)
    served = scene.serving.pin()
    assert encoded == [ART]
    scene.store.patch("new", 1_000, available=False)
    scene.later()
    scene.store.patch("new", 1_000, available=True)
    assert may_be_served(scene.later(), "new")
    assert encoded == [ART]  # kept while the release is open
    cars = ART | {"genre": "cars"}
    scene.store.tell("new", cars)
    after = scene.later()
    assert encoded == [ART, cars]
    assert after.model.items.category[row_of(after, "new")] != served.model.items.category[row_of(served, "new")]
    assert scene.store.get(["new"])["new"].encodings == {}  # who answers slates writes nothing


def test_only_as_many_as_there_is_place_for_are_encoded_and_served(tmp_path: Path, store: Store) -> None:
    from retrieval.settings import RetrievalSettings

    scene = Scene(tmp_path, store, retrieval=RetrievalSettings(fresh_items=2))
    scene.publish()
    for name, created_at in (("late", 30), ("first", 10), ("second", 20)):
        store.tell(name, ART, created_at)
    served = scene.serving.pin()
    assert {name for name in ("first", "second", "late") if row_of(served, name) >= 0} == {"first", "second"}
    assert set(served.overlay._made) == {"first", "second"}
    store.remove(["first"])
    scene.clock.seconds += WHOLE_SECONDS
    assert row_of(scene.later(), "late") >= 0  # a place became free


def test_what_is_promoted_covers_fresh_items(tmp_path: Path, store: Store) -> None:
    scene = Scene(tmp_path, store, promoted='{"genre": "art"}', promoted_share=0.5)
    scene.publish()
    store.tell("art", ART)
    store.tell("cars", ART | {"genre": "cars"})
    served = scene.serving.pin()
    assert served.promoted is not None
    assert len(served.promoted) == len(served.model.items) == 202
    assert [bool(served.promoted[row_of(served, name)]) for name in ("art", "cars")] == [True, False]


def test_an_item_that_cannot_be_laid_over_does_not_keep_a_process_from_starting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("an item that no check foresaw")

    monkeypatch.setattr("lambda_user_tower.overlay.with_fresh", broken)
    scene.publish()
    scene.store.tell("new", ART)
    served = scene.serving.pin_fresh(in_time())
    assert len(served.model.items) == 200
    assert "live_data_old" in scene.later(OLD_SECONDS + 1).degraded
    assert "no check foresaw" in capsys.readouterr().err
    monkeypatch.undo()
    assert may_be_served(scene.later(), "new")


def test_a_restored_process_looks_at_once(scene: Scene) -> None:
    scene.publish()
    scene.serving.pin()
    scene.store.tell("new", ART)  # while the snapshot slept, and no clock of it has moved
    scene.serving.look_now(5)
    assert may_be_served(scene.serving.pin(), "new")


def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.005)
