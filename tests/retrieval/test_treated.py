"""Candidates under a variant: its model, a second one, and what happens where either is not there or fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.candidates import Candidates, Degraded
from contracts.deadline import Deadline
from contracts.errors import RequestInvalid
from contracts.profile import HistoryEvent, Profile
from contracts.request import RecommendationRequest
from contracts.slate import Route
from contracts.treatment import Treatment
from retrieval.opened import OpenModel, open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from retrieval.treated import treated_candidates
from tests.toy_world import NOW, item_id, toy_model

OPEN = open_model(toy_model())
WARM = Profile(user_id="u", history=[HistoryEvent(item_id(row), NOW) for row in range(0, 60, 5)], n_events=12)
SETTINGS = RetrievalSettings()
NEVER = Deadline.never()


def without_als() -> OpenModel:
    fitted = toy_model()
    items = replace(fitted.items, als=np.zeros((len(fitted.items), 0), np.float32))
    fitted = replace(fitted, items=items, als=replace(fitted.als, gram=np.zeros((0, 0), np.float32)), golden=[])
    return open_model(fitted)


def under(treatment: Treatment, model: OpenModel = OPEN, profile: Profile = WARM, deadline: Deadline = NEVER):
    asked: list[RetrievalSettings] = []

    def find(settings: RetrievalSettings) -> Candidates:
        asked.append(settings)
        return find_candidates(model, model.index, profile, RecommendationRequest(), settings, NEVER, NOW)

    return treated_candidates(find, model, SETTINGS, treatment, deadline), asked


def test_without_a_variant_nothing_is_different():
    (first, second), asked = under(Treatment())
    assert asked == [SETTINGS]
    assert (first.model, second, first.degraded) == ("two_tower", None, ())


@pytest.mark.parametrize("name", ["als", "popularity", "two_tower"])
def test_the_model_of_the_variant_answers(name):
    (first, _), asked = under(Treatment(model=name, cold_user_events=3))
    assert (first.model, first.degraded) == (name, ())
    assert asked == [RetrievalSettings(name, cold_user_events=3)]


def test_a_model_that_is_not_there_gives_way_and_the_rest_of_the_variant_stays():
    model = without_als()
    (first, _), asked = under(Treatment(model="als", cold_user_events=3), model)
    assert (first.model, first.degraded) == ("two_tower", (Degraded.VARIANT_NOT_SERVED,))
    assert asked == [RetrievalSettings(cold_user_events=3)]
    assert [model.can_serve(name) for name in ("two_tower", "als", "popularity", "magic")] == [True, False, True, False]
    assert all(OPEN.can_serve(name) for name in ("two_tower", "als", "popularity"))


@pytest.mark.parametrize("error", [ValueError, np.linalg.LinAlgError, ZeroDivisionError, IndexError, MemoryError])
def test_a_query_that_fails_gives_way_too(error, monkeypatch):
    def fails(*_):
        raise error("broken")

    monkeypatch.setattr("retrieval.query.fold_in", fails)
    (first, _), _ = under(Treatment(model="als"))
    assert (first.model, first.degraded) == ("two_tower", (Degraded.VARIANT_NOT_SERVED,))
    (first, second), _ = under(Treatment(interleave="als"))
    assert (first.model, second, first.degraded) == ("two_tower", None, (Degraded.VARIANT_NOT_SERVED,))


def test_a_failure_of_the_publications_own_model_is_nobody_elses(monkeypatch):
    monkeypatch.setattr("retrieval.query.encode_user", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        under(Treatment(cold_user_events=3))


def test_what_the_client_did_wrong_is_told():
    def find(_: RetrievalSettings) -> Candidates:
        raise RequestInvalid("no such filter.", field="filters")

    with pytest.raises(RequestInvalid):
        treated_candidates(find, OPEN, SETTINGS, Treatment(model="als"), NEVER)


def test_two_models_are_asked_to_be_interleaved_and_only_the_first_explores():
    (first, second), asked = under(Treatment(model="als", interleave="popularity", exploration_share=0.5))
    assert (first.model, second.model) == ("als", "popularity")
    assert [settings.exploration_share for settings in asked] == [0.5, 0.0]


def test_where_no_model_is_asked_nothing_is_interleaved():
    (first, second), asked = under(Treatment(interleave="als"), profile=Profile(user_id="stranger"))
    assert (first.route, second, first.degraded, len(asked)) == (Route.UNKNOWN, None, (), 1)


def test_without_time_the_first_answers_alone_and_says_so():
    (first, second), asked = under(Treatment(interleave="als"), deadline=Deadline(0))
    assert (second, first.degraded, len(asked)) == (None, (Degraded.VARIANT_NOT_SERVED,), 1)
