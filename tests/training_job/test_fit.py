"""Training as a whole: it learns, it repeats itself, it resumes, it refuses, and it survives bad input."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import polars as pl
import pytest
import torch

from contracts.errors import NotEnoughData, TrainingDiverged
from contracts.fitted import from_bundle, to_bundle
from contracts.interactions import Interactions
from contracts.schema import TimeMeaning
from retrieval.golden import replay_golden
from retrieval.user_tower import encode_users
from training_job.fit import fit
from training_job.settings import Effort, TrainingSettings

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)
TIMES = [TimeMeaning.TIMESTAMP, TimeMeaning.ORDER, TimeMeaning.NONE]


def _hashes(fitted):
    bundle = to_bundle(fitted.model)
    return {
        f"{stem}.{name}": sha256(np.ascontiguousarray(array).data).hexdigest()
        for stem, arrays in bundle.tensors.items()
        for name, array in arrays.items()
    } | {name: sha256(document).hexdigest() for name, document in bundle.documents.items()}


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("features", [True, False])
def test_users_are_recommended_their_cluster(clustered, time, features):
    world = clustered(n_users=200, time=time, features=features)
    model = fit(world, world.interactions, QUICK).model
    events = world.interactions
    from training_job.vocabulary import encode_table

    features = encode_table(model.user_encoder, world.users)
    queries = encode_users(model.tower, model.items, events.items, events.weights, events.offsets, features)
    best = np.argsort(-(queries @ model.items.two_tower.T), axis=1)[:, :5]
    assert (best % 4 == np.arange(events.n_users)[:, None] % 4).mean() > 0.9


@pytest.mark.parametrize("time", TIMES)
def test_a_model_survives_its_bundle_and_its_golden_cases(clustered, time):
    world = clustered(time=time)
    model = from_bundle(to_bundle(fit(world, world.interactions, QUICK).model))
    replay_golden(model)
    assert len(model.golden) > 10
    assert np.isfinite(model.items.two_tower).all()
    assert np.isfinite(model.items.als).all()
    scores = model.probes.queries @ model.items.two_tower.T
    assert np.array_equal(model.probes.rows[:, 0], scores.argmax(axis=1))
    assert model.probes.rows.shape[1] == min(100, len(model.items))


def test_the_deterministic_mode_gives_the_same_bytes_twice(clustered):
    world = clustered()
    settings = replace(QUICK, deterministic=True, seed=3)
    assert _hashes(fit(world, world.interactions, settings)) == _hashes(fit(world, world.interactions, settings))
    assert torch.are_deterministic_algorithms_enabled() is False


def test_another_seed_gives_another_model(clustered):
    world = clustered()
    first, second = (fit(world, world.interactions, replace(QUICK, seed=seed)) for seed in (1, 2))
    assert not np.array_equal(first.model.items.two_tower, second.model.items.two_tower)


class _Killed(BaseException):
    """As sudden as a signal: nothing catches it."""


@pytest.mark.parametrize("kill_at", [1, 3, 4])
def test_a_killed_training_resumes_to_the_same_bytes(clustered, tmp_path, kill_at):
    world = clustered()
    settings = replace(QUICK, deterministic=True, checkpoint_seconds=0)
    whole = _hashes(fit(world, world.interactions, settings))
    reports = []

    def killer(done, total, text):
        reports.append(text)
        if sum(text.startswith("epoch") for text in reports) > kill_at:
            raise _Killed

    with pytest.raises(_Killed):
        fit(world, world.interactions, settings, progress=killer, checkpoints=tmp_path)
    assert any(tmp_path.iterdir())
    first_epochs = []

    def watch(done, total, text):
        if text.startswith("epoch"):
            first_epochs.append(done)

    resumed = fit(world, world.interactions, settings, progress=watch, checkpoints=tmp_path)
    assert first_epochs[0] > 0  # it did not start over
    assert _hashes(resumed) == whole


def test_checkpoints_of_other_events_are_left_alone(clustered, tmp_path):
    settings = replace(QUICK, deterministic=True, checkpoint_seconds=0)
    fit(clustered(seed=1), clustered(seed=1).interactions, settings, checkpoints=tmp_path)
    world = clustered(seed=2)
    assert _hashes(fit(world, world.interactions, settings, checkpoints=tmp_path)) == _hashes(
        fit(world, world.interactions, settings)
    )


def _poisoned(monkeypatch, times):
    """Make the loss of some steps NaN: `times` of them, from the sixth on."""
    from training_job import step

    calls = iter(range(10**9))
    original = step.shared_softmax

    def poisoned(*arguments):
        loss = original(*arguments)
        return loss * torch.nan if 5 <= next(calls) < 5 + times else loss

    monkeypatch.setattr(step, "shared_softmax", poisoned)


def test_one_divergence_is_survived(clustered, monkeypatch):
    world = clustered()
    _poisoned(monkeypatch, 1)
    fitted = fit(world, world.interactions, QUICK)
    assert fitted.report["recovered_from_divergence"]
    assert np.isfinite(fitted.model.items.two_tower).all()


def test_the_second_divergence_ends_the_training(clustered, monkeypatch):
    world = clustered()
    _poisoned(monkeypatch, 10**9)
    with pytest.raises(TrainingDiverged, match="not finite"):
        fit(world, world.interactions, QUICK)


def test_a_warm_start_keeps_what_it_knew_and_takes_in_what_is_new(clustered):
    """The first days' model continues on all days: known items stay near, and it costs fewer passes."""
    world = clustered(n_users=300, per_user=14)
    cut = np.quantile(world.interactions.times, 0.8)
    before = fit(world, world.interactions.select(world.interactions.times < cut), QUICK)
    after = fit(world, world.interactions, QUICK, warm_start=before.model)
    assert after.report["warm_start_items"] == len(world.item_ids)
    assert after.report["recipe"]["epochs"] < before.report["recipe"]["epochs"]
    fresh = fit(world, world.interactions, replace(QUICK, seed=1))
    assert _alignment(before, after) > 0.8
    assert _alignment(before, fresh) < 0.5


