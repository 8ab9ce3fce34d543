"""The slice: after what was trained on, small, in two halves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from contracts.errors import NotEnoughData
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, TimeMeaning
from training_job.validation import NEWEST_SHARE, SLICE_USERS_SHARE, hold_out, mean_ndcg, tuning_users

TIMES = [TimeMeaning.TIMESTAMP, TimeMeaning.ORDER, TimeMeaning.NONE]


@pytest.mark.parametrize("time", TIMES)
def test_the_slice_is_new_to_its_users_and_apart_from_training(clustered, time):
    world = clustered(n_users=400, n_items=80, per_user=12, time=time)
    validation = hold_out(world.interactions, world.schema, world.user_ids, 0)
    train = validation.train
    assert len(train) < len(world.interactions)
    for split in (validation.tuning, validation.judging):
        assert len(split.judged) > 30
        for user in split.judged:
            assert not set(split.test.items[split.test.of(user)]) & set(train.items[train.of(user)])
    assert not set(validation.tuning.judged) & set(validation.judging.judged)


def test_time_is_cut_once_for_all(clustered):
    world = clustered(n_users=400, per_user=12)
    validation = hold_out(world.interactions, world.schema, world.user_ids, 0)
    assert validation.train.times.max() <= validation.tuning.cut
    assert validation.tuning.test.times.min() > validation.tuning.cut
    assert len(validation.train) >= (1 - NEWEST_SHARE[1]) * len(world.interactions) - 1


def test_order_holds_out_the_last_event_of_some(clustered):
    world = clustered(n_users=400, per_user=12, time=TimeMeaning.ORDER)
    validation = hold_out(world.interactions, world.schema, world.user_ids, 0)
    lost = world.interactions.lengths - validation.train.lengths
    assert set(lost.tolist()) == {0, 1}
    assert lost.sum() == SLICE_USERS_SHARE * 400


def test_sets_lose_a_fifth_of_some_users(clustered):
    world = clustered(n_users=400, per_user=10, time=TimeMeaning.NONE)
    validation = hold_out(world.interactions, world.schema, world.user_ids, 0)
    lost = world.interactions.lengths - validation.train.lengths
    assert set(lost.tolist()) == {0, 2}


def test_the_halves_go_by_the_user_id(clustered):
    """The same user tunes, or judges, whatever other users there are."""
    world, larger = clustered(n_users=200), clustered(n_users=400)
    tuned, judged = (set(half.judged) for half in _halves(world))
    tuned_later, judged_later = (set(half.judged) for half in _halves(larger))
    assert not tuned & judged_later
    assert not judged & tuned_later


def _halves(world):
    validation = hold_out(world.interactions, world.schema, world.user_ids, 0)
    return validation.tuning, validation.judging


def test_one_event_each_cannot_be_validated():
    events = Interactions.from_events(np.arange(9), np.arange(9), np.arange(9), np.ones(9), 9, 9)
    with pytest.raises(NotEnoughData):
        hold_out(events, DatasetSchema(time=TimeMeaning.ORDER), pl.Series([str(n) for n in range(9)]), 0)


def test_ndcg_of_the_perfect_and_the_worst_scorer(clustered):
    world = clustered(n_users=200, time=TimeMeaning.ORDER)
    split = hold_out(world.interactions, world.schema, world.user_ids, 0).tuning
    users = tuning_users(split, np.random.default_rng(0))
    right = np.full(world.interactions.n_users, -1)
    right[split.judged] = split.test.items[split.test.offsets[split.judged]]

    def scorer(sign):
        return lambda some: (
            sign * torch.nn.functional.one_hot(torch.from_numpy(right[some]), world.interactions.n_items).float()
        )

    assert mean_ndcg(scorer(1.0), split, users) == pytest.approx(1.0)
    assert mean_ndcg(scorer(-1.0), split, users) == pytest.approx(0.0, abs=1e-9)
