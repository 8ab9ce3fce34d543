"""The forward pass against the formula written out in Python, one user or many, and on the edges of a history."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval.user_tower
from contracts.feature_encoder import Bag
from retrieval.user_tower import encode_user, encode_users
from tests.toy_world import toy_model

MODEL = toy_model(n_items=60)
SHALLOW = toy_model(n_items=60, hidden=0)
POOLED = toy_model(n_items=60, heads=0)
FOLDED = toy_model(n_items=60, heads=0, crowd=9)


def by_the_formula(model, rows, weights, features=()):
    """The formula of the module's docstring in float64, event by event."""
    tower, items = model.tower, model.items
    newest_first = [(row, w) for row, w in zip(rows, weights, strict=True) if row >= 0][::-1]
    h, squares = np.zeros(items.two_tower.shape[1]), 0.0
    for (row, weight), position in zip(newest_first, tower.positions, strict=False):
        a = float(weight) * float(position)
        h += a * float(items.pool_weight[row]) * items.two_tower[row]
        squares += a * a
    x = h / np.sqrt(squares + 1e-6) + tower.output_bias
    for slot, weight in features:
        x = x + weight * tower.slots[slot]
    if len(tower.depth):
        number = min(len(newest_first), len(tower.positions))
        x = x + tower.depth[[0, 1, 2, 3, 3, *[4] * 4, *[5] * 8, *[6] * 16, *[7] * 32, *[8] * 40][number]]
    x = x + sum((read_by(head, model, newest_first, x) for head in range(len(tower.match))), np.zeros_like(x))
    if len(tower.hidden_bias):
        x = x + np.maximum(x @ tower.hidden_weight + tower.hidden_bias, 0) @ tower.output_weight
    query = x / max(np.linalg.norm(x), 1e-6)
    return climbed(model, newest_first[: len(tower.positions)], query) if len(tower.crowd) and newest_first else query


def climbed(model, newest_first, query):
    """A query after four steps up the likelihood of a history."""
    tower = model.tower
    rows, weights = np.array([row for row, _ in newest_first]), np.array([w for _, w in newest_first], np.float64)
    mean = weights @ model.items.two_tower[rows] / np.abs(weights).sum()
    for _ in range(4):
        likely = np.exp(tower.sharpness * tower.crowd @ query + tower.crowd_bias)
        query = query + tower.stride * (mean - likely / likely.sum() @ tower.crowd)
        query = query / np.linalg.norm(query)
    return query


def read_by(head, model, newest_first, x):
    """What one head makes of a history."""
    tower, total, read = model.tower, 0.0, np.zeros_like(x)
    for (row, weight), recency in zip(newest_first, tower.recency[head].astype(np.float64), strict=False):
        vector = model.items.two_tower[row].astype(np.float64)
        direction = vector / np.linalg.norm(vector)
        share = np.exp(x @ tower.match[head] @ direction + recency)
        read += share * weight * direction
        total += share * abs(weight)
    return read / total @ tower.value[head] if newest_first else read


signed = st.floats(0.125, 4, width=32) | st.floats(-4, -0.125, width=32)
histories = st.lists(st.tuples(st.integers(-1, 59), signed), max_size=120)
slots = st.lists(st.tuples(st.integers(0, 5), st.floats(0.125, 1, width=32)), max_size=4)


@given(histories, slots, st.sampled_from([MODEL, SHALLOW, POOLED, FOLDED]))
@settings(max_examples=200, deadline=None)
def test_one_user_is_the_formula(history, features, model):
    rows, weights = [row for row, _ in history], [weight for _, weight in history]
    encoded = (np.array([s for s, _ in features], np.int32), np.array([w for _, w in features], np.float32))
    vector = encode_user(model.tower, model.items, np.array(rows, np.int32), np.array(weights, np.float32), encoded)
    np.testing.assert_allclose(vector, by_the_formula(model, rows, weights, features), atol=2e-6)
    assert vector.dtype == np.float32


@given(
    st.lists(st.tuples(histories, slots), max_size=8),
    st.sampled_from([1, 50, 1 << 16]),
    st.sampled_from([MODEL, POOLED, FOLDED]),
)
@settings(max_examples=200, deadline=None)
def test_many_users_are_one_after_the_other(users, block, model):
    flat = [event for history, _ in users for event in history]
    rows, weights = np.array([r for r, _ in flat], np.int32), np.array([w for _, w in flat], np.float32)
    offsets = np.cumsum([0, *(len(history) for history, _ in users)])
    pairs = [pair for _, features in users for pair in features]
    bag = Bag(
        np.array([s for s, _ in pairs], np.int32),
        np.array([w for _, w in pairs], np.float32),
        np.cumsum([0, *(len(features) for _, features in users)]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval.user_tower, "BLOCK_EVENTS", block)
        patch.setattr(retrieval.user_tower, "FOLDED_AT_ONCE", block)
        vectors = encode_users(model.tower, model.items, rows, weights, offsets, bag)
    assert vectors.shape == (len(users), 16)
    for user, (start, end) in enumerate(pairwise(offsets)):
        one = slice(bag.offsets[user], bag.offsets[user + 1])
        expected = encode_user(
            model.tower, model.items, rows[start:end], weights[start:end], (bag.slots[one], bag.weights[one])
        )
        np.testing.assert_allclose(vectors[user], expected, atol=2e-6)


def test_where_no_event_weighs_anything_no_head_says_anything():
    rows, nothing = np.arange(5, dtype=np.int32), np.zeros(5, np.float32)
    tower = replace(MODEL.tower, depth=np.zeros_like(MODEL.tower.depth))
    expected = encode_user(tower, MODEL.items, rows[:0], nothing[:0])
    np.testing.assert_allclose(encode_user(tower, MODEL.items, rows, nothing), expected, atol=1e-6)
    bag = Bag(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(2, int))
    many = encode_users(tower, MODEL.items, rows, nothing, np.array([0, 5]), bag)
    np.testing.assert_allclose(many[0], expected, atol=1e-6)


def test_a_user_of_whom_nothing_is_known_is_the_bias():
    vector = encode_user(SHALLOW.tower, SHALLOW.items, np.empty(0, np.int32), np.empty(0, np.float32))
    bias = SHALLOW.tower.output_bias + SHALLOW.tower.depth[0]
    np.testing.assert_allclose(vector, bias / np.linalg.norm(bias), rtol=1e-5)


def test_a_tower_that_says_nothing_gives_zeros_not_nan():
    silent = replace(SHALLOW.tower, output_bias=np.zeros(16, np.float32), depth=np.zeros((9, 16), np.float32))
    vector = encode_user(silent, SHALLOW.items, np.empty(0, np.int32), np.empty(0, np.float32))
    assert not vector.any()


def test_events_beyond_the_positions_are_not_read():
    read = len(MODEL.tower.positions)
    rows = np.arange(read + 10, dtype=np.int32) % 60
    weights = np.ones(len(rows), np.float32)
    whole = encode_user(MODEL.tower, MODEL.items, rows, weights)
    np.testing.assert_array_equal(whole, encode_user(MODEL.tower, MODEL.items, rows[10:], weights[10:]))
    assert np.abs(whole - encode_user(MODEL.tower, MODEL.items, rows[11:], weights[11:])).max() > 1e-7


def test_an_unknown_item_takes_no_position():
    rows, weights = np.array([3, -1, 8, -1], np.int32), np.ones(4, np.float32)
    known = encode_user(MODEL.tower, MODEL.items, rows[[0, 2]], weights[:2])
    np.testing.assert_array_equal(encode_user(MODEL.tower, MODEL.items, rows, weights), known)