def _alignment(first, second):
    """Mean cosine between the vectors that two models give an item."""
    a, b = (model.model.items.two_tower[first.model.items.events > 5] for model in (first, second))
    return float(np.mean(np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))


def test_a_warm_start_from_a_release_without_any_known_item(clustered):
    world, other = clustered(), clustered()
    other = replace(other, item_ids=pl.Series([f"z{number:06d}" for number in range(len(other.item_ids))]))
    before = fit(other, other.interactions, QUICK).model
    fitted = fit(world, world.interactions, QUICK, warm_start=before)
    assert fitted.report["warm_start_items"] == 0
    assert np.isfinite(fitted.model.items.two_tower).all()


def test_the_report_is_json_and_says_what_was_done(clustered):
    import msgspec

    world = clustered()
    report = fit(world, world.interactions, QUICK).report
    assert msgspec.json.decode(msgspec.json.encode(report)) == report
    assert report["effort"] == "quick"
    assert report["counts"]["events"] < len(world.interactions)
    assert set(report["validation"]) == {"two_tower", "als", "popularity"}
    assert report["recipe"]["dimensions"] == 64


def test_nothing_of_the_slice_is_trained_on(clustered):
    world = clustered()
    fitted = fit(world, world.interactions, QUICK)
    validation = fitted.validation
    assert fitted.model.watermark == validation.train.times.max()
    assert validation.tuning.test.times.min() > fitted.model.watermark
    assert validation.judging.test.times.min() > fitted.model.watermark
    assert not set(validation.tuning.judged) & set(validation.judging.judged)
    assert np.array_equal(fitted.model.items.events, validation.train.item_counts())


def _events(users, items, n_users, n_items, times=None):
    times = np.arange(len(users)) if times is None else times
    users, items = np.array(users, int), np.array(items, int)
    return Interactions.from_events(users, items, times, np.ones(len(users)), n_users, n_items)


DEGENERATE = {
    "one user": _events([0] * 20, np.arange(20), 1, 20),
    "one item": _events(np.arange(20), [0] * 20, 20, 1),
    "everybody has one event": _events(np.arange(20), np.arange(20) % 5, 20, 5),
    "two events": _events([0, 1], [0, 1], 2, 2),
    "all at one moment": _events(np.arange(40) % 8, np.arange(40) % 10, 8, 10, np.zeros(40, int)),
    "two users, two items": _events([0, 0, 1, 1], [0, 1, 1, 0], 2, 2),
    "one has almost all": _events([0] * 3000 + [1, 1, 2, 2], [*range(3000), 1, 2, 1, 2], 3, 3000),
    "the same again and again": _events(np.arange(90) % 3, (np.arange(90) % 3) % 2, 3, 2),
    "no events": _events([], [], 3, 3),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("time", TIMES)
def test_degenerate_input_ends_with_a_serving_model_or_a_named_refusal(clustered, name, time):
    events = DEGENERATE[name]
    base = clustered(n_users=events.n_users, n_items=events.n_items, per_user=1, features=False, n_cold=0, time=time)
    try:
        fitted = fit(replace(base, interactions=events), events, QUICK)
    except NotEnoughData:
        return
    model = from_bundle(to_bundle(fitted.model))
    replay_golden(model)
    assert np.isfinite(model.items.two_tower).all()
    assert len(model.popularity.get("global")[0]) > 0


def test_absurd_weights_and_features_do_not_make_nan(clustered):
    world = clustered()
    events = world.interactions
    weights = events.weights.copy()
    weights[::5], weights[1::5] = 1e6, -3.0
    wild = replace(events, weights=weights)
    items = world.items.with_columns(pl.Series("price", [float("inf"), -1e300] + [None] * (len(world.item_ids) - 2)))
    model = fit(replace(world, items=items), wild, QUICK).model
    assert np.isfinite(model.items.two_tower).all()
    assert np.isfinite(model.items.als).all()
    replay_golden(model)
