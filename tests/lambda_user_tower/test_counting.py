"""Counting what happens now: exact, once however often it is written, and never at an event's cost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import LiveDataUnavailable
from contracts.live import BUCKET_SECONDS, COUNTED_ITEMS, Counts
from lambda_user_tower import counting
from lambda_user_tower.counting import KEPT_ITEMS, PATIENCE_SECONDS, LiveCounter
from stores.live_counts import SqliteLiveCounts

NOW = 1_800_000_000
BUCKET = NOW // BUCKET_SECONDS


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteLiveCounts]:
    with SqliteLiveCounts(tmp_path_factory.mktemp("counting") / "live.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy disk is no reason to find something not written yet."""
    monkeypatch.setattr(counting, "PATIENCE_SECONDS", 5.0)


@pytest.fixture
def writer() -> str:
    """A name of its own for every test, for they share a file."""
    return uuid4().hex


class Troubled:
    """A store that fails while it is told to, or takes its time, and says how often it was asked."""

    def __init__(self, store: SqliteLiveCounts) -> None:
        self.store, self.fails, self.seconds, self.asked = store, True, 0.0, 0

    def write(self, counts: Counts) -> None:
        self.asked += 1
        time.sleep(self.seconds)
        if self.fails:
            raise LiveDataUnavailable("no answer")
        self.store.write(counts)


def written(store: SqliteLiveCounts, writer: str) -> dict[int, dict[str, float]]:
    """Bucket → what a writer wrote of it."""
    return {counts.bucket: counts.weights for counts in store.since(0) if counts.writer == writer}


def wait_for(condition) -> None:
    ends = time.monotonic() + 5
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    assert condition()


def test_the_first_event_is_written_at_once(store, writer):
    LiveCounter(lambda: store, writer).add(["a", "b", "a"], [1.0, 3.0, 0.5], NOW)
    assert written(store, writer) == {BUCKET: {"a": 1.5, "b": 3.0}}


def test_what_follows_is_written_later_without_another_event(store, writer, monkeypatch):
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.2)
    counter = LiveCounter(lambda: store, writer)
    counter.add(["a"], [1.0], NOW)
    counter.add(["b"], [1.0], NOW)
    assert written(store, writer) == {BUCKET: {"a": 1.0}}
    wait_for(lambda: written(store, writer) == {BUCKET: {"a": 1.0, "b": 1.0}})


BATCHES = st.lists(
    st.tuples(
        st.integers(0, 3 * BUCKET_SECONDS),
        st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0])), max_size=5),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_counts_are_sums_of_positive_weights_however_often_they_are_written(batches, store, monkeypatch):
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.0)
    writer = uuid4().hex
    counter = LiveCounter(lambda: store, writer)
    expected: dict[int, Counter[str]] = {}
    for later, events in sorted(batches):
        counter.add([item for item, _ in events], [weight for _, weight in events], NOW + later)
        for item, weight in events:
            if weight > 0:
                expected.setdefault((NOW + later) // BUCKET_SECONDS, Counter())[item] += weight
    counter.close()
    counter.close()
    assert written(store, writer) == expected


def test_what_ended_unwritten_is_written_beside_the_next_bucket(store, writer):
    counter = LiveCounter(lambda: store, writer)
    for seconds in (0, 1, BUCKET_SECONDS):
        counter.add(["a"], [1.0], NOW + seconds)
    assert written(store, writer) == {BUCKET: {"a": 1.0}}
    counter.close()
    assert written(store, writer) == {BUCKET: {"a": 2.0}, BUCKET + 1: {"a": 1.0}}


def test_a_clock_that_goes_back_counts_where_it_had_been(store, writer):
    counter = LiveCounter(lambda: store, writer)
    counter.add(["a"], [1.0], NOW)
    counter.add(["a"], [1.0], NOW - BUCKET_SECONDS)
    counter.close()
    assert written(store, writer) == {BUCKET: {"a": 2.0}}


def test_memory_is_bounded_and_what_is_popular_stays(store, writer):
    counter = LiveCounter(lambda: store, writer)
    for start in range(0, 5 * KEPT_ITEMS, 500):
        ids = [f"rare{number}" for number in range(start, start + 500)]
        counter.add(["hit", *ids], [1.0] * 501, NOW)
        assert len(counter._weights) <= KEPT_ITEMS
    counter.close()
    (weights,) = written(store, writer).values()
    assert weights["hit"] == 5 * KEPT_ITEMS // 500
    assert len(weights) == COUNTED_ITEMS


def test_a_store_that_fails_is_tried_rarely_and_gets_everything_in_the_end(store, writer, monkeypatch):
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.3)
    troubled = Troubled(store)
    counter = LiveCounter(lambda: troubled, writer)
    began = time.monotonic()
    for _ in range(50):
        counter.add(["a"], [1.0], NOW)
    assert troubled.asked <= 1 + (time.monotonic() - began) / 0.3
    counter.add(["b"], [1.0], NOW + BUCKET_SECONDS)
    assert written(store, writer) == {}
    troubled.fails = False
    wait_for(lambda: written(store, writer) == {BUCKET: {"a": 50.0}, BUCKET + 1: {"b": 1.0}})


