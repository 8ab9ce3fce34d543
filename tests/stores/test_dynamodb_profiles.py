"""Profiles in DynamoDB: its limits, its conditions, its refusals, and a table that is too busy to answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from botocore.exceptions import ClientError

import stores.dynamodb_table
from contracts.deadline import Deadline
from contracts.errors import ProfilesUnavailable, StateBusy
from contracts.profile import MAX_PROFILE_BYTES, HistoryEvent
from local_mode.dynamodb_local.server import create_profiles_table
from stores import dynamodb_profiles
from stores.dynamodb_profiles import DELETED_AT, DynamoDBProfiles
from stores.dynamodb_table import EXPIRES
from stores.profiles import Addition
from tests.stores.profile_worlds import client_of

NOW = 1_700_000_000


@pytest.fixture
def client(dynamodb_local_url: str) -> Iterator[Any]:
    with closing(client_of(dynamodb_local_url)) as made:
        yield made


@pytest.fixture
def moto(moto_endpoint: str) -> Iterator[Any]:
    with closing(client_of(moto_endpoint)) as made:
        yield made


def new_table(client: Any) -> str:
    name = f"profiles-{uuid4().hex}"
    create_profiles_table(client, name)
    return name


def test_an_item_is_what_the_table_of_the_stack_holds(client):
    table = new_table(client)
    DynamoDBProfiles(table, client).append("ü", [HistoryEvent("a", 1)], ["e"])
    item = client.get_item(TableName=table, Key={"user_id": {"S": "ü"}})["Item"]
    assert {name: next(iter(value)) for name, value in item.items()} == {
        "user_id": "S",
        "profile": "B",
        "event_ids": "B",
        "version": "N",
        "updated_at": "N",
    }
    assert item["version"] == {"N": "1"}


def attributes_of(client, table, user):
    return client.get_item(TableName=table, Key={"user_id": {"S": user}})["Item"]


def test_a_session_expires_until_it_is_somebodys(client):
    table = new_table(client)
    store = DynamoDBProfiles(table, client)
    before = int(time.time())
    store.append("anonymous:s", [HistoryEvent("a", 1)])
    store.append("u", [HistoryEvent("a", 1)])
    expires = int(attributes_of(client, table, "anonymous:s")[EXPIRES]["N"])
    assert before + 30 * 86_400 <= expires <= time.time() + 30 * 86_400
    assert EXPIRES not in attributes_of(client, table, "u")
    store.claim("anonymous:s", "u")
    assert EXPIRES not in attributes_of(client, table, "anonymous:s")  # later events must still find whose it is
    store.forget("anonymous:s", NOW)
    assert EXPIRES in attributes_of(client, table, "anonymous:s")


def test_an_item_says_that_its_user_left_until_they_are_back(client):
    table = new_table(client)
    store = DynamoDBProfiles(table, client)
    store.append("u", [HistoryEvent("a", 1)], ["e"])
    store.forget("u", NOW)
    item = attributes_of(client, table, "u")
    assert (item[DELETED_AT], item["event_ids"]) == ({"N": str(NOW)}, {"B": b""})
    store.append("u", [HistoryEvent("b", NOW + 1)])
    assert DELETED_AT not in attributes_of(client, table, "u")
    assert store.get("u").deleted_at == NOW


def test_users_are_listed_page_by_page(client, monkeypatch):
    table = new_table(client)
    store = DynamoDBProfiles(table, client)
    users = [f"u{number}" for number in range(7)]
    store.append_all([Addition(user, [HistoryEvent("a", 1)]) for user in users], NOW)
    scan, pages = client.scan, []

    def small(**request: Any) -> Any:
        pages.append(request)
        return scan(**request, Limit=2)

    monkeypatch.setattr(client, "scan", small)
    assert sorted(store.user_ids()) == users
    assert len(pages) == 4
    assert all(request["ConsistentRead"] for request in pages)


def test_the_largest_record_costs_four_units_to_read(client):
    table, user = new_table(client), "u" * 128
    store = DynamoDBProfiles(table, client)
    items = [f"{n:0>5}".ljust(128, "x") for n in range(500)]
    store.append(user, [HistoryEvent(item, NOW + n) for n, item in enumerate(items)], items)
    answer = client.get_item(
        TableName=table, Key={"user_id": {"S": user}}, ConsistentRead=True, ReturnConsumedCapacity="TOTAL"
    )
    item = answer["Item"]
    assert len(item["profile"]["B"]) + len(item["event_ids"]["B"]) > MAX_PROFILE_BYTES - 1_024  # it is full
    assert answer["ConsumedCapacity"]["CapacityUnits"] == 4  # 4 KB each


def test_an_item_over_the_limit_of_the_engine_is_named(client, monkeypatch):
    monkeypatch.setattr("stores.profile_records.MAX_PROFILE_BYTES", 1_000_000)
    monkeypatch.setattr("stores.profile_rules.MAX_FEATURES_BYTES", 1_000_000)
    store = DynamoDBProfiles(new_table(client), client)
    with pytest.raises(ProfilesUnavailable, match="ValidationException"):
        store.put_features("u", {"text": "x" * 410_000})
    store.put_features("u", {"text": "x" * 390_000})


def test_a_writer_that_is_always_outrun_gives_up_and_is_named(client, monkeypatch):
    monkeypatch.setattr(dynamodb_profiles, "CONFLICTS", 3)
    table = new_table(client)
    store, rival = DynamoDBProfiles(table, client), DynamoDBProfiles(table, client)
    put, busy, outruns = store._table.put, [], []

    def outrun(item: Any, version: int) -> Any:
        if not busy:
            busy.append(True)
            outruns.append(rival.append("u", [HistoryEvent("rival", NOW)]))
            busy.clear()
        return put(item, version)

    monkeypatch.setattr(store._table, "put", outrun)
    with pytest.raises(StateBusy, match=table):
        store.append("u", [HistoryEvent("a", NOW)])
    assert outruns == [1, 1, 1]
    assert rival.get("u").n_events == 3


def test_four_writers_of_one_user_lose_nothing(client):
    table = new_table(client)
    counted: list[int] = []

    def write(writer: int) -> None:
        store = DynamoDBProfiles(table, client)
        for number in range(10):
            addition = Addition("u", [HistoryEvent(f"{writer}", number)], [f"{writer}-{number}"])
            counted.extend(store.append_all([addition], NOW))  # type: ignore[arg-type]

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    u = DynamoDBProfiles(table, client).get("u")
    assert counted == [1] * 40
    assert (u.n_events, u.version, u.in_minute) == (40, 40, 40)


def test_a_write_whose_answer_was_lost_counts_as_ours(client, monkeypatch):
    store = DynamoDBProfiles(new_table(client), client)
    put = store._table.put

    def twice(item: Any, version: int) -> Any:
        assert put(item, version) is None
        return put(item, version)  # as botocore does where the first answer does not come

    monkeypatch.setattr(store._table, "put", twice)
    assert store.append("u", [HistoryEvent("a", NOW)], ["e"]) == 1
    assert store.append("u", [HistoryEvent("b", NOW)]) == 1
    assert store.get("u").n_events == 2


def test_an_item_that_is_deleted_meanwhile_is_begun_anew(client):
    table = new_table(client)
    store = DynamoDBProfiles(table, client)
    store.append("u", [HistoryEvent("a", 1)])
    known = store.read(["u"])
    client.delete_item(TableName=table, Key={"user_id": {"S": "u"}})
    assert store.append_all([Addition("u", [HistoryEvent("b", 2)])], NOW, known) == [1]
    assert [event.item_id for event in store.get("u").history] == ["b"]


def test_keys_that_a_busy_table_left_unread_are_asked_for_again(moto, monkeypatch):
    table = new_table(moto)
    store = DynamoDBProfiles(table, moto)
    users = [f"u{n}" for n in range(250)]
    store.append_all([Addition(user, [HistoryEvent("a", 1)]) for user in users[:150]], NOW)
    asked: list[int] = []
    whole = moto.batch_get_item

    def half(RequestItems: Any) -> Any:
        keys = RequestItems[table]["Keys"]
        asked.append(len(keys))
        now, later = keys[: max(1, len(keys) // 2)], keys[max(1, len(keys) // 2) :]
        answer = whole(RequestItems={table: {**RequestItems[table], "Keys": now}})
        return answer | {"UnprocessedKeys": {table: {**RequestItems[table], "Keys": later}} if later else {}}

    monkeypatch.setattr(moto, "batch_get_item", half)
    found = store.read(users)
    assert [stored.profile.n_events for stored in found.values()] == [1] * 150 + [0] * 100
    assert asked[:3] == [100, 50, 25]
    assert max(asked) == 100


def test_a_table_that_never_answers_whole_is_named(moto, monkeypatch):
    monkeypatch.setattr(stores.dynamodb_table, "_LONGEST_WAIT_SECONDS", 0.001)
    table = new_table(moto)

    def nothing(RequestItems: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    monkeypatch.setattr(moto, "batch_get_item", nothing)
    store = DynamoDBProfiles(table, moto)
    with pytest.raises(ProfilesUnavailable, match=table) as caught:
        store.read(["secret-user"])
    assert "capacity" in caught.value.fix
    outcomes = store.append_all([Addition("u", [HistoryEvent("a")])] * 2, NOW)
    assert [type(outcome) for outcome in outcomes] == [ProfilesUnavailable] * 2


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("ProvisionedThroughputExceededException", "capacity"),
        ("ThrottlingException", "capacity"),
        ("AccessDeniedException", "PutItem"),
        ("ExpiredTokenException", "credentials"),
        ("InternalServerError", "health"),
    ],
)
def test_a_refusal_names_the_table_the_code_and_the_way_out(moto, monkeypatch, code, fix):
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "of secret-user"}}, "GetItem")

    for operation in ("get_item", "put_item", "batch_get_item", "scan"):
        monkeypatch.setattr(moto, operation, refuse)
    store = DynamoDBProfiles("the-table", moto)
    for call in (
        lambda: store.get("secret-user", Deadline(60_000)),
        lambda: store.read(["secret-user"]),
        lambda: store.append("secret-user", [HistoryEvent("a")]),
        lambda: store.put_features("secret-user", {}),
        lambda: store.forget("secret-user", NOW),
        lambda: store.claim("anonymous:s", "secret-user"),
        lambda: list(store.user_ids()),
    ):
        with pytest.raises(ProfilesUnavailable, match=f"the-table.*{code}") as caught:
            call()
        assert fix in caught.value.fix
        assert "secret-user" not in str(caught.value)


def test_a_table_that_is_not_there_is_named(client):
    with pytest.raises(ProfilesUnavailable, match=r"no-such-table.*ResourceNotFoundException") as caught:
        DynamoDBProfiles("no-such-table", client).get("u")
    assert "storage stack" in caught.value.fix


@pytest.mark.parametrize(
    "attributes",
    [
        {"profile": {"B": b"\xc1"}},
        {"profile": {"B": msgspec.msgpack.encode({"format": 99})}},
        {"event_ids": {"B": b"cut"}},
        {"profile": {"S": "a string"}},
    ],
)
def test_a_damaged_or_newer_item_names_the_table_and_fails_alone(client, attributes):
    table = new_table(client)
    store = DynamoDBProfiles(table, client)
    store.append("secret-user", [HistoryEvent("a", 1)])
    item = client.get_item(TableName=table, Key={"user_id": {"S": "secret-user"}})["Item"]
    client.put_item(TableName=table, Item=item | attributes)
    with pytest.raises(ProfilesUnavailable, match=table) as caught:
        store.get("secret-user")
    assert "secret-user" not in str(caught.value)
    event = HistoryEvent("a")
    outcomes = store.append_all([Addition("secret-user", [event]), Addition("v", [event])], NOW)
    assert [type(outcome) for outcome in outcomes] == [ProfilesUnavailable, int]


def test_a_get_keeps_to_its_deadline(moto, monkeypatch):
    released = threading.Event()

    def hang(**_: Any) -> Any:
        released.wait(60)
        return {}

    monkeypatch.setattr(moto, "get_item", hang)
    store = DynamoDBProfiles("the-table", moto)
    with pytest.raises(ProfilesUnavailable, match="no answer in"):
        store.get("u", Deadline(20))
    released.set()
    with pytest.raises(ProfilesUnavailable, match="no time"):
        store.get("u", Deadline(0))


def test_a_client_is_made_when_needed_and_its_connections_anew_after_a_snapshot(
    dynamodb_local_url, client, monkeypatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_local_url)
    made: list[Any] = []
    make = stores.dynamodb_table.dynamodb_client

    def counting() -> Any:
        made.append(make(read_seconds=60))
        return made[-1]

    monkeypatch.setattr(stores.dynamodb_table, "dynamodb_client", counting)
    with closing(DynamoDBProfiles(new_table(client))) as store:
        assert made == []
        store.append("u", [HistoryEvent("a", 1)])
        assert store.get("u").n_events == 1
        pools = made[0]._endpoint.http_session._manager.pools
        assert len(pools) == 1
        store.reconnect()
        assert len(pools) == 0
        assert store.get("u").n_events == 1
        assert len(made) == 1


def test_without_a_region_it_says_so(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ProfilesUnavailable, match="NoRegionError") as caught:
        DynamoDBProfiles("the-table").get("u")
    assert "AWS_REGION" in caught.value.fix
