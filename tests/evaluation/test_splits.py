"""No protocol lets a model see what it is judged on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import NotEnoughData, SplitImpossible
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, TimeMeaning
from evaluation.pairs import pair_keys
from evaluation.splits import (
    Split,
    cold_user_fold,
    cold_users,
    given_split,
    global_time_cut,
    leave_last_out,
    random_hold_out,
)

TIMED, ORDERED, UNORDERED = (DatasetSchema(time=meaning) for meaning in TimeMeaning)


@st.composite
def worlds(draw: st.DrawFn) -> Interactions:
    """Small worlds with ties in time, repeated items, users without events and one-event users."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    event = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1), st.integers(0, 9))
    events = np.array(draw(st.lists(event, min_size=1, max_size=40)))
    users, items, times = events.T
    return Interactions.from_events(users, items, times, np.ones(len(events)), n_users, n_items)


def check_no_leak(split: Split, whole: Interactions) -> None:
    """What holds for every protocol."""
    train, test = pair_keys(split.train), pair_keys(split.test)
    assert len(test) > 0
    assert len(np.unique(test)) == len(test)
    assert not np.isin(test, train).any(), "a target that training has seen"
    assert not np.isin(test, pair_keys(split.known)).any(), "a target that is never ranked"
    assert np.isin(train, pair_keys(whole)).all()
    assert np.isin(test, pair_keys(whole)).all()
    for part in (split.train, split.test, split.histories, split.known):
        assert (part.n_users, part.n_items) == (whole.n_users, whole.n_items)
    assert set(split.judged) == set(split.test.users)


@given(worlds(), st.floats(0.01, 0.9))
def test_global_time_cut_puts_every_training_event_before_every_test_event(world: Interactions, share: float) -> None:
    try:
        split = global_time_cut(world, TIMED, share)
    except NotEnoughData:
        return
    check_no_leak(split, world)
    assert split.cut is not None
    assert split.train.times.max() == split.cut < split.test.times.min()
    assert len(split.train) == np.count_nonzero(world.times <= split.cut)


@given(worlds())
def test_leave_last_out_holds_out_one_event_newer_than_the_rest(world: Interactions) -> None:
    try:
        split = leave_last_out(world, ORDERED)
    except NotEnoughData:
        return
    check_no_leak(split, world)
    assert (split.test.lengths <= 1).all()
    assert (split.train.lengths[world.lengths >= 2] == world.lengths[world.lengths >= 2] - 1).all()
    for user in split.judged:
        assert split.train.times[split.train.of(user)].max() <= split.test.times[split.test.of(user)].min()


@given(worlds(), st.data())
def test_given_split_keeps_the_mask(world: Interactions, data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(world), max_size=len(world))))
    try:
        split = given_split(world, mask)
    except NotEnoughData:
        return
    check_no_leak(split, world)
    assert len(split.train) == np.count_nonzero(~mask)


@given(worlds(), st.integers(0, 3))
def test_random_hold_out_leaves_every_judged_user_something(world: Interactions, seed: int) -> None:
    try:
        split = random_hold_out(world, seed=seed)
    except NotEnoughData:
        return
    check_no_leak(split, world)
    assert (split.train.lengths[split.judged] > 0).all()


@given(worlds(), st.integers(0, 3))
def test_cold_users_compare_across_supports(world: Interactions, seed: int) -> None:
    try:
        splits = cold_users(world, 0.5, (0, 1, 3), seed)
    except NotEnoughData:
        return
    first = splits[0]
    for k, split in splits.items():
        check_no_leak(split, world)
        assert (split.train.lengths[split.judged] == 0).all(), "a held-out user is in training"
        assert (split.histories.lengths[split.judged] == k).all()
        assert (split.known.lengths[split.judged] == 3).all(), "another mask for another k"
        assert np.array_equal(pair_keys(split.test), pair_keys(first.test))
    assert np.isin(pair_keys(splits[1].histories), pair_keys(splits[3].histories)).all()


@given(worlds(), st.integers(0, 3))
def test_every_user_that_can_be_held_out_is_in_one_fold(world: Interactions, seed: int) -> None:
    held: list[int] = []
    for fold in range(3):
        try:
            splits = cold_user_fold(world, fold, 3, (0, 2), seed)
        except NotEnoughData:
            continue
        for split in splits.values():
            check_no_leak(split, world)
            assert (split.train.lengths[split.judged] == 0).all(), "a held-out user is in training"
        held += splits[2].judged.tolist()
    assert len(held) == len(set(held))
    distinct = [len(set(world.items[world.of(user)].tolist())) for user in range(world.n_users)]
    assert set(held) <= {user for user, number in enumerate(distinct) if number > 2}


def test_folds_show_a_user_the_same_items_and_leave_nobody_out() -> None:
    users, items = np.divmod(np.arange(60), 6)
    world = Interactions.from_events(users, items, items, np.ones(60), 10, 6)
    folds = [cold_user_fold(world, fold, 5, (0, 3), seed=1)[3] for fold in range(5)]
    assert sorted(np.concatenate([split.judged for split in folds]).tolist()) == list(range(10))
    assert {len(split.judged) for split in folds} == {2}
    (whole,) = (cold_user_fold(world, 0, 2, (0, 3), seed=1)[3],)
    for split in folds:
        for user in set(split.judged) & set(whole.judged):
            shown, again = split.histories, whole.histories
            assert shown.items[shown.of(user)].tolist() == again.items[again.of(user)].tolist()
    with pytest.raises(NotEnoughData, match="too few for 20 folds"):
        cold_user_fold(world, 15, 20, (0, 3))


def hand_world() -> Interactions:
    """User 0: items 0 1 2 at 1 2 9; user 1: 3 3 at 2 9; user 2: 4 at 9."""
    users, items, times = np.array([[0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 3, 4], [1, 2, 9, 2, 9, 9]])
    return Interactions.from_events(users, items, times, np.ones(6), 4, 5)


def test_a_repeat_is_no_target_and_a_new_user_is_judged() -> None:
    split = global_time_cut(hand_world(), TIMED, 0.5)
    assert split.cut == 2
    assert list(zip(split.test.users, split.test.items, strict=True)) == [(0, 2), (2, 4)]


def test_ties_at_the_cut_stay_in_training() -> None:
    """Half of six events are newer than the third; the three newest share one second."""
    assert len(global_time_cut(hand_world(), TIMED, 0.17).train) == 3


def test_leave_last_out_skips_users_with_one_event() -> None:
    split = leave_last_out(hand_world(), TIMED)
    assert list(zip(split.test.users, split.test.items, strict=True)) == [(0, 2)]
    assert split.train.lengths.tolist() == [2, 1, 1, 0]


def test_protocols_say_what_they_need() -> None:
    with pytest.raises(SplitImpossible, match="time = timestamp"):
        global_time_cut(hand_world(), ORDERED)
    with pytest.raises(SplitImpossible, match="order"):
        leave_last_out(hand_world(), UNORDERED)
    with pytest.raises(SplitImpossible, match="no given split"):
        given_split(hand_world(), None)
    with pytest.raises(NotEnoughData, match="one time"):
        global_time_cut(hand_world().select(np.array([0, 0, 1, 0, 1, 1], bool)), TIMED)
    with pytest.raises(NotEnoughData, match="more than 10"):
        cold_users(hand_world())