def test_a_bucket_that_ends_during_a_write_that_fails_is_not_lost(store, writer, monkeypatch):
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(counting, "PATIENCE_SECONDS", 0.0)
    troubled = Troubled(store)
    troubled.seconds = 0.1
    counter = LiveCounter(lambda: troubled, writer)
    counter.add(["a"], [1.0], NOW)
    wait_for(lambda: troubled.asked == 1)
    counter.add(["b"], [1.0], NOW + BUCKET_SECONDS)
    troubled.seconds = 0.0
    wait_for(lambda: troubled.asked >= 2)
    troubled.fails = False
    wait_for(lambda: written(store, writer) == {BUCKET: {"a": 1.0}, BUCKET + 1: {"b": 1.0}})


def test_a_store_that_hangs_holds_up_one_event_for_a_moment(store, writer, monkeypatch):
    monkeypatch.setattr(counting, "PATIENCE_SECONDS", PATIENCE_SECONDS)
    troubled = Troubled(store)
    troubled.fails, troubled.seconds = False, 0.5
    counter = LiveCounter(lambda: troubled, writer)
    began = time.perf_counter()
    for _ in range(20):
        counter.add(["a"], [1.0], NOW)
    assert PATIENCE_SECONDS <= time.perf_counter() - began < troubled.seconds
    counter.close()
    assert written(store, writer) == {BUCKET: {"a": 20.0}}


def test_a_store_that_cannot_be_opened_fails_no_event():
    def refuse():
        raise LiveDataUnavailable("no such file")

    counter = LiveCounter(refuse, "nobody")
    counter.add(["a"], [1.0], NOW)
    counter.close()


def test_who_comes_from_a_snapshot_counts_under_a_name_of_its_own(store, writer):
    """Every copy of the process holds what was counted before: each would write it once more."""
    counter = LiveCounter(lambda: store, writer)
    counter.add(["a"], [1.0], NOW)
    counter.add(["a"], [1.0], NOW)
    before = {counts.writer for counts in store.since(0)}
    counter.renew()
    counter.add(["a"], [4.0], NOW)
    assert written(store, writer) == {BUCKET: {"a": 1.0}}
    (new,) = {counts.writer for counts in store.since(0)} - before
    assert written(store, new) == {BUCKET: {"a": 4.0}}


def test_threads_lose_nothing(store, writer, monkeypatch):
    monkeypatch.setattr(counting, "WRITE_SECONDS", 0.001)
    counter = LiveCounter(lambda: store, writer)

    def send() -> None:
        for _ in range(100):
            counter.add(["a", "b"], [1.0, 2.0], NOW)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with closing(counter):
        pass
    assert written(store, writer) == {BUCKET: {"a": 800.0, "b": 1_600.0}}
