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


@settings(max_examples=200, deadline=None)
@given(
    histories(),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 99),
)
def test_a_moment_knows_its_past_and_asks_for_the_next_new_items(events, window, limit, asked, gap_power, seed):
    touched = first_touches(events)
    sampler = NextItems(events, limit, Horizon(window, 0.5, gap_power, asked), batch=3)
    drawn = list(sampler.epoch(np.random.default_rng(seed)))
    users = np.concatenate([examples.users for examples in drawn]) if drawn else np.empty(0)
    assert sorted(users) == [user for user in range(events.n_users) if touched[events.of(user)].any()]
    for examples in drawn:
        ends = np.cumsum(examples.history_lengths)
        of_moments = examples.known()
        for number, user in enumerate(examples.users):
            span = events.of(user)
            new, at = events.items[span][touched[span]].tolist(), np.flatnonzero(touched[span])
            start = ends[number] - examples.history_lengths[number]
            moments = np.flatnonzero(examples.owners == number)
            assert 1 <= len(moments) <= asked
            assert len(set(examples.ends[moments])) == len(moments)
            for moment in moments:
                own = examples.target_moments == moment
                targets = examples.targets[own].tolist()
                first = new.index(targets[0])
                assert targets == new[first : first + window]
                assert np.all(
                    np.diff(examples.target_weights[own] / _weights(events, span, touched, first, window)) < 0
                )
                past = examples.history[start : start + examples.ends[moment]].tolist()
                assert past == events.items[span][at[first] - len(past) : at[first]].tolist()
                assert len(past) > 0 or at[first] == 0
                assert len(past) <= limit
                assert of_moments[1][of_moments[0] == moment].tolist() == list(range(start, start + len(past)))
            assert max(examples.ends[moments]) == examples.history_lengths[number] or asked < len(new)


def test_any_window_of_a_long_history_is_shown_and_a_short_one_whole():
    lengths = np.array([12, 3])
    events = Interactions.from_events(np.repeat([0, 1], lengths), np.arange(15), np.arange(15), np.ones(15), 2, 15)
    sampler, random = NextItems(events, 4, Horizon(1, 1.0, 0.0, 100), 2), np.random.default_rng(0)
    shown = set()
    for _ in range(300):
        (examples,) = sampler.epoch(random)
        parts = np.split(examples.history, np.cumsum(examples.history_lengths))
        long, short = (parts[list(examples.users).index(user)].tolist() for user in (0, 1))
        assert short == [12, 13]
        assert long == list(range(long[0], long[0] + 4))
        shown.add(long[0])
    assert shown == set(range(8))


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 4), st.integers(1, 5), st.sampled_from([0.5, 1.0]), st.integers(0, 99))
def test_newcomers_are_shown_beside_the_moments_by_a_few_of_their_items(events, known, targets, share, seed):
    newcomers, horizon = Newcomers(share, known, targets, weight=2.0), Horizon(3, 0.5, 0.0, 100)
    plain = NextItems(events, 5, horizon, batch=3)
    sampler = NextItems(events, 5, horizon, batch=3, newcomers=newcomers)
    touched, batches = first_touches(events), list(plain.epoch(np.random.default_rng(seed)))
    for place, (examples, moments) in enumerate(zip(sampler.epoch(np.random.default_rng(seed)), batches, strict=True)):
        n_windows, n_moments = len(moments.users), len(moments.ends)
        again = examples.users[n_windows:]
        if place == 0:  # of the first batch the users are the same; later draws differ
            assert again.tolist() == moments.users[: round(share * n_windows)].tolist()
        ends = np.cumsum(examples.history_lengths)
        first = len(examples.ends) - len(again)
        for number, user in enumerate(again, start=n_windows):
            span, own = events.of(user), examples.target_moments == first + number - n_windows
            liked = dict(zip(events.items[span][touched[span]], events.weights[span][touched[span]], strict=True))
            history = slice(ends[number] - examples.history_lengths[number], ends[number])
            shown, asked = examples.history[history].tolist(), examples.targets[own].tolist()
            assert len(shown) <= min(known, len(liked) - 1)
            assert examples.ends[first + number - n_windows] == len(shown)
            assert len(asked) == min(targets, len(liked) - len(shown))
            assert len({*shown, *asked}) == len(shown) + len(asked)
            assert {*shown, *asked} <= set(liked)
            assert examples.history_weights[history].tolist() == [liked[item] for item in shown]
        of_newcomers = examples.target_moments >= first
        total = examples.target_weights[~of_newcomers].sum()
        assert len(again) == 0 or np.isclose(examples.target_weights[of_newcomers].sum(), 2.0 * total)
        assert place or first == n_moments


def test_few_items_of_a_newcomer_are_likelier_than_many_and_any_item_is_shown():
    events = Interactions.from_events(np.zeros(6, int), np.arange(6), np.arange(6), np.ones(6), 1, 6)
    sampler = NextItems(events, 5, Horizon(1, 1.0, 0.0, 100), 1, Newcomers(1.0, 3, 2, 1.0))
    random, lengths, shown = np.random.default_rng(0), [], []
    for _ in range(3_000):
        (examples,) = sampler.epoch(random)
        lengths.append(int(examples.history_lengths[1]))
        shown += examples.history[examples.history_lengths[0] :].tolist()
    shares = np.diff(np.sqrt(np.arange(5) / 4))  # of squared uniform draws below 1/4, 2/4, 3/4, 1
    np.testing.assert_allclose(np.bincount(lengths) / len(lengths), shares, atol=0.03)
    np.testing.assert_allclose(np.bincount(shown) / len(shown), 1 / 6, atol=0.03)


def _weights(events, span, touched, first, window):
    return events.weights[span][touched[span]][first : first + window]


@given(histories(), st.integers(0, 99))
def test_a_set_asks_for_all_of_a_user_and_shows_a_part(events, seed):
    for examples in MaskedSets(events, 100, 0.4, batch=2).epoch(np.random.default_rng(seed)):
        ends = np.cumsum(examples.history_lengths)
        for number, user in enumerate(examples.users):
            span, own = events.of(user), examples.target_moments == number
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
    sampler, random = NextItems(events, 10, Horizon(1, 1.0, gap_power, 1), 1), np.random.default_rng(0)
    drawn = np.concatenate([next(sampler.epoch(random)).targets for _ in range(4_000)])
    chances = np.array([1, 10, 90, 5]) ** gap_power
    shares = chances / chances.sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 4_000, shares, atol=0.03)
