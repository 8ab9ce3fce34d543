"""The two endpoints that need no user: likeness from vectors and texts, and popularity tables as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.candidates import Degraded, Source
from contracts.errors import IndexUnavailable
from contracts.fitted import RankedLists
from contracts.segments import GLOBAL_KEY, category_key, segment_key
from contracts.slate import Route
from retrieval.eligibility import servable
from retrieval.opened import open_model
from retrieval.popular import popular_items
from retrieval.similar import CONTENT_WEIGHT, similar_items
from tests.toy_world import NOW, toy_model

OPEN = open_model(toy_model())
BARE = open_model(toy_model(featureless=True))


@pytest.mark.parametrize("model", [OPEN, BARE])
@pytest.mark.parametrize("row", [0, 3, 42, 199])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_similar_items_are_full_unique_and_never_the_item(model, row, k):
    candidates = similar_items(model, row, k, NOW)
    rows = candidates.rows.tolist()
    assert (len(rows), len(set(rows))) == (k, k)
    assert row not in rows
    assert (np.diff(candidates.scores) <= 0).all()
    assert candidates.route == Route.SIMILAR


def test_likeness_is_the_blend_of_both_cosines():
    candidates = similar_items(OPEN, 42, 5, NOW)
    unit = OPEN.items.two_tower / np.linalg.norm(OPEN.items.two_tower, axis=1, keepdims=True)
    cosine = unit @ unit[42]
    np.testing.assert_allclose(candidates.parts["cosine"], cosine[candidates.rows], rtol=1e-5)
    content = dict(zip(OPEN.fitted.content.neighbours[42], OPEN.fitted.content.similarities[42], strict=True))
    content |= dict(zip(OPEN.cold.rows[42], OPEN.cold.similarities[42], strict=True))
    expected = [CONTENT_WEIGHT * content.get(r, 0) + (1 - CONTENT_WEIGHT) * cosine[r] for r in candidates.rows]
    np.testing.assert_allclose(candidates.scores, expected, rtol=1e-5)
    assert (OPEN.items.category[candidates.rows] == 42 % 5).all()


def test_norms_do_not_decide_likeness():
    """A popular item has a longer vector; likeness looks at directions."""
    vectors = OPEN.items.two_tower.copy()
    vectors[0] *= 3
    fitted = replace(OPEN.fitted, items=replace(OPEN.items, two_tower=vectors), golden=[])
    longer = similar_items(open_model(fitted), 42, 20, NOW)
    plain = similar_items(OPEN, 42, 20, NOW)
    assert longer.rows.tolist() == plain.rows.tolist()


def test_a_cold_item_follows_its_texts():
    neighbours = OPEN.fitted.content.neighbours[190]
    candidates = similar_items(OPEN, 190, 5, NOW)
    assert set(candidates.rows.tolist()) <= set(neighbours.tolist())
    assert (candidates.sources == Source.CONTENT).all()


def test_similar_items_are_eligible():
    troubled = open_model(toy_model(unavailable=range(0, 200, 2), expired=range(1, 50, 2)))
    rows = similar_items(troubled, 77, 100, NOW).rows
    assert sorted(rows.tolist()) == [row for row in range(51, 200, 2) if row != 77]


def test_similar_falls_back_to_the_embedded_vectors():
    class Silent:
        def search(self, model_name, query, k, mask, deadline):
            raise IndexUnavailable("no answer")

    candidates = similar_items(OPEN, 42, 5, NOW, Silent())
    assert candidates.degraded == (Degraded.INDEX_UNAVAILABLE,)
    assert candidates.rows.tolist() == similar_items(OPEN, 42, 5, NOW).rows.tolist()


@pytest.mark.parametrize(
    ("options", "key", "first"),
    [
        ({}, GLOBAL_KEY, [0, 1, 2]),
        ({"category": "cars"}, category_key("cars"), [2, 7, 12]),
        ({"segment": {"gender": "M"}}, segment_key(["gender"], ["M"]), [1, 6, 0]),
        ({"segment": {"gender": "unseen"}}, GLOBAL_KEY, [0, 1, 2]),
    ],
)
def test_a_popularity_table_is_served_as_it_is(options, key, first):
    candidates = popular_items(OPEN, 3, NOW, **options)
    assert candidates.rows.tolist() == first
    assert candidates.segment == key
    np.testing.assert_array_equal(candidates.parts["popularity"], OPEN.fitted.popularity.get(key)[1][:3])


def test_an_unknown_category_has_no_items():
    candidates = popular_items(OPEN, 3, NOW, category="unseen")
    assert (len(candidates.rows), candidates.segment) == (0, None)


def test_a_short_segment_is_filled_from_the_broader_one():
    lists = RankedLists(
        [segment_key(["gender"], ["F"]), GLOBAL_KEY],
        np.array([9, 3, 3, 4, 5], np.int32),
        np.array([0.5, 0.1, 0.9, 0.8, 0.7], np.float32),
        np.array([0, 2, 5]),
    )
    model = open_model(replace(OPEN.fitted, popularity=lists))
    candidates = popular_items(model, 4, NOW, segment={"gender": "F"})
    assert candidates.rows.tolist() == [9, 3, 4, 5]
    assert candidates.scores.tolist() == [1, 0.75, 0.5, 0.25]


def test_hidden_items_are_not_popular():
    model = replace(OPEN, servable=servable(OPEN.items, hidden=np.array([0, 2], np.int32)))
    assert popular_items(model, 3, NOW).rows.tolist() == [1, 3, 4]
