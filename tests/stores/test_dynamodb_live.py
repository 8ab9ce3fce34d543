"""The table of live data: what stands in it, late writes and early settling, refusals, and what is damaged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

import stores.dynamodb_table
import stores.live_table
from contracts.deadline import Deadline
from contracts.errors import LiveDataUnavailable, StateBusy
from contracts.live import Counts, session_user, user_digest
from stores import dynamodb_fresh_items
from stores.dynamodb_fresh_items import OVERLAP_MS, DynamoDBFreshItems
from stores.dynamodb_identities import DynamoDBIdentities
from stores.dynamodb_live_counts import DynamoDBLiveCounts
from stores.live_table import COUNT, ITEM, KINDS, LATE_SECONDS, MERGE, TOMBSTONE
from tests.stores.live_worlds import NOW, encoding_of, new_live_table, told

A, B = {"title": "a"}, {"title": "b"}


@pytest.fixture
def client(dynamodb_at, dynamodb_local_url: str) -> Any:
    return dynamodb_at(dynamodb_local_url)


@pytest.fixture
def moto(dynamodb_at, moto_endpoint: str) -> Any:
    return dynamodb_at(moto_endpoint)


class Clock:
    """Milliseconds that a test sets, for whoever stamps and for whoever looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = NOW * 1_000
        clock = SimpleNamespace(
            time=lambda: self.ms / 1_000,
            time_ns=lambda: self.ms * 1_000_000,
            monotonic=lambda: self.ms / 1_000,
        )
        monkeypatch.setattr(stores.live_table, "time", clock)
        monkeypatch.setattr(dynamodb_fresh_items, "time", clock)


def all_of(client: Any, table: str) -> list[dict[str, Any]]:
    return client.scan(TableName=table, ConsistentRead=True)["Items"]


def kinds_of(item: dict[str, Any]) -> dict[str, str]:
    return {name: next(iter(value)) for name, value in item.items()}


def test_one_table_holds_all_kinds_and_names_no_user_who_left(client):
    table = new_live_table(client)
    items, identities = DynamoDBFreshItems(table, client), DynamoDBIdentities(table, client)
    items.put([told("a", A, "r1")], NOW)
    items.patch("a", NOW, available=False, hidden=True)
    items.count({"a": 1}, NOW)
    identities.bury("secret-user", NOW)
    identities.merge(session_user("s"), "u", NOW)
    DynamoDBLiveCounts(table, client).write(Counts(5, "w", {"a": 1.0}))
    found = {item["kind"]["S"]: item for item in all_of(client, table)}
    assert set(found) == set(KINDS)
    of_an_item = kinds_of(found[ITEM])
    assert {name for name, kind in of_an_item.items() if kind == "N"} == {"changed", "created_at", "events"}
    assert {name for name, kind in of_an_item.items() if kind == "BOOL"} == {"available", "hidden"}
    assert {name: of_an_item[name] for name in ("features", "encodings")} == {"features": "B", "encodings": "M"}
    assert len(of_an_item) == 10
    assert kinds_of(found[TOMBSTONE]) == {"kind": "S", "id": "S", "deleted_at": "N"}
    assert kinds_of(found[MERGE]) == {"kind": "S", "id": "S", "user_id": "S", "merged_at": "N"}
    assert kinds_of(found[COUNT]) == {"kind": "S", "id": "S", "weights": "B", "expires": "N"}
    assert found[TOMBSTONE]["id"]["S"] == user_digest("secret-user")
    assert (found[MERGE]["id"]["S"], found[COUNT]["id"]["S"]) == ("anonymous:s", "0000000005#w")


def test_state_that_is_taken_back_leaves_no_attribute(client):
    table = new_live_table(client)
    items = DynamoDBFreshItems(table, client)
    items.patch("a", NOW, available=True, hidden=True)
    items.patch("a", NOW, available=None, hidden=False)
    assert set(all_of(client, table)[0]) == {"kind", "id", "changed"}
    items.settle(["a"], [], NOW)
    assert set(all_of(client, table)[0]) == {"kind", "id"}


def test_a_write_of_a_slow_clock_is_not_skipped(client, monkeypatch):
    table, clock = new_live_table(client), Clock(monkeypatch)
    items = DynamoDBFreshItems(table, client)
    items.put([told("a", A)], NOW)
    cursor = items.changes().cursor
    clock.ms -= OVERLAP_MS - 1
    items.put([told("slow", A)], NOW)
    clock.ms += OVERLAP_MS + 5_000
    found = items.changes(cursor)
    assert [item.item_id for item in found.items] == ["slow"]
    assert items.changes(found.cursor).items == []


