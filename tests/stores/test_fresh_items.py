"""Every store of live items: what was told is kept, what serving must know comes, what every release knows goes.

One suite over SQLite, DynamoDB as moto knows it, and Amazon's own local engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from contracts.deadline import Deadline
from contracts.errors import IdInvalid
from contracts.live import EVENTS_COUNTED, LiveItem, features_digest
from stores.dynamodb_fresh_items import DynamoDBFreshItems
from stores.fresh_items import FreshItems, Put, SqliteFreshItems
from tests.stores.live_worlds import ENGINES, NOW, SAFE_ENGINES, encoding_of, live_store, told

A, B = {"title": "Ä film", "genres": ["x", "y"], "year": 1999, "price": 9.5, "new": True, "gone": None}, {"title": "b"}


@pytest.fixture(params=ENGINES)
def items(request: pytest.FixtureRequest, tmp_path) -> Iterator[FreshItems]:
    """A store of each class and engine."""
    with live_store(request, SqliteFreshItems, DynamoDBFreshItems, tmp_path) as store:
        yield store


several_writers = pytest.mark.parametrize("items", SAFE_ENGINES, indirect=True)


def ids_of(items):
    return {item.item_id for item in items}


def changed_since(items, cursor):
    return ids_of(items.changes(cursor).items)


def test_nothing_is_known_of_what_nobody_told(items):
    assert items.get(["a"]) == {}
    assert items.get([]) == {}
    assert items.changes().items == []
    assert list(items.all()) == []
    assert items.settle(["a"], ["r"], NOW) == 0
    assert items.encode("r", {"a": encoding_of(A)}, NOW) == 0
    items.count({"a": 1}, NOW)
    items.remove(["a"])
    items.put([], NOW)
    assert items.get(["a"]) == {}


def test_what_is_told_comes_back_whole(items):
    items.put([told("a", A, "r1"), told("ü", B, created_at=0)], NOW + 5)
    a = LiveItem(item_id="a", features=A, digest=features_digest(A), created_at=NOW, encodings={"r1": encoding_of(A)})
    b = LiveItem(item_id="ü", features=B, digest=features_digest(B), created_at=NOW + 5)
    assert items.get(["a", "ü", "other", "a"]) == {"a": a, "ü": b}
    assert sorted(items.changes().items, key=lambda item: item.item_id) == [a, b]
    assert sorted(items.all(), key=lambda item: item.item_id) == [a, b]
    features = items.get(["a"])["a"].features
    assert [type(value) for value in features.values()] == [str, list, int, float, bool, type(None)]


def test_told_again_it_keeps_its_age_its_state_and_its_events(items):
    items.put([told("a", A, "r1")], NOW)
    items.patch("a", NOW, available=False, hidden=True)
    items.count({"a": 3}, NOW)
    items.put([told("a", B, "r2", created_at=NOW + 9)], NOW + 9)
    assert items.get(["a"])["a"] == LiveItem(
        item_id="a",
        features=B,
        digest=features_digest(B),
        created_at=NOW,
        available=False,
        hidden=True,
        events=3,
        encodings={"r2": encoding_of(B)},
    )


def test_only_encodings_of_the_same_features_stay(items):
    items.put([told("a", A, "r1")], NOW)
    items.put([told("a", A, "r2")], NOW)
    assert set(items.get(["a"])["a"].encodings) == {"r1", "r2"}
    items.put([told("a", A)], NOW)
    items.put([told("a", A, "r2", byte=5)], NOW)
    assert items.get(["a"])["a"].encodings == {"r1": encoding_of(A), "r2": encoding_of(A, 5)}
    items.put([told("a", B)], NOW)
    assert items.get(["a"])["a"].encodings == {}
    wrong = Put(told("a", B).item, "r1", encoding_of(A))
    items.put([wrong], NOW)
    assert items.get(["a"])["a"].encodings == {}


def test_of_two_puts_of_one_item_the_later_counts(items):
    items.put([told("a", A, "r1"), told("b", B), told("a", B, "r1")], NOW)
    assert items.get(["a"])["a"].features == B
    assert items.get(["a"])["a"].encodings == {"r1": encoding_of(B)}


def test_only_what_a_put_tells_is_taken_from_it(items):
    put = told("a", A)
    more = replace(put.item, hidden=True, available=False, events=7, encodings={"r9": encoding_of(A)})
    items.put([Put(more)], NOW)
    assert items.get(["a"])["a"] == put.item


def test_state_is_told_of_any_item_and_taken_back(items):
    assert items.patch("never told", NOW, hidden=True) == LiveItem(item_id="never told", hidden=True)
    assert items.patch("never told", NOW, available=False).has_state
    assert items.patch("never told", NOW, available=True) == LiveItem(item_id="never told", hidden=True, available=True)
    assert items.patch("never told", NOW, available=None, hidden=False) == LiveItem(item_id="never told")
    assert items.changes().items == [LiveItem(item_id="never told")]  # serving must hear that it is back
    items.put([told("a", A, "r1")], NOW)
    assert items.patch("a", NOW, available=False) == replace(
        told("a", A).item, available=False, encodings={"r1": encoding_of(A)}
    )
    items.put([told("never told", B)], NOW)
    assert items.get(["never told"])["never told"].created_at == NOW


def test_an_encoding_of_other_features_is_left_out(items):
    items.put([told("a", A), told("b", B, "r1")], NOW)
    items.patch("state only", NOW, hidden=True)
    offered = {"a": encoding_of(A), "b": encoding_of(A), "state only": encoding_of(A), "nobody": encoding_of(A)}
    assert items.encode("r2", offered, NOW) == 1
    assert items.get(["a"])["a"].encodings == {"r2": encoding_of(A)}
    assert items.get(["b"])["b"].encodings == {"r1": encoding_of(B)}
    assert items.get(["nobody", "state only"]) == {"state only": LiveItem(item_id="state only", hidden=True)}
    assert items.encode("r2", {}, NOW) == 0


def test_events_are_counted_up_to_a_limit_and_for_told_items_only(items):
    items.put([told("a", A), told("b", B)], NOW)
    items.patch("state only", NOW, hidden=True)
    items.count({"a": 2, "b": EVENTS_COUNTED + 9, "state only": 1, "nobody": 4}, NOW)
    items.count({"a": 1}, NOW)
    items.count({}, NOW)
    assert {item_id: item.events for item_id, item in items.get(["a", "b", "state only"]).items()} == {
        "a": 3,
        "b": EVENTS_COUNTED,
        "state only": 0,
    }
    cursor = items.changes().cursor
    items.count({"b": 1, "state only": 1}, NOW)
    assert items.changes(cursor).items == []  # nothing that serving does not know
    items.count({"a": 1}, NOW)
    assert changed_since(items, cursor) == {"a"}
    assert items.get(["nobody"]) == {}


def test_changes_come_once_each_and_as_they_are_then(items):
    items.put([told("a", A), told("b", B)], NOW)
    first = items.changes("", Deadline(60_000))
    assert ids_of(first.items) == {"a", "b"}
    assert items.changes(first.cursor).items == []
    items.patch("a", NOW, hidden=True)
    items.put([told("a", B, "r1")], NOW)
    second = items.changes(first.cursor)
    assert second.items == [items.get(["a"])["a"]]
    assert items.changes(second.cursor).items == []
    assert items.encode("r2", {"a": encoding_of(B), "b": encoding_of(B)}, NOW) == 2
    assert changed_since(items, second.cursor) == {"a", "b"}
    assert changed_since(items, items.changes(second.cursor).cursor) == set()
    assert changed_since(items, first.cursor) == {"a", "b"}  # an old cursor stays good


def test_what_all_releases_know_is_settled_and_stays_in_the_catalogue(items):
    items.put([told("known", A, "old"), told("stock", A, "old"), told("waits", B, "old")], NOW)
    items.encode("next", {"waits": encoding_of(B)}, NOW)
    items.patch("stock", NOW, available=False)
    cursor = items.changes().cursor
    assert items.settle(["known", "stock", "nobody"], ["next"], NOW) == 1
    assert ids_of(items.changes().items) == {"stock", "waits"}
    assert items.changes(cursor).items == []
    found = {item.item_id: item for item in items.all()}
    assert found["known"] == told("known", A).item
    assert found["stock"] == replace(told("stock", A).item, available=False)
    assert found["waits"].encodings == {"next": encoding_of(B)}
    assert items.settle(["known", "stock", "nobody"], ["next"], NOW) == 0
    items.count({"known": 1}, NOW)
    assert items.get(["known"])["known"].events == 0
    assert items.changes(cursor).items == []


def test_a_settled_item_comes_back_when_something_of_it_is_told(items):
    names = ["put", "put again", "patch", "encode"]
    items.put([told(name, A, "r1") for name in names], NOW)
    assert items.settle(names, ["r2"], NOW) == 4
    cursor = items.changes().cursor
    items.put([told("put", B)], NOW + 50)
    items.put([told("put again", A, "r2")], NOW + 50)
    items.patch("patch", NOW, hidden=True)
    assert items.encode("r3", {"encode": encoding_of(A)}, NOW) == 1
    assert changed_since(items, cursor) == set(names)
    found = items.get(names)
    assert found["put"].created_at == NOW
    assert found["put again"].encodings == {"r2": encoding_of(A)}
    assert found["encode"].encodings == {"r3": encoding_of(A)}
    items.patch("patch", NOW, hidden=False)
    assert items.settle(["patch"], ["r2", "r3"], NOW) == 1  # nothing holds any more


def test_the_newest_settled_and_another_told_is_not_skipped(items):
    items.put([told("a", A)], NOW)
    cursor = items.changes().cursor
    items.settle(["a"], [], NOW)
    items.put([told("b", B)], NOW)
    assert changed_since(items, cursor) == {"b"}


def test_removed_it_was_never_told(items):
    items.put([told("a", A, "r1"), told("b", B)], NOW)
    items.patch("a", NOW, hidden=True)
    items.remove(["a", "nobody"])
    assert ids_of(items.all()) == ids_of(items.changes().items) == {"b"}
    items.put([told("a", A, created_at=NOW + 9)], NOW + 9)
    assert items.get(["a"])["a"] == told("a", A, created_at=NOW + 9).item


@pytest.mark.parametrize("unstorable", ["", "x" * 129, "ü" * 65, "\ud800"])
def test_an_id_that_no_store_holds_is_refused_and_is_never_found(items, unstorable):
    with pytest.raises(IdInvalid):
        items.put([told("a", A), told(unstorable, A)], NOW)
    with pytest.raises(IdInvalid):
        items.patch(unstorable, NOW, hidden=True)
    assert items.get([unstorable, "a"]) == {}
    assert items.encode("r", {unstorable: encoding_of(A)}, NOW) == 0
    items.count({unstorable: 1}, NOW)
    items.remove([unstorable])
    assert list(items.all()) == []


@pytest.mark.parametrize("strange", ["\0", "a\0b", "#", "é" * 64, " "])
def test_strange_ids_and_release_names_survive(items, strange):
    items.put([told(strange, A, strange)], NOW)
    assert items.encode(f"{strange}.2", {strange: encoding_of(A)}, NOW) == 1
    assert list(items.get([strange])[strange].encodings) == [strange, f"{strange}.2"]
    assert items.settle([], [strange], NOW) == 0
    assert list(items.get([strange])[strange].encodings) == [strange]


@several_writers
def test_more_than_a_page_comes_whole(items, monkeypatch):
    monkeypatch.setattr("stores.fresh_items.CHUNK_ITEMS", 50)
    monkeypatch.setattr("stores.fresh_items._READ_IDS", 50)
    text = {"title": "x" * 12_000}  # 1.3 MB in all: more than one answer of DynamoDB holds
    names = {f"i{number:03d}" for number in range(110)}
    items.put([told(name, text, "r1" if name[-1] in "07" else "") for name in names], NOW)
    assert ids_of(items.changes().items) == ids_of(items.all()) == set(items.get(names)) == names
    known = {name for name in names if name[-1] in "89"}  # on every page
    assert items.settle(known, [], NOW) == 22
    assert ids_of(items.changes().items) == names - known
    assert all(item.encodings == {} for item in items.all())


@several_writers
def test_beside_writers_no_change_is_skipped(items):
    failed: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            for number in range(8):
                items.put([told(f"{writer}-{number}", A), told("shared", {"by": f"{writer}-{number}"})], NOW)
                items.count({f"{writer}-{number}": 1}, NOW)
                items.patch(f"{writer}-{number}", NOW, hidden=True)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    view, cursor = {}, ""
    writing = True
    while writing:
        writing = any(thread.is_alive() for thread in threads)  # the last look comes after the last write
        found = items.changes(cursor)
        view |= {item.item_id: item for item in found.items}
        cursor = found.cursor
    assert failed == []
    assert len(view) == 4 * 8 + 1
    assert view == {item.item_id: item for item in items.all()}
    assert all(item.hidden and item.events == 1 for name, item in view.items() if name != "shared")


@several_writers
def test_what_is_told_while_others_settle_is_not_lost(items):
    names = [f"i{number}" for number in range(20)]
    items.put([told(name, A, "r1") for name in names], NOW)
    done = threading.Event()

    def settle() -> None:
        while not done.is_set():
            items.settle(names, ["r2"], NOW)

    settler = threading.Thread(target=settle)
    settler.start()
    try:
        for name in names:
            items.patch(name, NOW, hidden=True)
            assert changed_since(items, "") >= {name}
    finally:
        done.set()
        settler.join()
    assert {item.item_id for item in items.changes().items if item.hidden} == set(names)
