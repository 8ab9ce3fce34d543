"""Whether order says anything: a walk does, the same events shuffled do not, and of few nobody can say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import SettingsInvalid
from contracts.interactions import Interactions
from contracts.schema import TimeMeaning
from training_job import user_sample
from training_job.fit import begun, fit
from training_job.order import LEFT_OF_SETS, likeness_left, order_matters
from training_job.settings import Effort, TrainingSettings
from training_job.tuned import Kind, RecipeChanges

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)
N_ITEMS = 200
_ANGLES = 2 * np.pi * np.arange(N_ITEMS) / N_ITEMS
CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1).astype(np.float32)
"""Items beside each other are alike."""


def _walks(n_users=400, steps=40, reach=8, shuffled=False):
    """Everybody walks along the circle, from anywhere."""
    random = np.random.default_rng(1)
    places = random.integers(0, N_ITEMS, (n_users, 1)) + np.cumsum(random.integers(1, reach, (n_users, steps)), axis=1)
    if shuffled:
        places = random.permuted(places, axis=1)
    users = np.repeat(np.arange(n_users), steps)
    return Interactions.from_events(
        users, places.ravel() % N_ITEMS, np.arange(len(users)), np.ones(len(users)), n_users, N_ITEMS
    )


def test_a_walk_leaves_little_and_the_same_events_shuffled_leave_everything():
    left = likeness_left(_walks(), CIRCLE, 0)
    assert left < 0.5
    assert order_matters(left)
    shuffled = likeness_left(_walks(reach=3, shuffled=True), CIRCLE, 0)
    assert shuffled == pytest.approx(1, abs=0.05)
    assert not order_matters(shuffled)


def test_it_is_the_mean_over_all_pairs_that_it_draws_from():
    events = _walks(n_users=200)
    items = events.items.reshape(200, 40).astype(int)
    cosine = lambda some, others: (CIRCLE[some] * CIRCLE[others]).sum(-1)  # noqa: E731
    starts = items[:, :-2].ravel()
    anybody = cosine(starts[:, None], starts[None]).mean()
    neighbours = cosine(items[:, :-2], items[:, 1:-1]).mean()
    later = np.mean([cosine(items[:, [at]], items[:, at + 2 :]).mean() for at in range(38)])
    assert likeness_left(events, CIRCLE, 3) == pytest.approx((later - anybody) / (neighbours - anybody), abs=0.02)


def test_of_few_events_or_none_alike_nothing_is_claimed():
    assert likeness_left(_walks(n_users=10), CIRCLE, 0) is None
    assert likeness_left(_walks(steps=2, n_users=5_000), CIRCLE, 0) is None, "neighbours only"
    opposite = np.where(np.arange(N_ITEMS)[:, None] % 2, CIRCLE[:1], -CIRCLE[:1])
    turns = Interactions.from_events(
        np.repeat(np.arange(100), 40), np.tile(np.arange(40), 100), np.arange(4_000), np.ones(4_000), 100, N_ITEMS
    )
    assert likeness_left(turns, opposite, 0) is None, "neighbours are less alike than anybody"
    assert order_matters(None)


def test_a_large_log_is_sampled_by_users(monkeypatch):
    monkeypatch.setattr(user_sample, "SAMPLE_EVENTS", 4_000)
    assert likeness_left(_walks(n_users=1_000), CIRCLE, 0) == pytest.approx(likeness_left(_walks(), CIRCLE, 0), abs=0.1)


@pytest.mark.parametrize("time", [TimeMeaning.TIMESTAMP, TimeMeaning.ORDER])
def test_events_whose_order_says_nothing_are_trained_on_as_sets(clustered, time):
    world = clustered(n_users=400, n_items=200, per_user=20, time=time)
    with begun(world, world.interactions, QUICK) as training:
        assert training.likeness_left > LEFT_OF_SETS
        assert training.kind is Kind.SETS
        assert not training.recipe.ordered
    report = fit(world, world.interactions, QUICK).report
    assert report["likeness_left"] == training.likeness_left
    assert (report["recipe"]["heads"], report["recipe"]["crowd"] > 0) == (0, True)
    assert (report["lengths"] is None) == (time is TimeMeaning.ORDER), "what is recent may matter all the same"


def test_walks_are_trained_on_by_moments(clustered):
    world = clustered(n_users=400, n_items=N_ITEMS, time=TimeMeaning.ORDER, features=False)
    walks = replace(world, interactions=_walks(reach=3))
    with begun(walks, walks.interactions, QUICK) as training:
        assert training.likeness_left < LEFT_OF_SETS
        assert training.kind is Kind.ORDERED


@pytest.mark.parametrize(
    ("change", "ordered"), [({"kept": 0.4}, False), ({"hidden": 128}, True), ({"passes": 1.0}, None)]
)
def test_changes_that_are_for_one_kind_choose_it_whatever_the_order_says(clustered, change, ordered):
    shuffled = clustered(n_users=400, n_items=N_ITEMS, per_user=20, time=TimeMeaning.ORDER)
    walks = replace(clustered(n_users=400, n_items=N_ITEMS, time=TimeMeaning.ORDER), interactions=_walks(reach=3))
    for world, derived in ((shuffled, False), (walks, True)):
        with begun(world, world.interactions, QUICK) as training:
            training.change(RecipeChanges(change))
            assert training.recipe.ordered == (derived if ordered is None else ordered)


def test_without_order_what_is_for_moments_is_refused(clustered):
    world = clustered(time=TimeMeaning.NONE)
    with (
        begun(world, world.interactions, QUICK) as training,
        pytest.raises(SettingsInvalid, match="hidden is for data"),
    ):
        training.change(RecipeChanges({"hidden": 128}))
