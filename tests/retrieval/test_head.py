"""The head of a catalogue alone in memory: the same answers within it, and something sensible beyond it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import Bundle, FittedModel, from_bundle, to_bundle
from contracts.profile import HistoryEvent, Profile
from contracts.request import RecommendationRequest
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.als import fold_in
from retrieval.golden import replay_golden
from retrieval.opened import OpenModel, open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from retrieval.similar import similar_items
from retrieval.user_tower import encode_user
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases
from tests.toy_world import NOW, item_id, toy_model

HEAD = 60
WHOLE = toy_model(head_items=HEAD)


def without_vectors(model: FittedModel) -> FittedModel:
    """What a process holds that opens the head alone."""
    bundle = to_bundle(model)
    return from_bundle(Bundle({n: t for n, t in bundle.tensors.items() if n != "vectors"}, bundle.documents))


PART = without_vectors(WHOLE)
ROWS = np.array([3, 150, 8, 60, 59, 199])
"""Half of them beyond the head."""


@pytest.mark.parametrize("name", ["two_tower", "als"])
def test_vectors_are_exact_within_the_head_and_near_beyond_it(name: str) -> None:
    assert getattr(PART.items, name).shape == (HEAD, 16)
    assert len(PART.items) == 200
    assert PART.items.head_only
    assert not WHOLE.items.head_only
    held, exact = PART.items.vectors(name, ROWS), WHOLE.items.vectors(name, ROWS)
    np.testing.assert_array_equal(held[ROWS < HEAD], exact[ROWS < HEAD])
    beyond = ROWS >= HEAD
    difference = np.abs(held[beyond] - exact[beyond]).max(axis=1)
    assert (difference > 0).all(), "it would not be eight bits"
    assert (difference <= np.abs(exact[beyond]).max(axis=1) / 254 * 1.001).all()


def test_a_direction_of_no_item_is_zero() -> None:
    for model in (PART, WHOLE):
        directions = model.items.directions(np.array([3, -1, 150]))
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), [1, 0, 1], rtol=1e-6)


def test_golden_cases_replay_on_the_head_alone() -> None:
    replay_golden(PART)


def test_a_history_beyond_the_head_gives_nearly_the_same_query() -> None:
    weights = np.linspace(0.5, 2.0, len(ROWS), dtype=np.float32)
    queries = [encode_user(model.tower, model.items, ROWS, weights) for model in (PART, WHOLE)]
    assert queries[0] @ queries[1] > 0.9999
    factors = [fold_in(model.als, model.items.vectors("als", ROWS), weights) for model in (PART, WHOLE)]
    assert factors[0] @ factors[1] > 0.999 * np.linalg.norm(factors[0]) * np.linalg.norm(factors[1])


class Away:
    """An engine that does not answer."""

    def search(self, *_: object) -> tuple[np.ndarray, np.ndarray]:
        raise IndexUnavailable("away.")


PROFILE = Profile(
    user_id="u", history=[HistoryEvent(item_id(row), NOW - 100 + row) for row in (*range(0, 50, 5), 120, 130)]
)


@pytest.mark.parametrize("model_name", ["two_tower", "als"])
def test_on_the_bad_day_the_slate_is_full_personal_and_of_the_head(model_name: str) -> None:
    model = open_model(PART)
    settings = RetrievalSettings(served_model=model_name)
    request = RecommendationRequest(user_id="u", num_items=10)
    found = find_candidates(model, Away(), PROFILE, request, settings, Deadline.never(), NOW)
    slate = rerank(found, model.items, SlateRules(10), RerankSettings(diversity="mmr"), NOW)
    assert len(slate.rows) == 10
    assert (found.model, tuple(found.degraded)) == (model_name, ("index_unavailable",))
    from_model = found.rows[found.rows < HEAD]
    assert len(from_model) >= 10
    wanted = {PART.items.category[row] for row in range(0, 50, 5)}
    assert PART.items.category[slate.rows[0]] in wanted


def test_filters_hold_on_the_head_too() -> None:
    model = open_model(PART)
    request = RecommendationRequest(user_id="u", num_items=5, filters={"genre": ["books"]})
    found = find_candidates(model, Away(), PROFILE, request, RetrievalSettings(), Deadline.never(), NOW)
    assert len(found.rows)
    assert {PART.categories[PART.items.category[row]] for row in found.rows} == {"books"}


@pytest.mark.parametrize("row", [4, 150, 195])
def test_items_like_one_beyond_the_head_resemble_it(row: int) -> None:
    model: OpenModel = open_model(PART)
    alike = similar_items(model, row, 5, NOW)
    assert len(alike.rows) == 5
    assert row not in alike.rows
    same = PART.items.category[alike.rows] == PART.items.category[row]
    assert same.sum() >= 4


def test_a_store_opens_the_head_alone_and_leaves_the_vectors_unread(tmp_path: Path) -> None:
    store = LocalReleases(tmp_path)
    write_bundle(tmp_path / "run", to_bundle(WHOLE), TrainingFacts(n_items=200, dim=16, watermark=1))
    release = store.seal(tmp_path / "run").id
    (tmp_path / "releases" / release / "vectors.safetensors").unlink()
    assert store.open(release, head_only=True).items.head_only


def test_a_release_of_before_the_eight_bits_is_opened_whole(tmp_path: Path) -> None:
    bundle = to_bundle(WHOLE)
    older = Bundle({n: t for n, t in bundle.tensors.items() if n != "coarse"}, bundle.documents)
    store = LocalReleases(tmp_path)
    write_bundle(tmp_path / "run", older, TrainingFacts(n_items=200, dim=16, watermark=1))
    assert not store.open(store.seal(tmp_path / "run").id, head_only=True).items.head_only


def test_a_release_without_a_head_is_opened_whole(tmp_path: Path) -> None:
    store = LocalReleases(tmp_path)
    write_bundle(tmp_path / "run", to_bundle(toy_model()), TrainingFacts(n_items=200, dim=16, watermark=1))
    assert not store.open(store.seal(tmp_path / "run").id, head_only=True).items.head_only


def test_a_bundle_of_version_1_is_read() -> None:
    bundle = to_bundle(toy_model())
    tensors = {name: dict(arrays) for name, arrays in bundle.tensors.items()}
    tensors["items"] |= tensors.pop("vectors")
    for name in ("als_queries", "als_rows", "bucket_rows"):
        del tensors["probes"][name]
    documents = {name: document for name, document in bundle.documents.items() if name != "probes.json"}
    read = from_bundle(Bundle(tensors, documents))
    np.testing.assert_array_equal(read.items.two_tower, WHOLE.items.two_tower)
    assert read.probes.buckets == []
    replay_golden(replace(read))
