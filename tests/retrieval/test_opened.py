"""What opening derives, and what of it a request may be served."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.fitted import from_bundle, to_bundle
from retrieval.eligibility import servable
from retrieval.opened import COLD_PER_HOT, NEIGHBOURS_OF_COLD, open_model
from tests.toy_world import NOW, toy_model

NOTHING = np.empty(0, np.int32)


def test_a_stored_model_opens_to_the_same():
    model = toy_model()
    one, other = open_model(model), open_model(from_bundle(to_bundle(model)))
    np.testing.assert_array_equal(one.cold.rows, other.cold.rows)
    np.testing.assert_array_equal(one.newest.rows, other.newest.rows)


def test_cold_items_are_found_from_their_hot_neighbours_nearest_first():
    model = toy_model(n_items=300, n_cold=120)
    cold = open_model(model).cold
    reachable: list[dict[int, float]] = [{} for _ in range(300)]
    for row in range(180, 300):
        pairs = zip(model.content.neighbours[row], model.content.similarities[row], strict=True)
        for hot, similarity in list(pairs)[:NEIGHBOURS_OF_COLD]:
            if hot >= 0:
                reachable[hot][row] = similarity
    assert any(len(near) > COLD_PER_HOT for near in reachable)
    for hot, near in enumerate(reachable):
        best = sorted(near, key=lambda row: (-near[row], row))[:COLD_PER_HOT]
        assert cold.rows[hot].tolist() == best + [-1] * (COLD_PER_HOT - len(best))
        assert cold.similarities[hot, : len(best)].tolist() == [near[row] for row in best]


@pytest.mark.parametrize("options", [{"n_cold": 0}, {"featureless": True}])
def test_without_cold_items_or_texts_there_is_nothing_to_reach(options):
    assert open_model(toy_model(**options)).cold.rows.size == 0


def test_newest_is_by_category_and_date():
    model = open_model(toy_model())
    for category in range(5):
        rows = model.newest.of(category + 1)
        assert (model.items.category[rows] == category).all()
        assert (np.diff(model.items.published[rows]) <= 0).all()
        assert len(rows) == 40
    assert len(model.newest.of(0)) == 0


def test_without_dates_the_newest_are_those_without_events():
    model = open_model(toy_model(featureless=True))
    assert sorted(model.newest.of(0).tolist()) == list(range(180, 200))


def test_eligibility_is_all_its_reasons():
    items = toy_model(unavailable=[3], expired=[4]).items
    mask = np.ones(200, bool)
    mask[5] = False
    rules = servable(items, hidden=np.array([6], np.int32))
    eligible = rules.for_request(np.array([7, -1], np.int32), mask, NOW)
    assert eligible.of(np.arange(9, dtype=np.int32)).tolist() == [True, True, True, *[False] * 5, True]
    assert eligible.all_rows()[:4].tolist() == [0, 1, 2, 8]


def test_an_item_expires_at_its_second():
    items = toy_model(expired=[4]).items  # at NOW - 1
    for now, expected in ((NOW - 2, True), (NOW - 1, False), (NOW, False)):
        assert servable(items).for_request(NOTHING, None, now).of(np.array([4]))[0] == expected


def test_live_stock_replaces_that_of_training():
    items = toy_model(unavailable=[3]).items
    live = np.ones(200, bool)
    live[9] = False
    eligible = servable(items, available=live).for_request(NOTHING, None, NOW)
    assert eligible.of(np.array([3, 9])).tolist() == [True, False]


def test_one_request_does_not_bar_items_for_the_next():
    rules = servable(toy_model().items)
    rules.for_request(np.array([1, 2], np.int32), None, NOW)
    assert rules.for_request(NOTHING, None, NOW).allowed.all()
