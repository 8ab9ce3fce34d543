"""Events of negative weight: trained with, folded in with their sign, and never what is to be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.interactions import Interactions
from contracts.schema import TimeMeaning
from retrieval.als import fold_in
from retrieval.user_tower import encode_user
from tests.training_job.clustered import CLUSTERS, clustered_world
from training_job.fit import Fitted, fit
from training_job.settings import Effort, TrainingSettings


def with_dislikes(n_users=200, per_user=3):
    """The clustered world, in which everybody also dislikes some items of the cluster after their own."""
    world = clustered_world(n_users=n_users, time=TimeMeaning.TIMESTAMP)
    events, random = world.interactions, np.random.default_rng(1)
    users = np.repeat(np.arange(n_users), per_user)
    items = random.integers(0, 12, len(users)) * CLUSTERS + (users + 1) % CLUSTERS
    times = random.integers(events.times.min(), events.times.max(), len(users))
    both = Interactions.from_events(
        np.concatenate([events.users, users]),
        np.concatenate([events.items, items]),
        np.concatenate([events.times, times]),
        np.concatenate([events.weights, np.full(len(users), -1.0)]),
        n_users,
        events.n_items,
    )
    return replace(world, interactions=both)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    world = with_dislikes()
    return fit(world, world.interactions, TrainingSettings(effort=Effort.QUICK, threads=1))


def scores(model, name, history):
    """Of all items for a history of (row, weight), oldest first."""
    rows, weights = np.array([row for row, _ in history], np.int32), np.array([w for _, w in history], np.float32)
    items = model.items
    if name == "als":
        return items.als @ fold_in(model.als, items.als[rows], weights)
    return items.two_tower @ encode_user(model.tower, items, rows, weights)


@pytest.mark.parametrize("name", ["two_tower", "als"])
@pytest.mark.parametrize("at", [0, 4])
def test_a_dislike_lowers_what_is_like_it(fitted, name, at):
    """Rows r % CLUSTERS are a cluster; the history likes cluster 0 and, a little, cluster 1."""
    history = [(0, 1.0), (4, 1.0), (1, 1.0), (8, 1.0)]
    disliking = [*history[:at], (5, -1.0), *history[at:]]
    before, after = scores(fitted.model, name, history), scores(fitted.model, name, disliking)
    alike = np.array([9, 13, 17, 21])
    assert (after[alike] < before[alike]).all()
    assert after[alike].mean() - before[alike].mean() < (after - before).mean(), "and more than the rest"


def test_nobody_is_judged_by_what_they_dislike(fitted):
    for split in (fitted.validation.tuning, fitted.validation.judging):
        assert (split.test.weights > 0).all()
        owners, clusters = split.test.users % CLUSTERS, split.test.items % CLUSTERS
        assert (owners == clusters).mean() > 0.9
    assert (fitted.validation.train.weights < 0).any()
