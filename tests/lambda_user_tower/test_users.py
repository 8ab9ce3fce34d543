"""Users live: features, leaving, and sessions that are somebody's, whatever is cut off on the way and sent again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import (
    IdInvalid,
    LiveDataUnavailable,
    ProfilesUnavailable,
    ProfileTooLarge,
    RequestInvalid,
    SessionMerged,
)
from contracts.event import Event, EventRequest
from contracts.fitted import Catalogue
from contracts.ids import IdTable
from contracts.live import session_user, user_digest
from contracts.profile import HistoryEvent, Profile
from contracts.schema import DatasetSchema, FeatureKind
from lambda_user_tower.intake import EventStatus, Intake, take_in
from lambda_user_tower.laps import Laps
from lambda_user_tower.users import MergeAnswer, UserAnswer, UserStatus, leave, merge, put_features
from lambda_user_tower.users_parse import MAX_SESSION_BYTES, parse_merge, parse_user_features, parse_user_id
from stores.identities import SqliteIdentities
from stores.profiles import Addition, Profiles, SqliteProfiles
from tests.lambda_user_tower.conftest import http
from tests.stores.profile_worlds import profiles_at

NOW = 1_700_000_000
SESSION = "anonymous:s"
SCHEMA = DatasetSchema(users={"age": FeatureKind.NUMERIC, "gender": FeatureKind.CATEGORICAL})


@pytest.fixture
def profiles(tmp_path: Path) -> Iterator[SqliteProfiles]:
    with SqliteProfiles(tmp_path / "profiles.sqlite") as store:
        yield store


@pytest.fixture
def identities(tmp_path: Path) -> Iterator[SqliteIdentities]:
    with SqliteIdentities(tmp_path / "live.sqlite") as store:
        yield store


class Cut(Exception):
    """The process ended."""


class Cutting:
    """A store in front of the real one: the process ends before or after one of its calls."""

    def __init__(self, store: Any, calls: Iterator[int], at: int) -> None:
        self._store, self._calls, self._at = store, calls, at

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*values: Any, **more: Any) -> Any:
            if next(self._calls) == self._at:
                raise Cut
            result = method(*values, **more)
            if next(self._calls) == self._at:
                raise Cut
            return result

        return call


def cut_at(step: int, profiles: Profiles, identities: SqliteIdentities) -> tuple[Any, Any]:
    calls = count()
    return Cutting(profiles, calls, step), Cutting(identities, calls, step)


STEPS_OF_MERGE = 10
"""Before and after each of claim, merge, read, append_all and hand_over."""


def items_of(events: Sequence[HistoryEvent]) -> list[str]:
    return [event.item_id for event in events]


def visit(profiles: SqliteProfiles, *items: str, session: str = SESSION, first: int = NOW) -> None:
    """Events of a session, a second after the other."""
    events = [HistoryEvent(item, first + place) for place, item in enumerate(items)]
    ids, visits = [f"{event.item_id}-{event.timestamp}" for event in events], [session.partition(":")[2]] * len(items)
    profiles.append_all([Addition(session, events, ids, visits)], first)


def test_features_are_held_against_the_schema_and_stored(profiles: SqliteProfiles) -> None:
    told = {"age": 30, "gender": None, "shoes": "red"}
    assert put_features("u", told, profiles, SCHEMA, NOW) == UserAnswer(UserStatus.STORED)
    assert profiles.get("u").features == {"age": 30, "shoes": "red"}
    put_features("u", {"gender": "f"}, profiles, SCHEMA, NOW)
    assert profiles.get("u").features == {"gender": "f"}
    with pytest.raises(RequestInvalid) as caught:
        put_features("u", {"age": "thirty"}, profiles, SCHEMA, NOW)
    assert caught.value.field == "features.age"
    with pytest.raises(ProfileTooLarge):
        put_features("u", {"gender": ["x" * 256] * 40}, profiles, DatasetSchema(), NOW)
    assert profiles.get("u").features == {"gender": "f"}


def test_features_that_were_under_way_when_the_user_left_are_not_stored(
    profiles: SqliteProfiles, identities: SqliteIdentities
) -> None:
    leave("u", profiles, identities, NOW)
    put_features("u", {"age": 30}, profiles, SCHEMA, NOW)
    assert profiles.get("u").features == {}
    put_features("u", {"age": 30}, profiles, SCHEMA, NOW + 1)
    assert profiles.get("u").features == {"age": 30}


def test_who_left_is_gone_and_written_down(profiles: SqliteProfiles, identities: SqliteIdentities) -> None:
    visit(profiles, "a", session="u")
    assert leave("u", profiles, identities, NOW) == UserAnswer(UserStatus.DELETED)
    assert profiles.get("u") == Profile(user_id="u", deleted_at=NOW, version=2)
    assert leave("nobody", profiles, identities, NOW) == UserAnswer(UserStatus.NOT_KNOWN)
    assert {one.digest: one.deleted_at for one in identities.tombstones()} == {
        user_digest("u"): NOW,
        user_digest("nobody"): NOW,
    }
    with pytest.raises(IdInvalid):
        leave("x" * 129, profiles, identities, NOW)


@pytest.mark.parametrize("step", range(4))
def test_a_departure_that_was_cut_off_is_completed(
    profiles: SqliteProfiles, identities: SqliteIdentities, step: int
) -> None:
    visit(profiles, "a", session="u")
    with pytest.raises(Cut):
        leave("u", *cut_at(step, profiles, identities), NOW)
    nothing_left = profiles.get("u").n_events == 0
    assert not nothing_left or identities.tombstone("u") is not None  # never the other way round
    leave("u", profiles, identities, NOW + 5)
    assert profiles.get("u").deleted_at == NOW + 5
    assert profiles.get("u").n_events == 0
    stone = identities.tombstone("u")
    assert stone is not None
    assert stone.deleted_at == NOW + 5


def test_a_message_that_was_long_under_way_does_not_put_a_departure_back(
    profiles: SqliteProfiles, identities: SqliteIdentities
) -> None:
    leave("u", profiles, identities, NOW + 9)
    leave("u", profiles, identities, NOW)
    assert profiles.get("u").deleted_at == NOW + 9


def test_a_session_becomes_its_users(profiles: SqliteProfiles, identities: SqliteIdentities) -> None:
    visit(profiles, "x", session="u", first=NOW - 50)
    visit(profiles, "a", "b", "a")
    assert merge("u", SESSION, profiles, identities, NOW + 9) == MergeAnswer(UserStatus.MERGED, 3)
    u = profiles.get("u")
    assert (items_of(u.history), u.n_events, u.session_id, items_of(u.session)) == (
        ["x", "a", "b", "a"],
        4,
        "s",
        ["a", "b", "a"],  # the visit goes on
    )
    assert u.in_minute == 1  # which came as events; a sign-in is no flood
    assert profiles.get(SESSION) == Profile(user_id=SESSION, merged_into="u", version=3)
    assert [(one.session, one.user_id) for one in identities.merges()] == [(SESSION, "u")]
    assert merge("u", SESSION, profiles, identities, NOW + 10).events == 0
    assert profiles.get("u") == u


def test_a_session_cannot_be_two_users(profiles: SqliteProfiles, identities: SqliteIdentities) -> None:
    visit(profiles, "a")
    merge("u", SESSION, profiles, identities, NOW)
    with pytest.raises(SessionMerged):
        merge("v", SESSION, profiles, identities, NOW)
    assert profiles.get("v").n_events == 0
    with profiles._file.writing() as connection:  # the store of profiles is lost
        connection.execute("DELETE FROM profiles")
    visit(profiles, "b")
    with pytest.raises(SessionMerged) as caught:
        merge("v", SESSION, profiles, identities, NOW)
    assert caught.value.user_id == "u"
    assert profiles.get("v").n_events == 0


def test_without_times_a_session_is_brought_over_once_too(
    profiles: SqliteProfiles, identities: SqliteIdentities
) -> None:
    profiles.append(SESSION, [HistoryEvent("a"), HistoryEvent("b"), HistoryEvent("a")])
    with pytest.raises(Cut):
        merge("u", SESSION, *cut_at(7, profiles, identities), NOW)
    assert profiles.get("u").n_events == 3
    assert merge("u", SESSION, profiles, identities, NOW).events == 0
    assert items_of(profiles.get("u").history) == ["a", "b", "a"]


def test_a_session_of_who_left_brings_nothing_back(profiles: SqliteProfiles, identities: SqliteIdentities) -> None:
    """The request of a sign-in is cut off, its user leaves, and then it is sent again."""
    visit(profiles, "a")
    with pytest.raises(Cut):
        merge("u", SESSION, *cut_at(4, profiles, identities), NOW + 5)
    leave("u", profiles, identities, NOW + 10)
    assert merge("u", SESSION, profiles, identities, NOW + 20).events == 0
    assert profiles.get("u") == Profile(user_id="u", deleted_at=NOW + 10, version=1)
    assert profiles.get(SESSION).history == []


def test_who_leaves_while_a_session_is_brought_over_stays_gone(
    profiles: SqliteProfiles, identities: SqliteIdentities, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit(profiles, "a")
    append_all = profiles.append_all

    def after_a_departure(*values: Any) -> Any:
        leave("u", profiles, identities, NOW + 10)
        return append_all(*values)

    monkeypatch.setattr(profiles, "append_all", after_a_departure)
    assert merge("u", SESSION, profiles, identities, NOW + 5).events == 0
    assert profiles.get("u").history == []


def test_who_comes_back_gets_what_came_since(profiles: SqliteProfiles, identities: SqliteIdentities) -> None:
    leave("u", profiles, identities, NOW + 1)
    visit(profiles, "a", "b", "c", "d")  # the first two from before
    profiles.append("anonymous:timeless", [HistoryEvent("x")])
    assert merge("u", SESSION, profiles, identities, NOW + 9).events == 2
    assert merge("u", "anonymous:timeless", profiles, identities, NOW + 9).events == 0
    assert items_of(profiles.get("u").history) == ["c", "d"]


class Lines:
    """A log that takes everything, and lets something else happen first."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._meanwhile = meanwhile

    def append(self, events: Sequence[Event]) -> list[str]:
        self._meanwhile()
        return [""] * len(events)

    def close(self) -> None:
        """Nothing is open."""


