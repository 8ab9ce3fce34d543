"""What serves: opened once, swapped whole, and the last good one where the next cannot be opened."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import NothingPublished, ReleaseCorrupt
from contracts.fitted import FittedModel
from lambda_user_tower.edge import Edge
from lambda_user_tower.following import PUBLICATION_NOT_OPENED, RETRY_SECONDS
from lambda_user_tower.live import LiveItems
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import Clocks
from lambda_user_tower.serving import Served, Serving
from lambda_user_tower.settings import LambdaSettings
from stores.fresh_items import SqliteFreshItems
from stores.releases import LocalReleases
from tests.lambda_user_tower.conftest import body_of, http, post, publish, seal
from tests.toy_world import toy_model

CHECK = 5.0


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Counting(LocalReleases):
    """Counts what is read, and can hold an opening back."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.pointer_reads, self.opened, self.may_open = 0, 0, threading.Event()
        self.may_open.set()

    def current(self) -> Any:
        self.pointer_reads += 1
        return super().current()

    def open(self, release: str, **how: bool) -> FittedModel:
        self.opened += 1
        assert self.may_open.wait(10)
        return super().open(release, **how)


class Scene:
    """A folder, a clock and a process that serves from them."""

    def __init__(self, home: Path) -> None:
        self.home, self.clock, self.releases = home, Clock(), Counting(home)
        settings = LambdaSettings(home=home, pointer_check_seconds=CHECK)
        log, self.store = Log(), SqliteFreshItems(home / "live.sqlite")
        self.live = LiveItems(lambda: self.store, CHECK, log, Clocks(self.clock, self.clock))
        self.serving = Serving(self.releases, self.live, settings, log, self.clock)

    def publish(self, seed: int, **changes: Any) -> str:
        """Train, as it were, and publish; the id of the release."""
        release = seal(self.home, toy_model(seed=seed))
        publish(self.home, release, **changes)
        return release

    def later(self, seconds: float = CHECK) -> Served:
        """What serves after a while, once whatever that opened is open."""
        self.clock.seconds += seconds
        self.serving.pin()
        with self.serving._opening:
            return self.serving.pin()

    def damage(self, release: str) -> None:
        file = self.home / "releases" / release / "items.safetensors"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_nothing_is_opened_before_the_first_request(scene: Scene) -> None:
    assert scene.releases.pointer_reads == 0
    with pytest.raises(NothingPublished):
        scene.serving.pin()
    release = scene.publish(0)
    assert scene.serving.pin().publication.release == release


def test_the_pointer_is_read_at_most_every_so_often(scene: Scene) -> None:
    scene.publish(0)
    served = scene.serving.pin()
    scene.publish(1)
    reads = scene.releases.pointer_reads
    scene.clock.seconds += CHECK - 0.1
    assert all(scene.serving.pin() is served for _ in range(50))
    assert scene.releases.pointer_reads == reads
    assert scene.later(0.2).publication.sequence == 2
    assert scene.releases.pointer_reads == reads + 1


def test_a_new_publication_takes_over_whole_while_requests_go_on(scene: Scene) -> None:
    scene.publish(0)
    before = scene.serving.pin()
    release = scene.publish(1, served_model="als")
    scene.releases.may_open.clear()
    scene.clock.seconds += CHECK
    assert all(scene.serving.pin() is before for _ in range(3))  # while the next one is being opened
    scene.releases.may_open.set()
    after = scene.later(0)
    assert (after.publication.release, after.retrieval.served_model) == (release, "als")
    assert after.model is not before.model
    assert before.publication.sequence == 1  # who pinned it keeps it


def test_a_rollback_is_a_publication_like_any_other(scene: Scene) -> None:
    first = scene.publish(0)
    scene.publish(1)
    assert scene.serving.pin().publication.sequence == 2
    publish(scene.home, first)
    assert scene.later().publication.release == first


