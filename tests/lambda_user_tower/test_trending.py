"""What has become popular since the release: counts of all processes against sums by hand, and a store that fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.candidates import Degraded
from contracts.deadline import Deadline
from contracts.errors import LiveDataUnavailable
from contracts.live import BUCKET_SECONDS, COUNTS_KEPT_SECONDS, Counts
from contracts.trending import WINDOWS, half_life_seconds
from lambda_user_tower import looks
from lambda_user_tower.counting import LiveCounter
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import PATIENCE_MS, Clocks
from lambda_user_tower.trending import LOOK_SECONDS, TOLD_ITEMS, Trends
from retrieval.opened import open_model
from retrieval.popular import trending_items
from stores.live_counts import SqliteLiveCounts
from tests.toy_world import NOW, item_id, toy_model

BUCKET = NOW // BUCKET_SECONDS
PATIENT = 60_000.0
OLD = (Degraded.LIVE_DATA_OLD,)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteLiveCounts]:
    with SqliteLiveCounts(tmp_path_factory.mktemp("trending") / "live.sqlite") as opened:
        yield opened


@pytest.fixture
def store(file: SqliteLiveCounts) -> SqliteLiveCounts:
    """The file, emptied."""
    file.sweep(1 << 62)
    return file


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy disk is no reason to find something not read yet."""
    monkeypatch.setattr(looks, "PATIENCE_MS", 5_000.0)


class Watched:
    """A store that says what it was asked for, and fails or takes its time while it is told to."""

    def __init__(self, store: SqliteLiveCounts) -> None:
        self.store, self.fails, self.seconds = store, False, 0.0
        self.asked: list[int] = []

    def since(self, bucket: int) -> list[Counts]:
        self.asked.append(bucket)
        time.sleep(self.seconds)
        if self.fails:
            raise LiveDataUnavailable("no answer")
        return self.store.since(bucket)


class Reader:
    """Trends, and a clock that goes only when it is told to."""

    def __init__(self, store: object, watermark: int = NOW - COUNTS_KEPT_SECONDS) -> None:
        self.now, self.watermark = NOW, watermark
        self.trends = Trends(lambda: store, Log("ERROR"), clocks=Clocks(lambda: self.now, lambda: self.now))

    def weights(self, window: str = "1d", patience_ms: float = PATIENT) -> dict[str, float]:
        return dict(self.told(window, patience_ms).weights)

    def told(self, window: str = "1d", patience_ms: float = PATIENT):
        return self.trends.weights(window, self.watermark, self.now, Deadline(patience_ms))

    def looked(self, window: str = "1d") -> dict[str, float]:
        """What is told once a look of this moment is over, if one is due."""
        ends = time.monotonic() + 5
        self.weights(window)
        while (self.due or self.trends._looks._under_way is not None) and time.monotonic() < ends:
            time.sleep(0.001)
            self.weights(window)
        return self.weights(window)

    @property
    def due(self) -> bool:
        return self.trends._looks.age_seconds >= LOOK_SECONDS


def write(store: SqliteLiveCounts, bucket: int, writer: str = "w", **weights: float) -> None:
    store.write(Counts(bucket, writer, weights))


