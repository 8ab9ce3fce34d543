"""Events of items that no release holds yet: known once they were told, counted, and never refused for either."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import LiveDataUnavailable, ProfilesUnavailable
from contracts.event import Event, EventRequest
from contracts.fitted import Catalogue
from contracts.ids import IdTable
from contracts.live import BUCKET_SECONDS, EVENTS_COUNTED, LiveItem, features_digest
from contracts.schema import DatasetSchema, EventWeights
from lambda_user_tower import event_items
from lambda_user_tower.counting import LiveCounter
from lambda_user_tower.intake import EventsAnswer, Intake, take_in
from lambda_user_tower.laps import Laps
from stores.fresh_items import FreshItems, Put, SqliteFreshItems
from stores.live_counts import SqliteLiveCounts
from stores.profiles import Profiles, SqliteProfiles

NOW = 1_700_000_400
BUCKET = NOW // BUCKET_SECONDS
SCHEMA = DatasetSchema(event_weights=EventWeights(types={"buy": 3.0, "dislike": -1.0}))
CATALOGUE = Catalogue(SCHEMA, IdTable.from_strings(["known", "other"]))


class Lines(list[Event]):
    """A log in memory."""

    def append(self, events: Sequence[Event]) -> list[str]:  # type: ignore[override]
        self.extend(events)
        return [""] * len(events)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def log() -> Lines:
    return Lines()


@pytest.fixture
def profiles(tmp_path: Path) -> Iterator[SqliteProfiles]:
    with SqliteProfiles(tmp_path / "profiles.sqlite") as store:
        yield store


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[SqliteFreshItems]:
    """A store in which one item was told, and only the stock of another."""
    with closing(SqliteFreshItems(tmp_path / "live.sqlite")) as store:
        features = {"genre": "drama"}
        store.put([Put(LiveItem(item_id="told", features=features, digest=features_digest(features)))], NOW)
        store.patch("only stock", NOW, available=True)
        yield store


@pytest.fixture
def take(log: Lines, profiles: SqliteProfiles) -> Callable[..., EventsAnswer]:
    def taken(*told: EventRequest, profiles: Profiles = profiles, **more: Any) -> EventsAnswer:
        return take_in(told, Intake(CATALOGUE, log, profiles, NOW, 600, 30, Laps(), **more))

    return taken


def event(item: str, **fields: Any) -> EventRequest:
    return EventRequest(item_id=item, user_id="u", **fields)


def statuses(answer: EventsAnswer) -> list[str]:
    return [str(one.status) for one in answer.results]


def test_an_item_that_was_told_is_known(
    take: Callable[..., EventsAnswer], fresh: FreshItems, log: Lines, profiles: SqliteProfiles
) -> None:
    told = [event(item) for item in ("told", "known", "only stock", "never heard of")]
    assert statuses(take(*told, fresh_items=lambda: fresh)) == [*("accepted",) * 2, *("unknown-item",) * 2]
    assert [line.known_item for line in log] == [True, True, False, False]
    assert {one.item_id for one in profiles.get("u").history} == {"told", "known"}


def test_without_a_live_store_only_the_release_counts(take: Callable[..., EventsAnswer]) -> None:
    assert statuses(take(event("told"), event("known"))) == ["unknown-item", "accepted"]


def test_only_what_the_release_lacks_is_asked_for(take: Callable[..., EventsAnswer], fresh: FreshItems) -> None:
    def opens() -> FreshItems:
        raise AssertionError("it was asked")

    assert statuses(take(event("known"), fresh_items=opens)) == ["accepted"]


def test_events_of_told_items_are_counted_once(take: Callable[..., EventsAnswer], fresh: FreshItems) -> None:
    told = [event("told", event_id="e1"), event("told", event_id="e2"), event("known", event_id="e3")]
    for _ in range(2):
        take(*told, fresh_items=lambda: fresh)
    assert {item_id: item.events for item_id, item in fresh.get(["told", "known"]).items()} == {"told": 2}
    take(*(event("told", event_id=f"more{n}") for n in range(30)), fresh_items=lambda: fresh)
    assert fresh.get(["told"])["told"].events == EVENTS_COUNTED


def test_what_the_profile_did_not_take_is_counted_when_it_comes_again(
    take: Callable[..., EventsAnswer], fresh: FreshItems, profiles: SqliteProfiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(profiles, "append_all", lambda *_: [ProfilesUnavailable("gone.")])
        answer = take(event("told", event_id="e"), fresh_items=lambda: fresh)
    assert statuses(answer) == ["profile-not-written"]
    assert fresh.get(["told"])["told"].events == 0
    take(event("told", event_id="e"), fresh_items=lambda: fresh)
    assert fresh.get(["told"])["told"].events == 1


class Broken:
    """A store of fresh items that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _: str) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [LiveDataUnavailable("gone."), OSError("gone")])
def test_a_live_store_that_fails_refuses_no_event(take: Callable[..., EventsAnswer], error: Exception) -> None:
    assert statuses(take(event("told"), event("known"), fresh_items=lambda: Broken(error))) == [
        "unknown-item",
        "accepted",
    ]

    def cannot_open() -> FreshItems:
        raise error

    assert statuses(take(event("told"), event("known"), fresh_items=cannot_open)) == ["unknown-item", "accepted"]


def test_a_count_that_fails_refuses_no_event(take: Callable[..., EventsAnswer], fresh: Any, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise LiveDataUnavailable("gone.")

    monkeypatch.setattr(fresh, "count", fail)
    assert statuses(take(event("told"), fresh_items=lambda: fresh)) == ["accepted"]


def test_a_live_store_that_hangs_holds_events_up_for_a_moment(
    take: Callable[..., EventsAnswer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_items, "PATIENCE_SECONDS", 0.02)
    released = threading.Event()

    def hang() -> FreshItems:
        released.wait(30)
        raise LiveDataUnavailable("gone.")

    assert statuses(take(event("told"), event("known"), fresh_items=hang)) == ["unknown-item", "accepted"]
    released.set()


def test_what_happens_now_is_counted_with_its_weight(
    take: Callable[..., EventsAnswer], fresh: FreshItems, tmp_path: Path
) -> None:
    with closing(SqliteLiveCounts(tmp_path / "live.sqlite")) as counts:
        counter = LiveCounter(lambda: counts, "writer")
        told = [
            event("known", event_type="buy", event_id="e1"),
            event("known", event_id="e2"),
            event("told", event_type="buy", event_id="e3"),
            event("other", timestamp=NOW - BUCKET_SECONDS, event_id="e4"),  # told late
            event("other", event_type="dislike", event_id="e5"),
            event("never heard of", event_id="e6"),
        ]
        for _ in range(2):
            take(*told, counter=counter, fresh_items=lambda: fresh)
        counter.close()
        assert [(one.bucket, one.weights) for one in counts.since(BUCKET)] == [(BUCKET, {"known": 4.0, "told": 3.0})]