def test_one_that_is_damaged_leaves_the_last_good_one(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    good = scene.publish(0)
    scene.serving.pin()
    bad = scene.publish(1)
    scene.damage(bad)
    served = scene.later()
    assert served.publication.release == good
    assert served.degraded == (PUBLICATION_NOT_OPENED,)
    line = next(json.loads(line) for line in capsys.readouterr().err.splitlines() if '"ERROR"' in line)
    assert line["event"] == "publication-not-opened"
    assert "items.safetensors" in line["error"]
    opened = scene.releases.opened
    assert scene.later() is served  # not tried again at every look
    assert scene.releases.opened == opened
    assert scene.later(RETRY_SECONDS).degraded == (PUBLICATION_NOT_OPENED,)
    assert scene.releases.opened == opened + 1
    repaired = scene.publish(2)  # a newer one is tried at once
    served = scene.later()
    assert (served.publication.release, served.degraded) == (repaired, ())


def test_the_note_goes_when_the_pointer_comes_back(scene: Scene) -> None:
    good = scene.publish(0)
    scene.serving.pin()
    scene.damage(scene.publish(1))
    assert scene.later().degraded
    publish(scene.home, good)
    served = scene.later()
    assert (served.publication.release, served.degraded) == (good, ())


def test_the_note_goes_too_when_the_very_same_pointer_is_put_back(scene: Scene) -> None:
    scene.publish(0)
    served = scene.serving.pin()
    pointer = scene.home / "current.json"
    kept = pointer.read_bytes()
    scene.damage(scene.publish(1))
    assert scene.later().degraded
    pointer.write_bytes(kept)
    opened = scene.releases.opened
    assert scene.later() == served
    assert scene.releases.opened == opened  # it is open


def test_a_cold_start_on_a_damaged_release_serves_the_one_before(scene: Scene) -> None:
    good = scene.publish(0)
    scene.damage(scene.publish(1))
    scene.damage(scene.publish(2))
    served = scene.serving.pin()
    assert served.publication.release == good
    assert served.degraded == (PUBLICATION_NOT_OPENED,)


def test_where_nothing_opens_the_reason_is_told_and_not_sought_again_at_once(scene: Scene) -> None:
    scene.damage(scene.publish(0))
    for _ in range(3):
        with pytest.raises(ReleaseCorrupt, match=r"items\.safetensors"):
            scene.serving.pin()
    assert scene.releases.opened == 1
    repaired = scene.publish(1)
    assert scene.serving.pin().publication.release == repaired


def test_a_pointer_that_cannot_be_read_changes_nothing(scene: Scene) -> None:
    scene.publish(0)
    served = scene.serving.pin()
    pointer = scene.home / "current.json"
    kept = pointer.read_bytes()
    pointer.write_bytes(b"{")
    assert scene.later() is served
    pointer.unlink()
    assert scene.later() is served
    pointer.write_bytes(kept)
    assert scene.later() is served


def test_a_publication_of_an_unknown_model_is_not_served(scene: Scene) -> None:
    good = scene.publish(0)
    scene.serving.pin()
    scene.publish(1, served_model="oracle")
    assert scene.later().publication.release == good


def test_many_threads_open_once(scene: Scene) -> None:
    scene.publish(0)
    scene.releases.may_open.clear()
    pinned: list[Served] = []
    threads = [threading.Thread(target=lambda: pinned.append(scene.serving.pin())) for _ in range(8)]
    for thread in threads:
        thread.start()
    scene.releases.may_open.set()
    for thread in threads:
        thread.join()
    assert len({id(served) for served in pinned}) == 1
    assert (len(pinned), scene.releases.opened) == (8, 1)


def test_every_answer_holds_together_across_swaps(tmp_path: Path) -> None:
    """Under swaps, a slate names the release whose items it holds: nobody sees half of one and half of the other."""
    publish(tmp_path, seal(tmp_path, toy_model(n_items=200)))
    edge = Edge(LambdaSettings(home=tmp_path, pointer_check_seconds=0, budget_ms=20_000, log_level="ERROR"))
    sizes = {edge.serving.pin().publication.release: 200}
    answers: list[dict[str, Any]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(body_of(edge(post({"num_items": 100}))))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n_items in (110, 150, 120):
        release = seal(tmp_path, toy_model(n_items=n_items))
        sizes[release] = n_items
        publish(tmp_path, release)
        until(lambda wanted=release: answers and answers[-1]["why"]["release"] == wanted)
    done.set()
    for thread in threads:
        thread.join()
    for answer in answers:
        rows = [int(item["item_id"][1:]) for item in answer["items"]]
        assert len(rows) == 100
        assert max(rows) < sizes[answer["why"]["release"]]


def until(holds: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.005)


def test_health_says_what_serves(tmp_path: Path) -> None:
    publish(tmp_path, seal(tmp_path, toy_model()))
    edge = Edge(LambdaSettings(home=tmp_path, pointer_check_seconds=0))
    health = body_of(edge(http("GET", "/v1/health")))
    assert (health["status"], health["publication"], health["sequence"], health["n_items"]) == ("ok", "p1", 1, 200)
    assert 0 <= health["age_seconds"] < 60
    assert health["versions"] == {"release": "1-3", "schema": "1-1", "feature_encoder": "1-1"}
    bad = seal(tmp_path, toy_model(seed=1))
    (tmp_path / "releases" / bad / "golden.json").write_text("[]")
    publish(tmp_path, bad)
    until(lambda: body_of(edge(http("GET", "/v1/health")))["status"] == "degraded")
    assert body_of(edge(post({})))["why"]["degraded"] == [PUBLICATION_NOT_OPENED]