RECORDS = st.dictionaries(
    st.tuples(st.integers(BUCKET - 300, BUCKET), st.sampled_from(["v", "w"])),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.125, 100), max_size=4),
    max_size=12,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=RECORDS,
    window=st.sampled_from(list(WINDOWS)),
    age=st.integers(0, COUNTS_KEPT_SECONDS + 9_999),
    later=st.integers(0, BUCKET_SECONDS),
)
def test_weights_are_faded_sums_over_buckets_and_processes(records, window, age, later, file):
    file.sweep(1 << 62)
    for (bucket, writer), weights in records.items():
        write(file, bucket, writer, **weights)
    reader = Reader(file, NOW - age)
    reader.now += later
    expected: Counter[str] = Counter()
    for (bucket, _), weights in records.items():
        middle = bucket * BUCKET_SECONDS + BUCKET_SECONDS / 2
        since = max(reader.now - WINDOWS[window], (reader.now - COUNTS_KEPT_SECONDS) // BUCKET_SECONDS * BUCKET_SECONDS)
        if bucket * BUCKET_SECONDS > reader.watermark and middle > since:
            for item, weight in weights.items():
                expected[item] += weight * 2 ** (-(reader.now - middle) / half_life_seconds(window))
    told = reader.told(window)
    assert told.weights == pytest.approx(dict(expected), rel=1e-5)
    assert told.degraded == ()


def test_a_bucket_leaves_a_window_when_its_middle_does(store):
    write(store, BUCKET - 6, a=1.0)
    reader = Reader(store)
    reader.now = BUCKET * BUCKET_SECONDS + BUCKET_SECONDS // 2 - 1
    assert set(reader.weights("1h")) == {"a"}
    reader.now += 1
    assert reader.weights("1h") == {}


def test_sums_fade_between_looks_as_they_would_be_read_anew(store):
    write(store, BUCKET - 5, a=1.0, b=2.0)
    write(store, BUCKET, a=1.0)
    reader = Reader(store)
    for seconds in (0, 7, 2 * BUCKET_SECONDS, 3_000, 3_600, 4_000):
        reader.now = NOW + seconds
        for window in WINDOWS:
            anew = Reader(store)
            anew.now = reader.now
            assert reader.weights(window) == pytest.approx(anew.weights(window))


def test_only_what_is_not_over_is_read_again(store):
    watched = Watched(store)
    reader = Reader(watched)
    write(store, BUCKET - 3, a=1.0)
    write(store, BUCKET, a=1.0)
    before = reader.weights()["a"]
    assert watched.asked == [BUCKET - COUNTS_KEPT_SECONDS // BUCKET_SECONDS + 1]
    write(store, BUCKET, a=5.0)
    assert reader.looked()["a"] == before
    reader.now += LOOK_SECONDS
    assert reader.looked()["a"] > before + 3
    assert watched.asked[1:] == [BUCKET - 1]
    reader.now += 10 * BUCKET_SECONDS
    reader.looked()
    assert watched.asked[2:] == [BUCKET - 1], "what was not over at the last look is read once more"


def test_an_earlier_watermark_has_everything_read_again(store):
    """A rollback: the release before knows less of the log."""
    write(store, BUCKET - 9, a=1.0)
    write(store, BUCKET - 1, b=1.0)
    reader = Reader(store, NOW - 3 * BUCKET_SECONDS)
    assert set(reader.weights()) == {"b"}
    reader.watermark = NOW - 20 * BUCKET_SECONDS
    told = reader.told()
    assert (set(told.weights), told.degraded) == ({"a", "b"}, ())


def test_a_look_that_began_for_a_later_watermark_is_not_enough(store):
    watched = Watched(store)
    watched.seconds = 0.2
    write(store, BUCKET - 9, a=1.0)
    reader = Reader(watched, NOW - 3 * BUCKET_SECONDS)
    assert reader.told(patience_ms=0) == ({}, OLD)
    reader.watermark = NOW - 20 * BUCKET_SECONDS
    assert reader.told() == ({}, OLD)
    assert set(reader.looked()) == {"a"}


def test_a_request_waits_a_share_of_its_time_and_says_that_it_knows_nothing_yet(store, monkeypatch):
    monkeypatch.setattr(looks, "PATIENCE_MS", PATIENCE_MS)
    watched = Watched(store)
    watched.seconds = 0.5
    write(store, BUCKET, a=1.0)
    reader = Reader(watched)
    began = time.perf_counter()
    assert reader.told() == ({}, OLD)
    assert time.perf_counter() - began < watched.seconds
    assert set(reader.weights(patience_ms=0)) == set()
    assert len(watched.asked) == 1
    assert set(reader.looked()) == {"a"}
    assert reader.told(patience_ms=0).degraded == ()


def test_a_store_that_fails_leaves_what_was_read_and_is_tried_rarely(store):
    watched = Watched(store)
    write(store, BUCKET, a=1.0)
    reader = Reader(watched)
    reader.weights()
    watched.fails = True
    reader.now += 2 * LOOK_SECONDS + 1
    for _ in range(5):
        told = reader.told()
        assert (set(told.weights), told.degraded) == ({"a"}, OLD)
    assert len(watched.asked) == 2
    watched.fails = False
    reader.now += LOOK_SECONDS
    assert reader.told().degraded == ()


def test_a_process_that_was_frozen_waits_for_news(store):
    write(store, BUCKET, a=1.0)
    reader = Reader(store)
    reader.weights()
    write(store, BUCKET + 6, b=1.0)
    reader.now += 6 * BUCKET_SECONDS
    assert set(reader.weights()) == {"a", "b"}


def test_a_process_whose_clock_is_far_ahead_counts_for_nothing(store):
    write(store, BUCKET, a=1.0)
    write(store, BUCKET + 1, "skewed", a=1.0)
    write(store, BUCKET + 10**9, "broken", b=1.0)
    assert set(Reader(store).weights("1h")) == {"a"}


def test_the_heaviest_are_told(store):
    write(store, BUCKET, **{f"i{number}": float(number) for number in range(1, TOLD_ITEMS + 101)})
    assert set(Reader(store).weights()) == {f"i{number}" for number in range(101, TOLD_ITEMS + 101)}


def test_items_that_are_over_are_forgotten(store):
    reader = Reader(store)
    for day in range(8):
        write(store, BUCKET, **{f"day{day}-{number}": 1.0 for number in range(100)})
        reader.now = NOW + day * COUNTS_KEPT_SECONDS
        store.sweep(1 << 62)
        write(store, reader.now // BUCKET_SECONDS, **{f"day{day}-{number}": 1.0 for number in range(100)})
        assert len(reader.weights()) == 100
    assert len(reader.trends._view.names) <= 300


def test_events_make_an_item_rise(store):
    """Counter → store → reader → slate."""
    model = open_model(toy_model())
    counter = LiveCounter(lambda: store, "intake")
    reader = Reader(store, model.fitted.watermark)
    reader.now += 2 * BUCKET_SECONDS  # the watermark of the toy world is NOW
    counter.add([item_id(150)] * 3, [1.0, 1.0, 1.0], reader.now)
    counter.close()
    first = trending_items(model, 2, reader.now, "1h", reader.weights("1h"))
    assert first.rows.tolist() == [150, 0]
    counter.add([item_id(77)] * 4, [1.0] * 4, reader.now)
    counter.close()
    reader.now += LOOK_SECONDS
    rows = trending_items(model, 2, int(reader.now), "1h", reader.looked("1h")).rows
    assert rows.tolist() == [77, 150]
