"""Live items against a plain dictionary: after any sequence of writes the store holds what the dictionary does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.live import EVENTS_COUNTED, LiveItem
from stores.dynamodb_fresh_items import DynamoDBFreshItems
from stores.fresh_items import FreshItems, SqliteFreshItems
from tests.stores.live_worlds import encoding_of, live_store, told

NAMES, RELEASES, FEATURES = ("a", "b", "c"), ("r1", "r2", "r3"), ({"f": 1}, {"f": 2})

_name, _release, _features = st.sampled_from(NAMES), st.sampled_from(RELEASES), st.sampled_from(FEATURES)
_some_names = st.lists(_name, max_size=3, unique=True)
_state = st.sampled_from([True, False, None, msgspec.UNSET])
_writes = st.one_of(
    st.tuples(st.just("put"), _name, _features, st.sampled_from(("", *RELEASES))),
    st.tuples(st.just("patch"), _name, _state, st.sampled_from([True, False, msgspec.UNSET])),
    st.tuples(st.just("encode"), _release, st.dictionaries(_name, _features, max_size=3)),
    st.tuples(st.just("count"), st.dictionaries(_name, st.integers(1, EVENTS_COUNTED), max_size=3)),
    st.tuples(st.just("settle"), _some_names, st.sets(_release)),
    st.tuples(st.just("remove"), _some_names),
)
_numbers = count()


class Model:
    """What the protocol promises, said with dictionaries."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.records, self.feed = prefix, {}, set()

    def put(self, store, now, name, features, release):
        put = told(self.prefix + name, features, release, created_at=now)
        store.put([put], now)
        old = self.records.get(name, LiveItem(item_id=self.prefix + name))
        encodings = dict(old.encodings) if old.features == features else {}
        if release:
            encodings[release] = encoding_of(features)
        told_now = {"features": features, "digest": put.item.digest, "encodings": encodings}
        self.records[name] = replace(old, created_at=old.created_at or now, **told_now)
        self.feed.add(name)

    def patch(self, store, now, name, available, hidden):
        answer = store.patch(self.prefix + name, now, available=available, hidden=hidden)
        record = self.records.get(name, LiveItem(item_id=self.prefix + name))
        states = {"available": available, "hidden": hidden}
        self.records[name] = replace(record, **{key: value for key, value in states.items() if value != msgspec.UNSET})
        self.feed.add(name)
        assert answer == self.records[name]

    def encode(self, store, now, release, offered):
        fits = {n: f for n, f in offered.items() if n in self.records and self.records[n].features == f}
        encodings = {self.prefix + name: encoding_of(features) for name, features in offered.items()}
        assert store.encode(release, encodings, now) == len(fits)
        for name, features in fits.items():
            record = self.records[name]
            self.records[name] = replace(record, encodings={**record.encodings, release: encoding_of(features)})
            self.feed.add(name)

    def count(self, store, now, events):
        store.count({self.prefix + name: number for name, number in events.items()}, now)
        for name in events.keys() & self.feed:
            if self.records[name].features is not None:
                events_then = min(EVENTS_COUNTED, self.records[name].events + events[name])
                self.records[name] = replace(self.records[name], events=events_then)

    def settle(self, store, now, names, releases):
        leave = {
            n for n in names if n in self.feed and not self.records[n].hidden and self.records[n].available is None
        }
        assert store.settle([self.prefix + name for name in names], releases, now) == len(leave)
        self.feed -= leave
        for name, record in self.records.items():
            kept = {r: e for r, e in record.encodings.items() if r in releases and name not in names}
            self.records[name] = replace(record, encodings=kept)

    def remove(self, store, now, names):
        store.remove([self.prefix + name for name in names])
        for name in names:
            self.records.pop(name, None)
            self.feed.discard(name)


@pytest.fixture(params=["sqlite", "moto_endpoint"])
def items(request: pytest.FixtureRequest, tmp_path) -> Iterator[FreshItems]:
    with live_store(request, SqliteFreshItems, DynamoDBFreshItems, tmp_path) as store:
        yield store


@given(writes=st.lists(_writes, min_size=1, max_size=10))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_writes_equals_the_model(items, writes):
    model = Model(f"{next(_numbers)}-")
    keys, cursor, view = [model.prefix + name for name in NAMES], "", {}
    for now, (call, *arguments) in enumerate(writes, 1):
        getattr(model, call)(items, now, *arguments)
        found, cursor = items.changes(cursor)
        view |= {item.item_id: item for item in found}
        records = {record.item_id: record for record in model.records.values()}
        assert items.get(keys) == records
        followed = {key: item for key, item in view.items() if key.removeprefix(model.prefix) in model.feed}
        # which encodings settling dropped is nothing that serving is told
        assert {key: replace(item, encodings={}) for key, item in followed.items()} == {
            model.prefix + name: replace(model.records[name], encodings={}) for name in model.feed
        }
        assert all(followed[key].encodings.items() >= records[key].encodings.items() for key in followed)
    mine = {item.item_id: item for item in items.changes().items if item.item_id.startswith(model.prefix)}
    assert mine == {model.prefix + name: model.records[name] for name in model.feed}
    items.remove(keys)  # the next example begins with an empty store
    assert list(items.all()) == []
