"""What is popular now: the release's table, faded, and live weights, against a sum by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.candidates import Source
from contracts.fitted import RankedLists
from contracts.segments import GLOBAL_KEY
from contracts.slate import Route
from contracts.trending import WINDOWS, half_life_seconds, trending_key
from retrieval.eligibility import servable
from retrieval.opened import OpenModel, open_model
from retrieval.popular import popular_items, trending_items
from tests.toy_world import NOW, item_id, toy_model

PLAIN = open_model(toy_model(unavailable=(1, 4)))
N_ITEMS = 200
HOUR = 3_600


def with_tables(model: OpenModel, tables: dict[str, dict[int, float]]) -> OpenModel:
    """The model with trending tables (window → row → weight) beside the others."""
    lists = model.fitted.popularity
    rows, scores, ends = [lists.rows], [lists.scores], lists.offsets.tolist()
    for table in tables.values():
        falling = sorted(table.items(), key=lambda entry: -entry[1])
        rows.append(np.array([row for row, _ in falling], np.int32))
        scores.append(np.array([weight for _, weight in falling], np.float32))
        ends.append(ends[-1] + len(table))
    keys = [*lists.keys, *map(trending_key, tables)]
    popularity = RankedLists(keys, np.concatenate(rows), np.concatenate(scores), np.array(ends))
    return replace(model, fitted=replace(model.fitted, popularity=popularity))


def live(weights: dict[int, float]) -> dict[str, float]:
    return {item_id(row): weight for row, weight in weights.items()}


WEIGHTS = st.dictionaries(st.integers(0, N_ITEMS - 1), st.floats(0.01, 1_000), max_size=30)


@settings(deadline=None, max_examples=40)
@given(
    window=st.sampled_from(list(WINDOWS)),
    table=WEIGHTS.filter(bool),
    counted=WEIGHTS,
    age=st.integers(-HOUR, 8 * 24 * HOUR),
    k=st.integers(1, 40),
)
def test_the_best_of_faded_table_and_live_weights(window, table, counted, age, k):
    now = NOW + age
    found = trending_items(with_tables(PLAIN, {window: table}), k, now, window, live(counted))
    fade = 0.0 if age >= WINDOWS[window] else 2 ** (-max(age, 0) / half_life_seconds(window))
    expected = {
        row: table.get(row, 0) * fade + counted.get(row, 0)
        for row in table.keys() | counted.keys()
        if row not in (1, 4) and (row in counted or fade)
    }
    trending = found.sources == Source.TRENDING
    assert trending.sum() == min(k, len(expected))
    weights = found.parts["trending"][trending]
    assert weights.tolist() == pytest.approx(sorted(expected.values(), reverse=True)[:k], rel=1e-5)
    assert weights.tolist() == pytest.approx([expected[row] for row in found.rows[trending].tolist()], rel=1e-5)
    assert len(set(found.rows.tolist())) == len(found.rows) == k
    assert not np.isin(found.rows, (1, 4)).any()
    assert np.all(np.diff(found.scores) < 0)
    assert (found.sources[~trending] == Source.FILL).all()
    assert (found.route, found.model, found.segment) == (Route.POPULAR, "popularity", trending_key(window))


def test_too_few_are_filled_with_what_is_popular_at_all():
    rows = trending_items(PLAIN, 5, NOW, "1h", live({150: 1.0, 2: 0.5})).rows
    assert rows.tolist() == [150, 2, 0, 3, 5]


def test_nothing_counted_and_an_old_table_leave_what_is_popular_at_all():
    model = with_tables(PLAIN, {"1h": {150: 9.0}})
    assert trending_items(model, 3, NOW + HOUR, "1h", {}).rows.tolist() == popular_items(model, 3, NOW).rows.tolist()
    assert trending_items(model, 3, NOW + HOUR - 1, "1h", {}).rows.tolist()[0] == 150


def test_unknown_and_hidden_items_do_not_trend():
    hidden = replace(PLAIN, servable=servable(PLAIN.items, hidden=np.array([7], np.int32)))
    rows = trending_items(hidden, 2, NOW, "6h", {"unknown": 9.0, **live({7: 8.0, 8: 7.0})}).rows
    assert rows.tolist() == [8, 0]


def test_an_item_told_since_the_night_can_trend():
    """Rows behind the release's own, as live items laid over it have them."""
    items = PLAIN.items
    more = {name: np.append(getattr(items, name), getattr(items, name)[-1]) for name in ("events", "expires")}
    longer = replace(items, ids=items.ids.with_more(["new"]), available=np.append(items.available, True), **more)
    model = replace(PLAIN, fitted=replace(PLAIN.fitted, items=longer), servable=servable(longer))
    found = trending_items(model, 2, NOW, "1d", {"new": 2.0, item_id(9): 1.0})
    assert found.rows.tolist() == [N_ITEMS, 9]


def test_a_window_has_no_part_in_other_tables():
    """A table of weights beside tables of shares: what is asked without a window stays as it was."""
    model = with_tables(PLAIN, {"7d": {150: 900.0}})
    for options in ({}, {"category": "cars"}, {"segment": {"gender": "M"}}):
        assert (
            popular_items(model, 9, NOW, **options).rows.tolist()
            == popular_items(PLAIN, 9, NOW, **options).rows.tolist()
        )
    assert model.fitted.popularity.get(GLOBAL_KEY)[1].max() <= 1
