"""The length of an item of which training has never heard: it is given its places, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data_sources.indexed import IndexedDataset
from tests.training_job.conftest import Maker
from training_job.fit import begun, fit
from training_job.new_item_length import _best, _length_at, new_item_length
from training_job.settings import Effort, TrainingSettings

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)


def test_a_share_of_the_places_is_hit_by_counting() -> None:
    """Beside old ones of scores 2 and 1, new ones of .5 and .4: one of two places from a length of 2, both from 5."""
    old, new = torch.tensor([[2.0, 1.0]] * 10), torch.tensor([[0.5, 0.4]] * 10)
    assert _length_at(old, new, 0.01) == pytest.approx(2.0, rel=1e-3)
    assert _length_at(old, new, 0.75) == pytest.approx(5.0, rel=1e-3)


def test_who_points_away_is_given_no_place_by_length() -> None:
    old, new = torch.tensor([[1.0]]), torch.tensor([[-0.5]])
    assert _length_at(old, new, 0.5) == pytest.approx(50.0, rel=1e-3)


def test_what_a_user_has_competes_for_nothing(clustered: Maker) -> None:
    events = clustered(n_users=4, n_items=12, per_user=3).interactions
    queries, vectors = torch.ones(4, 1), torch.arange(12.0).unsqueeze(1)
    best = _best(queries, vectors, events, np.arange(4), None)
    for user, scores in enumerate(best.tolist()):
        had = set(events.items[events.of(user)].tolist())
        assert scores[: 12 - len(had)] == [float(n) for n in range(11, -1, -1) if n not in had]
    some = np.array([2, 7])
    among = _best(queries, vectors[some], events, np.arange(4), some)
    for user, scores in enumerate(among.tolist()):
        had = set(events.items[events.of(user)].tolist())
        assert [s for s in scores if s > -1] == [float(n) for n in (7, 2) if n not in had]


@pytest.fixture(scope="module")
def world(clustered: Maker) -> IndexedDataset:
    return clustered(n_users=400, n_items=240, per_user=40, n_cold=0)


def test_new_items_take_their_places_up_to_the_length_of_the_most_popular(world: IndexedDataset) -> None:
    with begun(world, world.interactions, QUICK) as training:
        stepper, _ = training.stepper()
        training.train(stepper)
        events, users = training.validation.train, training.tuners
        length, hot = new_item_length(stepper, events, users, seed=0), stepper.data.counts.item_events >= 5
        assert length is not None
        assert 0.5 < length <= float(stepper.norms[torch.from_numpy(hot)].max())
        stepper.norms = stepper.norms * 3
        longer = new_item_length(stepper, events, users, seed=0)
        assert longer == pytest.approx(3 * length, rel=1e-3)


def test_without_content_or_with_few_items_nothing_is_told(clustered: Maker) -> None:
    for small in (clustered(features=False), clustered(n_items=30, n_cold=0)):
        with begun(small, small.interactions, QUICK) as training:
            stepper, _ = training.stepper()
            assert new_item_length(stepper, training.validation.train, training.tuners, seed=0) is None


def test_a_release_says_what_was_chosen(world: IndexedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def spied(*arguments: Any) -> float | None:
        told.append(new_item_length(*arguments))
        return told[-1]

    monkeypatch.setattr("training_job.fit.new_item_length", spied)
    fitted = fit(world, world.interactions, replace(QUICK, seed=1))
    assert fitted.model.tower.cold_norm == fitted.report["new_item_length"] == told[0]
