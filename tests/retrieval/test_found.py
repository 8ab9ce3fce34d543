"""Lists of different scales become one: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.candidates import Source
from contracts.slate import Route
from retrieval.found import Found, blend, join, on_ranks, rank_scores


def found(rows, scores, source=None, **parts):
    made = Found(np.array(rows, np.int32), np.array(scores, np.float32))
    named = {name: np.array(part, np.float32) for name, part in parts.items()}
    return made if source is None else made.told(source, **named)


def test_ranks_fall_evenly():
    assert rank_scores(4).tolist() == [1, 0.75, 0.5, 0.25]
    assert rank_scores(0).shape == (0,)


def test_joining_keeps_the_first_of_a_row():
    joined = join([found([3, 1], [9, 8], Source.MODEL, model=[9, 8]), found([1, 7], [5, 4], Source.FILL)])
    assert joined.rows.tolist() == [3, 1, 7]
    assert joined.scores.tolist() == [9, 8, 4]
    assert joined.parts["source"].tolist() == [Source.MODEL, Source.MODEL, Source.FILL]
    assert joined.parts["model"].tolist() == [9, 8, 0]


def test_a_blend_does_not_depend_on_the_scales():
    popular = found([1, 2], [0.9, 0.0001])
    for scale in (1e-3, 1.0, 1e6):
        blended = blend(found([2, 3], [2 * scale, 1 * scale]), popular, 0.6)
        assert blended.rows.tolist() == [2, 1, 3]  # .6 + .4/2, .4, .6/2
        assert blended.scores.tolist() == pytest.approx([0.8, 0.4, 0.3])


@pytest.mark.parametrize(("weight", "order"), [(0.0, [1, 2, 3]), (1.0, [3, 2, 1])])
def test_the_ends_of_a_blend_are_the_lists(weight, order):
    assert blend(found([3, 2], [2, 1]), found([1, 2], [9, 1]), weight).rows.tolist()[:2] == order[:2]


def test_a_blended_item_comes_from_where_it_got_more():
    model = found([1, 2], [2, 1], Source.MODEL, model=[2, 1])
    popular = found([2, 5], [9, 8], Source.POPULARITY, popularity=[9, 8])
    blended = blend(model, popular, 0.5)
    sources = dict(zip(blended.rows.tolist(), blended.parts["source"].tolist(), strict=True))
    assert sources == {1: Source.MODEL, 2: Source.POPULARITY, 5: Source.POPULARITY}
    assert dict(zip(blended.rows.tolist(), blended.parts["model"].tolist(), strict=True)) == {1: 2, 2: 1, 5: 0}


def test_an_empty_list_blends_into_nothing():
    blended = blend(Found.nothing(), found([4], [1]), 0.25)
    assert (blended.rows.tolist(), blended.scores.tolist()) == ([4], [0.75])


def test_sources_leave_retrieval_beside_the_parts():
    candidates = on_ranks(found([4, 6], [3, 2], Source.NEW)).candidates(Route.BOTH_COLD, "popularity", "global")
    assert candidates.sources.tolist() == [Source.NEW, Source.NEW]
    assert "source" not in candidates.parts
    assert found([4], [3]).candidates(Route.MODEL, "als").sources is None
