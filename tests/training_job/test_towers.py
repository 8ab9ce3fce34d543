"""The torch towers say what serving's numpy pass says."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.schema import TimeMeaning
from retrieval.user_tower import encode_users
from training_job.assemble import tower_arrays
from training_job.batches import Examples
from training_job.fit import fit
from training_job.settings import Effort, TrainingSettings
from training_job.towers import SHORTEST, item_vectors, unit

PARITY = 1e-5
"""The figure of the design, per coordinate."""


@pytest.fixture(scope="module", params=[TimeMeaning.TIMESTAMP, TimeMeaning.NONE], ids=["heads", "crowd"])
def world(clustered, request):
    return clustered(n_users=1_200, n_items=80, per_user=30, time=request.param)


@pytest.fixture(scope="module")
def trained(world):
    """Towers after a short training: every array has moved away from its start."""
    from training_job import fit as module
    from training_job.device import TorchRuntime

    settings = TrainingSettings(effort=Effort.QUICK, threads=1)
    with TorchRuntime(settings) as runtime:
        training = module.Training(world, world.interactions, settings, runtime, lambda done, total, text: None)
        stepper, _ = training.stepper()
        training.train(stepper)
    return stepper


def test_a_thousand_users_get_the_same_query_from_both(world, trained):
    users = np.arange(world.interactions.n_users)
    with torch.no_grad():
        vectors = trained.catalogue()
        expected = trained.queries(world.interactions, users, vectors).cpu().numpy()
    items = _Items(vectors.cpu().numpy(), trained.pool_weights().detach().cpu().numpy())
    events = world.interactions
    computed = encode_users(
        tower_arrays(trained), items, events.items, events.weights, events.offsets, trained.data.user_features
    )
    assert len(users) >= 1_000
    assert np.abs(expected - computed).max() <= PARITY


class _Items:
    """What the forward pass reads."""

    def __init__(self, two_tower, pool_weight):
        self._two_tower, self.pool_weight = two_tower, pool_weight

    def vectors(self, model_name, rows):
        assert model_name == "two_tower"
        return self._two_tower[rows]


def test_an_empty_history_has_a_gradient(trained):
    """sqrt(0) in the pooling norm would make it NaN, and so would a share of nothing."""
    vectors = trained.catalogue()
    dense = {name: tensor.detach().clone().requires_grad_() for name, tensor in trained.towers.dense.items()}
    trained = copy(trained)
    trained.towers = replace(trained.towers, dense=dense)
    nobody = Examples.now(np.arange(2), np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(2, np.int64))
    trained.encode(nobody, vectors, None).square().sum().backward()
    assert all(bool(torch.isfinite(t.grad).all()) for t in dense.values() if t.grad is not None)
    assert dense["output_bias"].grad is not None


def test_a_moment_in_a_window_is_the_end_of_a_history(world, trained):
    """All moments of a window at once are what each of them is alone, whatever else fills the rectangle."""
    if not trained.recipe.ordered:
        return
    events, random = world.interactions, np.random.default_rng(0)
    users = random.choice(np.flatnonzero(events.lengths >= 5), 40, replace=False)
    vectors = trained.catalogue()
    lengths = events.lengths[users]
    at_once = replace(
        Examples.now(users, events.take(users).items, events.take(users).weights, lengths),
        owners=np.repeat(np.arange(40), 3),
        ends=np.sort(random.integers(0, lengths[:, None] + 1, (40, 3)), axis=1).ravel(),
    )
    with torch.no_grad():
        together = trained.encode(at_once, vectors, None)
        for number, (owner, end) in enumerate(zip(at_once.owners, at_once.ends, strict=True)):
            start = events.offsets[users[owner]]
            past = slice(start, start + end)
            alone = Examples.now(users[:1], events.items[past], events.weights[past], np.array([end]))
            torch.testing.assert_close(together[number], trained.encode(alone, vectors, None)[0], atol=1e-5, rtol=0)


def test_an_item_of_which_nothing_is_known_is_no_nan():
    vectors = item_vectors(torch.zeros(2, 4), torch.zeros(2, 4), torch.ones(2))
    assert torch.equal(vectors, torch.zeros(2, 4))
    assert torch.allclose(unit(torch.full((1, 4), SHORTEST * 10)).norm(), torch.tensor(1.0))


def test_content_alone_points_where_the_items_like_it_are(clustered):
    """A cold item's nearest items, by vector, are those of its cluster (decision 4)."""
    world = clustered(n_users=200, n_items=64, per_user=20, n_cold=8)
    model = fit(world, world.interactions, TrainingSettings(threads=1)).model
    cold = np.flatnonzero(model.items.events == 0)
    assert len(cold) >= 8
    directions = model.items.two_tower / np.linalg.norm(model.items.two_tower, axis=1, keepdims=True)
    hot = np.flatnonzero(model.items.events > 0)
    nearest = hot[np.argsort(-(directions[cold] @ directions[hot].T), axis=1)[:, :5]]
    assert (nearest % 4 == cold[:, None] % 4).mean() > 0.9
