"""Filters against the raw features of the toy world, and every way of asking wrongly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import RequestInvalid
from contracts.request import Range
from retrieval.filters import ItemFilters, invert
from tests.toy_world import DAY, NOW, TAGS, toy_model

MODEL = toy_model()
FILTERS = ItemFilters(MODEL.item_encoder, MODEL.items)
ROWS = np.arange(200)
PRICE = ROWS % 20
HAS = {tag: (ROWS >> bit & 1).astype(bool) for bit, tag in enumerate(TAGS)}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"genre": "cars"}, ROWS % 5 == 2),
        ({"genre": ["art", "eggs"]}, np.isin(ROWS % 5, [0, 4])),
        ({"tags": "red"}, HAS["red"]),
        ({"tags": ["red", "old"]}, HAS["red"] | HAS["old"]),
        ({"price": Range(gte=5, lte=7)}, (PRICE >= 5) & (PRICE <= 7)),
        ({"price": Range(lte=0)}, PRICE == 0),
        ({"price": Range(gte=7, lte=5)}, np.zeros(200, bool)),
        ({"published": Range(gte=NOW - 2 * DAY)}, ROWS >= 180),
        ({"genre": "cars", "tags": "big", "price": Range(gte=10)}, (ROWS % 5 == 2) & HAS["big"] & (PRICE >= 10)),
        ({"genre": "unseen"}, np.zeros(200, bool)),
        ({"genre": ["unseen", "cars"]}, ROWS % 5 == 2),
    ],
)
def test_a_filter_lets_through_what_matches(filters, expected):
    np.testing.assert_array_equal(FILTERS.mask(filters), expected)


def test_no_filter_is_no_mask():
    assert FILTERS.mask({}) is None


def test_a_missing_number_passes_no_range():
    numbers = MODEL.items.numbers.copy()
    numbers[3, 0] = np.nan
    items = replace(MODEL.items, numbers=numbers)
    mask = ItemFilters(MODEL.item_encoder, items).mask({"price": Range(gte=-1e9)})
    assert (~mask).nonzero()[0].tolist() == [3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonsense", "x"),
        ("title", "toy"),
        ("genre", Range(gte=1)),
        ("tags", Range(gte=1)),
        ("price", "cheap"),
        ("price", ["5"]),
        ("price", Range()),
        ("published", "yesterday"),
    ],
)
def test_a_filter_that_the_items_cannot_answer_is_named(name, value):
    with pytest.raises(RequestInvalid) as caught:
        FILTERS.mask({"genre": "cars", name: value})
    assert caught.value.field == f"filters.{name}"
    assert caught.value.fix


def test_items_without_features_can_be_filtered_by_nothing():
    model = toy_model(featureless=True)
    with pytest.raises(RequestInvalid, match="no item feature"):
        ItemFilters(model.item_encoder, model.items).mask({"genre": "cars"})


@pytest.mark.parametrize("n_keys", [3, 70_000])
def test_postings_hold_every_owner_once_in_order(n_keys):
    rng = np.random.default_rng(0)
    keys, owners = rng.integers(0, n_keys, 5_000), np.arange(5_000, dtype=np.int32)
    postings = invert(keys, owners, n_keys)
    for key in (0, 1, n_keys - 1, int(keys[17])):
        np.testing.assert_array_equal(postings.of(key), owners[keys == key])
    assert postings.offsets[-1] == 5_000
