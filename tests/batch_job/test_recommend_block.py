"""A block is answered as its users would be one by one: whoever else is in it, whatever the index did not foresee."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_job.recommend_block import Foreseen, Ground, slates_of
from contracts.deadline import Deadline
from contracts.profile import HistoryEvent, Profile
from contracts.request import RecommendationRequest
from contracts.restriction import Restriction
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.opened import open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from tests.toy_world import NOW, item_id, toy_model

ITEMS = 300
MODEL = open_model(toy_model(n_items=ITEMS, unavailable=(1,), expired=(2,)))


def ground(served_model: str, **changes: Any) -> Ground:
    retrieval = RetrievalSettings(served_model=served_model, **changes)
    return Ground(MODEL, retrieval, RerankSettings(recency_weight=0.0), 10, NOW)


def profile_of(drawn: tuple[list[tuple[int, float]], list[int], bool]) -> Profile:
    events, seen, told = drawn
    history = [HistoryEvent(item_id(row), NOW - 9_000 + place, weight) for place, (row, weight) in enumerate(events)]
    return Profile(
        user_id="somebody",
        history=history,
        n_events=len(history),
        seen=[item_id(row) for row in seen],
        features={"gender": "F"} if told else {},
    )


profiles = st.tuples(
    st.lists(st.tuples(st.integers(0, ITEMS + 20), st.sampled_from([1.0, 0.5, 3.0, -1.0])), max_size=60),
    st.lists(st.integers(0, ITEMS - 1), max_size=250),
    st.booleans(),
).map(profile_of)


@pytest.mark.parametrize("served_model", ["two_tower", "als", "popularity"])
@given(drawn=st.lists(profiles, max_size=12), max_fetch=st.sampled_from([20, 1_000]))
@settings(max_examples=25, deadline=None)
def test_whoever_else_is_in_the_block(served_model: str, drawn: list[Profile], max_fetch: int) -> None:
    on = ground(served_model, max_fetch=max_fetch)
    request = RecommendationRequest(user_id="somebody", num_items=10)
    for profile, slate in zip(drawn, slates_of(on, ["somebody"] * len(drawn), drawn), strict=True):
        found = find_candidates(MODEL, MODEL.index, profile, request, on.retrieval, Deadline.never(), NOW)
        alone = rerank(found, MODEL.items, SlateRules(10), on.rerank, NOW)
        np.testing.assert_allclose(slate.ranked.scores, alone.scores, atol=1e-4)
        ties = np.abs(np.diff(alone.scores, append=-np.inf)) < 1e-4
        certain = ~(ties | np.roll(ties, 1))
        np.testing.assert_array_equal(slate.ranked.rows[certain], alone.rows[certain])
        assert (slate.route, slate.model) == (found.route, found.model)


class Scan:
    """An index that says that it was asked."""

    def search(self, *asked: Any) -> str:
        return f"scanned for {asked[2]}"


def test_what_was_not_foreseen_is_scanned() -> None:
    query, deadline = np.ones(4, np.float32), Deadline.never()
    rows, scores = np.arange(50, dtype=np.int32), -np.arange(50, dtype=np.float32)
    index = Foreseen(Scan(), query, rows, scores)  # type: ignore[arg-type]
    found, found_scores = index.search("als", query, 20, None, deadline)
    assert (found.tolist(), found_scores.tolist()) == (rows[:20].tolist(), scores[:20].tolist())
    narrow = Restriction((), np.ones(50, np.bool_))
    for asked in (("als", query, 51, None), ("als", query, 20, narrow), ("als", query + 1, 20, None)):
        assert index.search(*asked, deadline) == f"scanned for {asked[2]}"  # type: ignore[comparison-overlap]


def test_the_first_search_of_everybody_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a batch is as slow as its users one by one."""
    scans = 0
    search = type(MODEL.index).search

    def counted(*asked: Any, **more: Any) -> Any:
        nonlocal scans
        scans += 1
        return search(*asked, **more)

    monkeypatch.setattr(type(MODEL.index), "search", counted)
    histories = [profile_of(([(row + place, 1.0) for place in range(row)], [], True)) for row in range(40)]
    for served_model in ("two_tower", "als"):
        slates_of(ground(served_model), [f"u{number}" for number in range(40)], histories)
    assert scans == 0
