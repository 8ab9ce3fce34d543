"""Live items follow the pointer: encoded for what is about to serve, and let go when every release knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import index_loader.fresh_encodings
from contracts.live import LiveItem, features_digest
from contracts.release import Verdict
from index_loader.fresh_encodings import encode_for, encoded_around, settle
from index_loader.publish import publish, rollback
from stores.dynamodb_fresh_items import DynamoDBFreshItems
from stores.fresh_items import FreshItems, Put, SqliteFreshItems
from stores.releases import LocalReleases
from tests.index_loader.night_world import NightWorld
from tests.index_loader.worlds import seal
from tests.toy_world import toy_model

NOW = 1_795_132_800


@pytest.fixture
def home(tmp_path: Path) -> LocalReleases:
    return LocalReleases(tmp_path)


def tell(items: FreshItems, *item_ids: str, category: str = "art") -> None:
    features = {"category": category}
    digest = features_digest(features)
    items.put([Put(LiveItem(item_id=one, features=features, digest=digest, created_at=NOW)) for one in item_ids], NOW)


def encoded(items: FreshItems) -> dict[str, set[str]]:
    """Item → releases that it has an encoding for, of what serving has to know."""
    return {one.item_id: set(one.encodings) for one in items.changes().items}


def test_what_a_release_does_not_know_is_encoded_once(home, items: SqliteFreshItems, monkeypatch) -> None:
    monkeypatch.setattr(index_loader.fresh_encodings, "PORTION", 2)
    model = toy_model()
    tell(items, *(f"f{number}" for number in range(5)), "i000003")
    items.patch("i000004", NOW, hidden=True)
    assert encode_for(model, "r1", items, NOW) == 5
    assert encode_for(model, "r1", items, NOW) == 0
    tell(items, "f0", category="books")
    assert encode_for(model, "r1", items, NOW) == 1
    assert {one for one, releases in encoded(items).items() if releases} == {f"f{number}" for number in range(5)}


def test_killed_between_portions_it_goes_on(items: SqliteFreshItems, monkeypatch) -> None:
    monkeypatch.setattr(index_loader.fresh_encodings, "PORTION", 2)
    tell(items, *(f"f{number}" for number in range(5)))
    keep, calls = items.encode, []

    def dies(*arguments: Any) -> int:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return keep(*arguments)

    monkeypatch.setattr(items, "encode", dies)
    with pytest.raises(KeyboardInterrupt):
        encode_for(toy_model(), "r1", items, NOW)
    assert encode_for(toy_model(), "r1", items, NOW) == 3


def test_an_item_told_while_the_pointer_moves_is_encoded_too(home: LocalReleases, items: SqliteFreshItems) -> None:
    release = seal(home, toy_model())
    tell(items, "f1")
    with encoded_around(home, release, items):
        assert encoded(items) == {"f1": {release}}
        publish(home, release, None, None)
        tell(items, "f2")
    assert encoded(items) == {"f1": {release}, "f2": {release}}


def test_a_release_is_not_opened_for_nothing(home: LocalReleases, items: SqliteFreshItems, monkeypatch) -> None:
    items.patch("i000001", NOW, available=False)
    monkeypatch.setattr(home, "open", lambda *_: pytest.fail("opened"))
    with encoded_around(home, "r", items):
        pass


def test_a_rollback_finds_every_item_encoded_also_one_that_serving_had_forgotten(home, items) -> None:
    small, large = (seal(home, toy_model(n_items=n)) for n in (200, 210))
    publish(home, large, None, publish(home, small, None, None).etag)
    tell(items, "i000205", "new")
    items.settle(["i000205"], [large], NOW)  # by mistake, or from before this release was here
    moved = rollback(home, None, items).publication
    assert moved.release == small
    assert encoded(items) == {"i000205": {small}, "new": {small}}


def test_an_item_is_let_go_when_all_releases_that_can_come_back_know_it(home, items) -> None:
    assert settle(home, items, NOW) == 0  # nothing is published
    small, large = (seal(home, toy_model(n_items=n)) for n in (200, 210))
    tell(items, "i000003", "i000205", "new")
    items.patch("i000004", NOW, hidden=True)
    etag = publish(home, small, None, None).etag
    assert settle(home, items, NOW) == 1
    etag = publish(home, large, None, etag).etag
    encode_for(home.open(small), small, items, NOW)
    encode_for(home.open(large), large, items, NOW)
    assert settle(home, items, NOW) == 0  # a rollback would not know it
    for _ in range(3):
        etag = publish(home, large, None, etag).etag
    assert settle(home, items, NOW) == 1
    assert encoded(items) == {"new": {large}, "i000004": set()}
    assert {one.item_id for one in items.all()} == {"i000003", "i000004", "i000205", "new"}
    tell(items, "i000003", category="books")  # told anew: back, until the next sweep
    assert "i000003" in encoded(items)
    assert settle(home, items, NOW) == 1


def test_a_night_encodes_before_its_release_serves_and_settles_in_the_end(world: NightWorld, moto_endpoint) -> None:
    items = DynamoDBFreshItems(world.settings.live_table)
    tell(items, "i000003", "new")
    world.begin()
    world.leave_snapshot()
    world.call("seal", model=world.leave_model())
    world.leave_gate(Verdict.PASS)
    world.through(["verify"])
    assert encoded(items) == {"i000003": set(), "new": set()}
    world.through(["publish"])
    release = world.releases.serving().publication.release
    assert encoded(items) == {"i000003": set(), "new": {release}}
    tell(items, "late")
    world.through(["publish"])  # killed before it could answer, it is called again
    assert encoded(items)["late"] == {release}
    assert world.call("sweep")["settled"] == 1
    assert set(encoded(items)) == {"late", "new"}
    items.close()


def test_a_night_without_a_table_does_not_publish(world: NightWorld) -> None:
    from contracts.errors import SettingsInvalid

    world.begin()
    world.leave_snapshot()
    world.call("seal", model=world.leave_model())
    world.leave_gate(Verdict.PASS)
    world.through(["verify"])
    world.begin_process(live_table="")
    with pytest.raises(SettingsInvalid, match="TANDEM_LIVE_TABLE"):
        world.call("publish")
    assert world.releases.current() is None
