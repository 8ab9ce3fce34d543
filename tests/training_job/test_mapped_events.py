"""Training on events that are mapped onto disk and gone over in blocks: the same as in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from contracts import large_arrays
from contracts.errors import NotEnoughData
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, FeatureKind, TimeMeaning
from evaluation.pairs import PairSet, pair_keys
from training_job import user_sample
from training_job.als import fit_als
from training_job.first_touches import Moments, first_touches
from training_job.popularity import Decay, fit_popularity
from training_job.recipe import derive_recipe
from training_job.settings import Effort
from training_job.svd_start import spectral_start
from training_job.user_sample import sample_users
from training_job.validation import hold_out

N_USERS, N_ITEMS, DAY = 40, 30, 86_400


def some_events(n: int = 1_500) -> Interactions:
    random = np.random.default_rng(3)
    users = (N_USERS * random.random(n) ** 2).astype(int)
    items, times = (N_ITEMS * random.random(n) ** 2).astype(int), random.integers(0, 300, n) * DAY // 10
    return Interactions.from_events(users, items, times, random.choice([-1.0, 0.0, 1.0, 3.0], n), N_USERS, N_ITEMS)


def on_disk(events: Interactions) -> Interactions:
    arrays = {
        name: large_arrays.mapped(len(events), getattr(events, name).dtype) for name in ("items", "times", "weights")
    }
    for name, array in arrays.items():
        array[:] = getattr(events, name)
    return replace(events, **arrays)


def equal(one: Interactions, other: Interactions) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("items", "times", "weights", "offsets")
    )


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    """Called, it makes blocks and mapped arrays small."""

    def make() -> None:
        monkeypatch.setattr(large_arrays, "BLOCK", 64)
        monkeypatch.setattr(large_arrays, "MAPPED_BYTES", 1)

    return make


@pytest.mark.parametrize("time", TimeMeaning)
def test_the_slice_and_the_examples_are_those_of_memory(small_blocks, time: TimeMeaning) -> None:
    events, schema = some_events(), DatasetSchema(time=time)
    user_ids = pl.Series([f"user {number:02}" for number in range(N_USERS)])
    wanted = hold_out(events, schema, user_ids, 0)
    recipe = derive_recipe(schema, wanted.train, Effort.QUICK)
    shown = list(recipe.sampler(wanted.train).epoch(np.random.default_rng(0)))
    small_blocks()
    found = hold_out(on_disk(events), schema, user_ids, 0)
    assert isinstance(found.train.items, np.memmap)
    for one, other in ((found.tuning, wanted.tuning), (found.judging, wanted.judging)):
        assert equal(one.train, other.train)
        assert equal(one.test, other.test)
        assert one.cut == other.cut
    assert found.digest(user_ids) == wanted.digest(user_ids)
    assert derive_recipe(schema, found.train, Effort.QUICK) == recipe
    for one, other in zip(recipe.sampler(found.train).epoch(np.random.default_rng(0)), shown, strict=True):
        assert all(np.array_equal(getattr(one, name), value) for name, value in vars(other).items())


def test_a_slice_of_equal_newest_times_is_cut_before_them(small_blocks) -> None:
    """Half of the events have the newest time, more than a slice has."""
    events = some_events()
    events = replace(events, times=np.maximum(events.times, int(np.median(events.times)))[::1])
    events = replace(events, times=events.times.max() + np.median(events.times).astype(int) - events.times)
    events = Interactions.from_events(events.users, events.items, events.times, events.weights, N_USERS, N_ITEMS)
    user_ids = pl.Series([f"user {number:02}" for number in range(N_USERS)])
    wanted = hold_out(events, DatasetSchema(), user_ids, 0)
    small_blocks()
    found = hold_out(on_disk(events), DatasetSchema(), user_ids, 0)
    assert found.tuning.cut == wanted.tuning.cut == np.unique(events.times)[-2]
    assert equal(found.train, wanted.train)


def test_moments_are_the_first_touches_with_the_time_since_the_event_before(small_blocks) -> None:
    small_blocks()
    events = on_disk(some_events())
    touched, moments = first_touches(events), Moments.of(events)
    assert isinstance(moments.events, np.memmap)
    assert moments.events.tolist() == np.flatnonzero(touched).tolist()
    chances = moments.chances(events, 0.5)
    for user in range(N_USERS):
        own, seen, before = events.of(user), set(), None
        for event in range(own.start, own.stop):
            first = events.weights[event] > 0 and events.items[event] not in seen
            assert touched[event] == first
            if first:
                seen.add(events.items[event])
                waited = 1 if before is None else max(events.times[event] - before, 1)
                place = np.searchsorted(moments.events, event)
                assert chances[place] == pytest.approx(waited**0.5)
                assert moments.offsets[user] <= place < moments.offsets[user + 1]
            before = events.times[event]


def test_popularity_is_that_of_memory(small_blocks) -> None:
    events = some_events()
    schema = DatasetSchema(users={"age": FeatureKind.CATEGORICAL}, segment=("age",))
    users = pl.DataFrame({"age": ["young" if number % 3 else "old" for number in range(N_USERS)]})
    rest = (users, (np.arange(N_ITEMS, dtype=np.int32) % 2, ["a", "b"]), np.zeros(N_ITEMS, np.int64), 7.0)
    wanted = fit_popularity(events, schema, *rest)
    small_blocks()
    found = fit_popularity(on_disk(events), schema, *rest)
    assert found.keys == wanted.keys
    assert "age" in str(found.keys)
    for key in wanted.keys:
        for ours, theirs in zip(found.get(key), wanted.get(key), strict=True):
            assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-6)
    weights = Decay.of(events, 7.0).weights(events)
    assert Decay.of(on_disk(events), 7.0).totals(on_disk(events)) == pytest.approx(np.bincount(events.items, weights))


def test_pairs_are_known_in_blocks(small_blocks) -> None:
    small_blocks()
    events = on_disk(some_events())
    keys, pairs = set(pair_keys(events).tolist()), PairSet(events)
    users, rows = np.arange(N_USERS), np.tile(np.arange(N_ITEMS), (N_USERS, 1))
    assert pairs.holds(users, rows).tolist() == [
        [u * N_ITEMS + i in keys for i in range(N_ITEMS)] for u in range(N_USERS)
    ]


def test_a_sample_is_whole_users_drawn_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events()
    assert sample_users(events, 0) is events
    monkeypatch.setattr(user_sample, "SAMPLE_EVENTS", 500)
    lengths, drawn = [], np.zeros(N_USERS)
    for seed in range(200):
        sample = sample_users(events, seed)
        lengths.append(len(sample))
        histories = [tuple(sample.times[sample.of(user)]) for user in range(sample.n_users)]
        numbers = [user for user in range(N_USERS) if tuple(events.times[events.of(user)]) in histories]
        assert sample.n_users == len(numbers)
        drawn[numbers] += 1
    assert max(lengths) <= 500
    assert np.mean(lengths) > 400
    assert drawn.min() > 0


def test_two_users_are_taken_however_long_their_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_sample, "SAMPLE_EVENTS", 3)
    assert sample_users(some_events(), 1).n_users == 2


def test_als_and_the_start_know_all_items_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events()
    monkeypatch.setattr(user_sample, "SAMPLE_EVENTS", 700)
    sample = sample_users(events, 0)
    als, start = fit_als(events, 8, seed=0, threads=1), spectral_start(events, 8, 0)
    liked = np.bincount(sample.items[sample.weights > 0], minlength=N_ITEMS) > 0
    assert (np.linalg.norm(als.factors, axis=1) > 0).tolist() == liked.tolist()
    assert np.linalg.norm(start, axis=1) == pytest.approx(np.ones(N_ITEMS))
    assert np.array_equal(als.factors, fit_als(sample, 8, seed=0, threads=1).factors)
    with pytest.raises(NotEnoughData, match="positive weight"):
        fit_als(replace(events, weights=-np.ones_like(events.weights)), 8)