def test_a_clock_that_is_ahead_hides_nobody_elses_writes(client, monkeypatch):
    table, clock = new_live_table(client), Clock(monkeypatch)
    items = DynamoDBFreshItems(table, client)
    clock.ms += 3_600_000
    items.put([told("ahead", A)], NOW)
    clock.ms -= 3_600_000
    cursor = items.changes().cursor
    clock.ms += 5_000
    items.put([told("a", A)], NOW)
    found = items.changes(cursor)
    assert [item.item_id for item in found.items] == ["a"]
    items.patch("ahead", NOW, hidden=True)  # stamped an hour earlier than it was
    assert [item.item_id for item in items.changes(found.cursor).items] == ["ahead"]


def test_a_write_that_comes_long_after_its_stamp_is_stamped_anew(client, monkeypatch):
    table, clock = new_live_table(client), Clock(monkeypatch)
    items, follower = DynamoDBFreshItems(table, client), DynamoDBFreshItems(table, client)
    update, cursors = items._table.update, []

    def late(kind: str, key: str, change: Any) -> Any:
        if not cursors:  # the first call is sent again and again, while a follower looks
            clock.ms += OVERLAP_MS + int(LATE_SECONDS * 1_000)
            cursors.append(follower.changes().cursor)
            clock.ms += 1_000
        return update(kind, key, change)

    monkeypatch.setattr(items._table, "update", late)
    items.put([told("late", A)], NOW)
    assert [item.item_id for item in follower.changes(cursors[0]).items] == ["late"]


def test_a_late_write_of_what_was_removed_meanwhile_makes_nothing(client, monkeypatch):
    table, clock = new_live_table(client), Clock(monkeypatch)
    items, other = DynamoDBFreshItems(table, client), DynamoDBFreshItems(table, client)
    update = items._table.update

    def late(kind: str, key: str, change: Any) -> Any:
        outcome = update(kind, key, change)
        other.remove(["a"])
        clock.ms += int(LATE_SECONDS * 1_000) + 1
        return outcome

    monkeypatch.setattr(items._table, "update", late)
    items.put([told("a", A)], NOW)
    assert all_of(client, table) == []


def test_what_was_seen_comes_again_only_when_it_changed(client, monkeypatch):
    table, clock = new_live_table(client), Clock(monkeypatch)
    items = DynamoDBFreshItems(table, client)
    items.put([told(name, A) for name in "abc"], NOW)
    cursor = items.changes().cursor
    asked: list[int] = []
    for _ in range(8):
        clock.ms += 5_000
        pages = list(
            items._table.pages(ITEM, "#changed > :after", {":after": {"N": str(clock.ms - OVERLAP_MS)}}, feed=True)
        )
        asked.append(sum(map(len, pages)))
        found = items.changes(cursor)
        cursor = found.cursor
        assert found.items == []
    assert asked[0] == 3
    assert asked[-1] == 0  # and once they are old enough, they are not even read
    assert len(cursor) < 30
    assert len(items.changes().cursor) < 30  # a new follower need not remember them either
    items.patch("b", NOW, hidden=True)
    assert [item.item_id for item in items.changes(cursor).items] == ["b"]


@pytest.mark.parametrize("told_meanwhile", ["patch", "put", "count", "encode"])
def test_what_is_told_between_reading_and_settling_stays(client, monkeypatch, told_meanwhile):
    table = new_live_table(client)
    items, other = DynamoDBFreshItems(table, client), DynamoDBFreshItems(table, client)
    items.put([told("a", A, "r1"), told("b", A)], NOW)
    pages = items._table.pages
    calls = {
        "patch": lambda: other.patch("a", NOW, hidden=True),
        "put": lambda: other.put([told("a", B, "r2")], NOW),
        "count": lambda: other.count({"a": 1}, NOW),
        "encode": lambda: other.encode("r2", {"a": encoding_of(A)}, NOW),
    }

    def meanwhile(*arguments: Any, **options: Any) -> Iterator[Any]:
        for page in pages(*arguments, **options):
            calls[told_meanwhile]()
            yield page

    monkeypatch.setattr(items._table, "pages", meanwhile)
    assert items.settle(["a", "b"], ["r2"], NOW) == 1
    (left,) = other.changes().items
    assert left == other.get(["a"])["a"]
    assert left.encodings
    monkeypatch.undo()
    assert items.settle(["a", "b"], ["r2"], NOW) == (told_meanwhile != "patch")