ITEMS = [f"i{number}" for number in range(6)]
CATALOGUE = Catalogue(DatasetSchema(), IdTable.from_strings(ITEMS))
users = map("user-{}".format, count())

tries = st.one_of(st.none(), st.integers(0, STEPS_OF_MERGE - 1))
"""Where a merge is cut off; None: it is not sent."""
Acts = list[tuple[int, int, int | None, bool]]
acts = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), tries, st.booleans()), min_size=1, max_size=12)
"""Item and second of an event, what happens while it is being written, and whether it was sent a second time then."""


@given(acts)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wherever_a_merge_is_cut_off_each_event_counts_once(
    profiles: SqliteProfiles, identities: SqliteIdentities, acts: Acts
) -> None:
    sign_in_and_again(profiles, identities, acts)


@given(acts)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_dynamodb_too(moto_endpoint: str, identities: SqliteIdentities, acts: Acts) -> None:
    with profiles_at(moto_endpoint) as profiles:
        sign_in_and_again(profiles, identities, acts)


def sign_in_and_again(profiles: Profiles, identities: SqliteIdentities, acts: Acts) -> None:
    """Events of a session, some sent twice, and merges that begin while one is being written."""
    user = next(users)
    session = session_user(f"of-{user}")
    told = set()
    for item, second, step, twice in acts:
        event = EventRequest(item_id=ITEMS[item], user_id=session, timestamp=NOW + second)

        def meanwhile(event: EventRequest = event, step: int | None = step, twice: bool = twice) -> None:
            if twice:
                take_in([event], intake_of(profiles, Lines()))
            if step is not None:
                with suppress(Cut):  # where there is nothing to bring, it has fewer steps
                    merge(user, session, *cut_at(step, profiles, identities), NOW + 60)

        answer = take_in([event], intake_of(profiles, Lines(meanwhile)))
        assert answer.results[0].status in (EventStatus.ACCEPTED, EventStatus.DUPLICATE)
        told.add((ITEMS[item], NOW + second))
    merge(user, session, profiles, identities, NOW + 60)
    profile = profiles.get(user)
    assert {(event.item_id, event.timestamp) for event in profile.history} == told
    assert profile.n_events == len(profile.history) == len(told)
    assert profiles.get(session).history == []


