"""What training is shown: the past before the future, each new item once, everything of a user in the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.interactions import Interactions
from training_job.batches import Horizon, MaskedSets, Newcomers, NextItems, first_touches, ragged

N_ITEMS = 7


@st.composite
def histories(draw):
    """A few users, each with a list of (item, weight)."""
    event = st.tuples(st.integers(0, N_ITEMS - 1), st.sampled_from([0.0, 1.0, 2.0]))
    users = draw(st.lists(st.lists(event, max_size=12), min_size=1, max_size=6))
    owners = np.repeat(np.arange(len(users)), [len(user) for user in users])
    flat = [event for user in users for event in user]
    items, weights = [item for item, _ in flat], [weight for _, weight in flat]
    return Interactions.from_events(
        owners, np.array(items, int), np.arange(len(flat)), np.array(weights), len(users), N_ITEMS
    )


@given(histories())
def test_first_touches_are_first_and_positive(events):
    touched, users = first_touches(events), events.users
    seen = set()
    for number, (user, item, weight) in enumerate(zip(users, events.items, events.weights, strict=True)):
        assert touched[number] == (weight > 0 and (user, item) not in seen)
        if weight > 0:
            seen.add((user, item))


@settings(max_examples=200)
@given(histories(), st.integers(1, 4), st.integers(1, 5), st.sampled_from([0.0, 0.5]), st.integers(0, 99))
def test_a_moment_shows_the_past_and_asks_for_the_next_new_items(events, window, limit, gap_power, seed):
    touched = first_touches(events)
    sampler = NextItems(events, limit, Horizon(window, 0.5, gap_power), batch=3)
    drawn = list(sampler.epoch(np.random.default_rng(seed)))
    users = np.concatenate([examples.users for examples in drawn]) if drawn else np.empty(0)
    assert sorted(users) == [user for user in range(events.n_users) if touched[events.of(user)].any()]
    for examples in drawn:
        ends = np.cumsum(examples.history_lengths)
        for number, user in enumerate(examples.users):
            span, own = events.of(user), examples.target_owners == number
            new = [int(item) for item in events.items[span][touched[span]]]
            targets = examples.targets[own].tolist()
            first = new.index(targets[0])
            assert targets == new[first : first + window]
            assert np.all(np.diff(examples.target_weights[own] / _weights(events, span, touched, first, window)) < 0)
            end = np.flatnonzero(touched[span])[first]
            past = events.items[span][max(0, end - limit) : end]
            history = slice(ends[number] - examples.history_lengths[number], ends[number])
            assert examples.history[history].tolist() == past.tolist()
            assert examples.history_positions[history].tolist() == list(range(len(past)))[::-1]


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 4), st.integers(1, 5), st.sampled_from([0.5, 1.0]), st.integers(0, 99))
def test_newcomers_are_shown_beside_the_moments_by_a_few_of_their_items(events, known, targets, share, seed):
    newcomers = Newcomers(share, known, targets, weight=2.0)
    plain = NextItems(events, 5, Horizon(3, 0.5, 0.0), batch=3)
    sampler = NextItems(events, 5, Horizon(3, 0.5, 0.0), batch=3, newcomers=newcomers)
    touched, moments = first_touches(events), [len(e.users) for e in plain.epoch(np.random.default_rng(seed))]
    for examples, n_moments in zip(sampler.epoch(np.random.default_rng(seed)), moments, strict=True):
        again = examples.users[n_moments:]
        assert again.tolist() == examples.users[: round(share * n_moments)].tolist()
        ends = np.cumsum(examples.history_lengths)
        for number, user in enumerate(again, start=n_moments):
            span, own = events.of(user), examples.target_owners == number
            liked = dict(zip(events.items[span][touched[span]], events.weights[span][touched[span]], strict=True))
            history = slice(ends[number] - examples.history_lengths[number], ends[number])
            shown, asked = examples.history[history].tolist(), examples.targets[own].tolist()
            assert len(shown) <= min(known, len(liked) - 1)
            assert len(asked) == min(targets, len(liked) - len(shown))
            assert len({*shown, *asked}) == len(shown) + len(asked)
            assert {*shown, *asked} <= set(liked)
            assert examples.history_positions[history].tolist() == list(range(len(shown)))[::-1]
            assert examples.history_weights[history].tolist() == [liked[item] for item in shown]
            mean = np.mean([liked[item] for item in asked])
            assert np.isclose(examples.target_weights[own].sum(), 2.0 * (1 + 0.5 + 0.25) * mean)


def test_any_number_of_items_of_a_newcomer_is_as_likely_and_any_item_is_shown():
    events = Interactions.from_events(np.zeros(6, int), np.arange(6), np.arange(6), np.ones(6), 1, 6)
    sampler = NextItems(events, 5, Horizon(1, 1.0, 0.0), 1, Newcomers(1.0, 3, 2, 1.0))
    random, lengths, shown = np.random.default_rng(0), [], []
    for _ in range(3_000):
        (examples,) = sampler.epoch(random)
        lengths.append(int(examples.history_lengths[1]))
        shown += examples.history[examples.history_lengths[0] :].tolist()
    np.testing.assert_allclose(np.bincount(lengths) / len(lengths), 0.25, atol=0.03)
    np.testing.assert_allclose(np.bincount(shown) / len(shown), 1 / 6, atol=0.03)


def _weights(events, span, touched, first, window):
    return events.weights[span][touched[span]][first : first + window]


@given(histories(), st.integers(0, 99))
def test_a_set_asks_for_all_of_a_user_and_shows_a_part(events, seed):
    for examples in MaskedSets(events, 100, 0.4, batch=2).epoch(np.random.default_rng(seed)):
        ends = np.cumsum(examples.history_lengths)
        for number, user in enumerate(examples.users):
            span, own = events.of(user), examples.target_owners == number
            liked = events.items[span][first_touches(events)[span]]
            assert sorted(examples.targets[own]) == sorted(liked)
            shown = examples.history[ends[number] - examples.history_lengths[number] : ends[number]]
            assert set(shown) <= set(liked)
            assert np.isclose(examples.target_weights[own].sum(), _total(events, span) / np.sqrt(len(liked)))


def _total(events, span):
    return events.weights[span][first_touches(events)[span]].sum()


@pytest.mark.parametrize("kept", [0.4, 1.0])
def test_a_set_of_a_thousand_shows_no_more_than_the_tower_reads(kept):
    events = Interactions.from_events(np.zeros(1000, int), np.arange(1000), np.zeros(1000, int), np.ones(1000), 1, 1000)
    (examples,) = MaskedSets(events, 100, kept, batch=4).epoch(np.random.default_rng(0))
    assert 60 < len(examples.history) < 140
    assert len(examples.targets) == 1000


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=10))
def test_ragged_ranges(ranges):
    starts, lengths = np.array([r[0] for r in ranges], int), np.array([r[1] for r in ranges], int)
    expected = [value for start, length in ranges for value in range(start, start + length)]
    assert ragged(starts, lengths).tolist() == expected


@pytest.mark.parametrize(
    ("gap_power", "expected"), [(0.0, [1, 1, 1, 1]), (1.0, [1, 10, 90, 5]), (0.5, [1, 10**0.5, 90**0.5, 5**0.5])]
)
def test_moments_are_drawn_by_the_pause_before_them(gap_power, expected):
    events = Interactions.from_events(
        np.zeros(4, int), np.arange(4), np.array([1_000, 1_010, 1_100, 1_105]), np.ones(4), 1, 4
    )
    sampler, random = NextItems(events, 10, Horizon(1, 1.0, gap_power), 1), np.random.default_rng(0)
    drawn = np.concatenate([next(sampler.epoch(random)).targets for _ in range(4_000)])
    chances = np.array([1, 10, 90, 5]) ** gap_power
    shares = chances / chances.sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4_000, shares, atol=0.03)