def test_a_record_that_is_removed_while_it_is_settled_stays_away(client, monkeypatch):
    table = new_live_table(client)
    items = DynamoDBFreshItems(table, client)
    items.put([told("a", A, "r1"), told("b", A, "r1")], NOW)
    pages = items._table.pages

    def meanwhile(*arguments: Any, **options: Any) -> Iterator[Any]:
        for page in pages(*arguments, **options):
            items.remove(["a", "b"])
            yield page

    monkeypatch.setattr(items._table, "pages", meanwhile)
    assert items.settle(["a"], [], NOW) == 0
    assert all_of(client, table) == []


def test_a_write_whose_answer_was_lost_changes_nothing_when_it_is_repeated(client, monkeypatch):
    table = new_live_table(client)
    items, identities = DynamoDBFreshItems(table, client), DynamoDBIdentities(table, client)
    for store in (items, identities):
        update = store._table.update

        def twice(kind: str, key: str, change: Any, update: Any = update) -> Any:
            update(kind, key, change)
            return update(kind, key, change)  # as botocore does where the first answer does not come

        monkeypatch.setattr(store._table, "update", twice)
    items.put([told("a", A, "r1")], NOW)
    assert items.get(["a"])["a"].encodings == {"r1": encoding_of(A)}
    assert items.encode("r2", {"a": encoding_of(A)}, NOW) == 1
    assert identities.merge(session_user("s"), "u", NOW).user_id == "u"
    assert identities.bury("u", NOW).deleted_at == NOW


def test_a_put_that_is_always_outrun_gives_up_and_is_named(client, monkeypatch):
    monkeypatch.setattr(dynamodb_fresh_items, "_CONFLICTS", 3)
    table = new_live_table(client)
    items, rival = DynamoDBFreshItems(table, client), DynamoDBFreshItems(table, client)
    update, outruns = items._table.update, []

    def outrun(kind: str, key: str, change: Any) -> Any:
        outruns.append(change.condition)
        rival.put([told(key, A if "<>" in change.condition else B)], NOW)
        return update(kind, key, change)

    monkeypatch.setattr(items._table, "update", outrun)
    with pytest.raises(StateBusy, match=table):
        items.put([told("a", A)], NOW)
    assert len(outruns) == 6
    assert items.get(["a"])["a"].features == B


def test_counting_what_nobody_told_writes_nothing(moto, monkeypatch):
    items = DynamoDBFreshItems(new_live_table(moto), moto)
    items.put([told("a", A)], NOW)

    def refuse(**_: Any) -> Any:
        raise AssertionError("it would cost a write for each event")

    monkeypatch.setattr(moto, "update_item", refuse)
    items.count({f"i{number}": 1 for number in range(150)}, NOW)


REFUSED = ("get_item", "batch_get_item", "query", "update_item", "put_item", "delete_item")


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("ThrottlingException", "capacity"),
        ("AccessDeniedException", "its index"),
        ("ExpiredTokenException", "credentials"),
        ("InternalServerError", "health"),
    ],
)
def test_a_refusal_names_the_table_the_code_and_the_way_out(moto, monkeypatch, code, fix):
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "of secret-user"}}, "GetItem")

    for operation in REFUSED:
        monkeypatch.setattr(moto, operation, refuse)
    stores_of = (DynamoDBFreshItems("the-table", moto), DynamoDBIdentities("the-table", moto))
    (items, identities), counts = stores_of, DynamoDBLiveCounts("the-table", moto)
    for call in (
        lambda: items.put([told("secret-user", A)], NOW),
        lambda: items.put([told("secret-user", A), told("b", A)], NOW),
        lambda: items.patch("secret-user", NOW, hidden=True),
        lambda: items.encode("r", {"secret-user": encoding_of(A)}, NOW),
        lambda: items.count({"secret-user": 1}, NOW),
        lambda: items.get(["secret-user"]),
        lambda: items.changes("", Deadline(60_000)),
        lambda: list(items.all()),
        lambda: items.settle(["secret-user"], [], NOW),
        lambda: items.remove(["secret-user"]),
        lambda: identities.bury("secret-user", NOW),
        lambda: identities.merge(session_user("s"), "secret-user", NOW),
        lambda: identities.tombstone("secret-user"),
        lambda: list(identities.tombstones()),
        lambda: list(identities.merges()),
        lambda: identities.forget_merge(session_user("s")),
        lambda: counts.write(Counts(1, "w", {})),
        lambda: counts.since(0),
    ):
        with pytest.raises(LiveDataUnavailable, match=f"the-table.*{code}") as caught:
            call()
        assert fix in caught.value.fix
        assert "secret-user" not in str(caught.value)