def intake_of(profiles: Any, log: Any, **more: Any) -> Intake:
    return Intake(CATALOGUE, log, profiles, NOW + 30, 600, 30, Laps(), **more)


@pytest.mark.parametrize(
    ("error", "where"),
    [(LiveDataUnavailable("gone."), "merge"), (ProfilesUnavailable("gone."), "append_all")],
)
def test_a_store_that_fails_is_named_and_the_next_try_completes_it(
    profiles: SqliteProfiles, identities: SqliteIdentities, monkeypatch: pytest.MonkeyPatch, error: Any, where: str
) -> None:
    visit(profiles, "a")

    def fail(*_: object) -> Any:
        if where == "append_all":
            return [error]
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(identities if where == "merge" else profiles, where, fail)
        with pytest.raises(type(error)):
            merge("u", SESSION, profiles, identities, NOW)
    assert merge("u", SESSION, profiles, identities, NOW).events == 1


def body(text: str) -> dict[str, Any]:
    return http("PUT", "/v1/users/u", body=text)


def test_what_is_told_of_users_is_parsed() -> None:
    assert parse_user_id("ü/1") == "ü/1"
    assert parse_user_features(body('{"features": {"age": 30, "tags": ["x"], "gone": null}}')) == {
        "age": 30,
        "tags": ["x"],
        "gone": None,
    }
    assert parse_merge(body('{"session_id": "s"}')) == SESSION
    longest = "s" * MAX_SESSION_BYTES
    assert len(parse_merge(body(f'{{"session_id": "{longest}"}}'))) == 128


@pytest.mark.parametrize(
    ("parse", "told", "field"),
    [
        (parse_user_id, "anonymous:s", "user_id"),
        (parse_user_id, "", "user_id"),
        (parse_user_id, "ü" * 65, "user_id"),
        (parse_user_id, "\ud800", "user_id"),
        (parse_user_features, body("{}"), "features"),
        (parse_user_features, body('{"features": {"age": {}}}'), "features.age"),
        (parse_user_features, body('{"features": {"age": 1, "age": 2}}'), "age"),
        (parse_user_features, body('{"features": {}, "more": 1}'), "more"),
        (parse_merge, body("{}"), "session_id"),
        (parse_merge, body('{"session_id": ""}'), "session_id"),
        (parse_merge, body('{"session_id": "a", "session_id": "b"}'), "session_id"),
        (parse_merge, body(f'{{"session_id": "{"s" * (MAX_SESSION_BYTES + 1)}"}}'), "session_id"),
        (parse_merge, body('{"session_id": 5}'), "session_id"),
    ],
)
def test_a_mistake_is_named_by_its_field(parse: Callable[[Any], Any], told: Any, field: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse(told)
    assert caught.value.field == field
