"""Every list of who left and which session was whose: the latest departure and the first sign-in count."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import IdInvalid
from contracts.live import Merge, Tombstone, session_user, user_digest
from stores.dynamodb_identities import DynamoDBIdentities
from stores.identities import Identities, SqliteIdentities
from tests.stores.live_worlds import ENGINES, NOW, SAFE_ENGINES, live_store


@pytest.fixture(params=ENGINES)
def identities(request: pytest.FixtureRequest, tmp_path) -> Iterator[Identities]:
    """A store of each class and engine."""
    with live_store(request, SqliteIdentities, DynamoDBIdentities, tmp_path) as store:
        yield store


def test_nobody_left_yet(identities):
    assert list(identities.tombstones()) == []
    assert list(identities.merges()) == []
    assert identities.tombstone("u") is None
    identities.forget_merge("anonymous:s")


def test_a_user_who_left_is_named_by_a_digest_only(identities):
    assert identities.bury("secret-ü", NOW) == Tombstone(user_digest("secret-ü"), NOW)
    assert identities.tombstone("secret-ü") == Tombstone(user_digest("secret-ü"), NOW)
    assert identities.tombstone("other") is None
    assert "secret" not in repr(list(identities.tombstones()))


def test_the_latest_departure_counts(identities):
    identities.bury("u", NOW)
    assert identities.bury("u", NOW + 5).deleted_at == NOW + 5
    assert identities.bury("u", NOW + 2).deleted_at == NOW + 5  # a late answer to an earlier one
    assert list(identities.tombstones()) == [Tombstone(user_digest("u"), NOW + 5)]


def test_the_first_to_name_a_session_wins(identities):
    first = Merge(session_user("s"), "u", NOW)
    assert identities.merge(session_user("s"), "u", NOW) == first
    assert identities.merge(session_user("s"), "v", NOW + 1) == first
    assert identities.merge(session_user("s"), "u", NOW + 2) == first
    other = identities.merge(session_user("t"), "v", NOW)
    assert sorted(identities.merges(), key=lambda merge: merge.session) == [first, other]


def test_a_session_whose_merge_is_forgotten_names_nobody(identities):
    identities.merge(session_user("s"), "u", NOW)
    kept = identities.merge(session_user("t"), "u", NOW)
    identities.forget_merge(session_user("s"))
    assert list(identities.merges()) == [kept]
    assert list(identities.tombstones()) == []


@pytest.mark.parametrize("unstorable", ["", "x" * 129, "\ud800"])
def test_an_id_that_no_store_holds_is_refused(identities, unstorable):
    for call in (
        lambda: identities.bury(unstorable, NOW),
        lambda: identities.merge(unstorable, "u", NOW),
        lambda: identities.merge(session_user("s"), unstorable, NOW),
        lambda: identities.forget_merge(unstorable),
    ):
        with pytest.raises(IdInvalid):
            call()
    assert identities.tombstone(unstorable) is None
    assert list(identities.tombstones()) == list(identities.merges()) == []


@pytest.mark.parametrize("identities", ["sqlite"], indirect=True)
def test_lists_longer_than_a_page_come_whole(identities, monkeypatch):
    monkeypatch.setattr("stores.identities._PAGE_ROWS", 3)
    for number in range(10):
        identities.bury(f"u{number}", NOW)
        identities.merge(session_user(f"s{number}"), f"u{number}", NOW)
    assert {one.digest for one in identities.tombstones()} == {user_digest(f"u{number}") for number in range(10)}
    assert {one.user_id for one in identities.merges()} == {f"u{number}" for number in range(10)}


@pytest.mark.parametrize("identities", SAFE_ENGINES, indirect=True)
def test_of_several_users_at_once_one_gets_the_session(identities):
    won: list[str] = []

    def sign_in(user: str) -> None:
        won.append(identities.merge(session_user("s"), user, NOW).user_id)

    threads = [threading.Thread(target=sign_in, args=(f"u{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 6
    assert set(won) == {next(iter(identities.merges())).user_id}


_user = st.sampled_from(["u", "v"])


@given(st.lists(st.tuples(st.sampled_from(["bury", "merge", "forget"]), _user, st.integers(1, 9)), max_size=8))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("identities", ["sqlite", "moto_endpoint"], indirect=True)
def test_any_sequence_equals_a_dictionary(identities, calls):
    buried, merged = {one.digest: one.deleted_at for one in identities.tombstones()}, {}
    for call, user, now in calls:
        if call == "bury":
            buried[user_digest(user)] = max(now, buried.get(user_digest(user), 0))
            assert identities.bury(user, now).deleted_at == buried[user_digest(user)]
        elif call == "merge":
            merged.setdefault("s", (user, now))
            assert identities.merge("s", user, now) == Merge("s", *merged["s"])
        else:
            merged.clear()
            identities.forget_merge("s")
    assert {one.digest: one.deleted_at for one in identities.tombstones()} == buried
    assert [(one.user_id, one.merged_at) for one in identities.merges()] == list(merged.values())
    identities.forget_merge("s")