def test_a_table_that_is_not_there_is_named(client):
    with pytest.raises(LiveDataUnavailable, match=r"no-such-table.*ResourceNotFoundException") as caught:
        DynamoDBFreshItems("no-such-table", client).changes()
    assert "storage stack" in caught.value.fix


def test_a_table_that_never_answers_whole_is_named(moto, monkeypatch):
    monkeypatch.setattr(stores.dynamodb_table, "_LONGEST_WAIT_SECONDS", 0.001)

    def nothing(RequestItems: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    monkeypatch.setattr(moto, "batch_get_item", nothing)
    with pytest.raises(LiveDataUnavailable, match=r"the-table.*unread"):
        DynamoDBFreshItems("the-table", moto).get(["a"])


@pytest.mark.parametrize(
    "attributes",
    [
        {"features": {"B": b"\x01\xc1"}},
        {"features": {"B": b"\x63\x80"}},
        {"features": {"S": "a string"}},
        {"encodings": {"M": {"r1": {"B": b"\x01\x80"}}}},
        {"events": {"N": "1.5"}},
    ],
)
def test_a_damaged_or_newer_record_is_named(client, attributes):
    table = new_live_table(client)
    items = DynamoDBFreshItems(table, client)
    items.put([told("a", A), told("b", A)], NOW)
    item = client.get_item(TableName=table, Key={"kind": {"S": ITEM}, "id": {"S": "a"}})["Item"]
    client.put_item(TableName=table, Item=item | attributes)
    for call in (
        lambda: items.get(["a"]),
        items.changes,
        lambda: list(items.all()),
        lambda: items.count({"a": 1}, NOW),
    ):
        with pytest.raises(LiveDataUnavailable, match=table):
            call()
    assert set(items.get(["b"])) == {"b"}
    counts = DynamoDBLiveCounts(table, client)
    counts.write(Counts(1, "w", {"a": 1.0}))
    key = {"kind": {"S": COUNT}, "id": {"S": "0000000001#w"}}
    client.put_item(TableName=table, Item={**key, "weights": {"B": b"\x63"}})
    with pytest.raises(LiveDataUnavailable, match=table):
        counts.since(0)


def test_looking_keeps_to_its_deadline(moto, monkeypatch):
    released = threading.Event()

    def hang(**_: Any) -> Any:
        released.wait(60)
        return {"Items": []}

    monkeypatch.setattr(moto, "query", hang)
    items = DynamoDBFreshItems("the-table", moto)
    with pytest.raises(LiveDataUnavailable, match="no answer in"):
        items.changes("", Deadline(20))
    released.set()
    with pytest.raises(LiveDataUnavailable, match="no time"):
        items.changes("", Deadline(0))


def test_a_client_is_made_when_needed_and_its_connections_anew_after_a_snapshot(
    dynamodb_local_url, client, monkeypatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_local_url)
    made: list[Any] = []
    make = stores.dynamodb_table.dynamodb_client

    def counting() -> Any:
        made.append(make(read_seconds=60))
        return made[-1]

    monkeypatch.setattr(stores.dynamodb_table, "dynamodb_client", counting)
    table = new_live_table(client)
    for store, call in (
        (DynamoDBFreshItems(table), "changes"),
        (DynamoDBIdentities(table), "tombstones"),
        (DynamoDBLiveCounts(table), "since"),
    ):
        made.clear()
        arguments = (0,) if call == "since" else ()
        with closing(store):
            assert made == []
            store.connect()
            pools = made[0]._endpoint.http_session._manager.pools
            assert len(pools) == 0  # nothing was sent
            list(getattr(store, call)(*arguments))
            assert len(pools) == 1
            store.reconnect()
            assert len(pools) == 0
            list(getattr(store, call)(*arguments))
            assert len(made) == 1
