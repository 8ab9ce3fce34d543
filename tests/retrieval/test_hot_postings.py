"""Neighbours by postings against plain cosines, whole and where slots keep their champions alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.feature_encoder import Bag
from contracts.fitted import ContentArrays, FittedModel
from retrieval import hot_postings
from retrieval.hot_postings import HotPostings, hot_by_popularity
from tests.toy_world import toy_model

N, SLOTS, K = 150, 25, 6


def catalogue(seed: int = 0, hot_share: float = 0.6) -> tuple[FittedModel, np.ndarray]:
    """A toy model with random bags; and the bags as a dense matrix."""
    random = np.random.default_rng(seed)
    dense = (random.uniform(0.5, 2, (N, SLOTS)) * (random.random((N, SLOTS)) < 0.2)).astype(np.float32)
    owners, slots = np.nonzero(dense)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=N))])
    bag = Bag(slots.astype(np.int32), dense[owners, slots], offsets)
    events = np.where(random.random(N) < hot_share, random.integers(5, 40, N), random.integers(0, 5, N))
    idf = random.uniform(1, 3, SLOTS).astype(np.float32)
    toy = toy_model(N)
    content = ContentArrays(idf, np.full((N, K), -1, np.int32), np.zeros((N, K), np.float32))
    items = replace(toy.items, features=bag, events=events.astype(np.int32))
    return replace(toy, items=items, content=content), dense


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def kept(model: FittedModel, dense: np.ndarray, longest: int) -> np.ndarray:
    """TF-IDF rows of length 1 of the hot items, each slot with its most popular `longest` alone."""
    weights, hot = unit(dense * model.content.idf), hot_by_popularity(model.items.events, 5)
    found = np.zeros_like(weights)
    for slot in range(SLOTS):
        carriers = [row for row in hot if weights[row, slot] > 0][:longest]
        found[carriers, slot] = weights[carriers, slot]
    return found


@pytest.mark.parametrize("block", [7, 65_536])
@pytest.mark.parametrize("longest", [3, 10_000])
def test_the_nearest_are_those_of_the_largest_cosines(monkeypatch, block, longest):
    monkeypatch.setattr(hot_postings, "BLOCK_ITEMS", block)
    monkeypatch.setattr(hot_postings, "SHORTEST_CHAMPIONS", longest)
    monkeypatch.setattr(hot_postings, "WORK_BUDGET", 1)
    model, dense = catalogue()
    postings, champions = HotPostings(model), kept(model, dense, longest)
    random = np.random.default_rng(9)
    for _ in range(40):
        slots = random.permutation(SLOTS)[: random.integers(1, 8)].astype(np.int32)
        weights = random.uniform(0.1, 2, len(slots)).astype(np.float32)
        asked = np.zeros(SLOTS, np.float32)
        asked[slots] = weights * model.content.idf[slots]
        cosines = champions @ unit(asked)
        rows, similarities = postings.nearest(slots, weights)
        np.testing.assert_allclose(similarities, -np.sort(-cosines)[: len(rows)], atol=1e-6)
        np.testing.assert_allclose(cosines[rows], similarities, atol=1e-6)
        assert len(rows) == min(K, (cosines > 1e-7).sum())


def test_equal_ones_come_by_popularity():
    model, _ = catalogue()
    bag = Bag(np.zeros(N, np.int32), np.ones(N, np.float32), np.arange(N + 1))
    model = replace(model, items=replace(model.items, features=bag))
    rows, similarities = HotPostings(model).nearest(np.zeros(1, np.int32), np.ones(1, np.float32))
    assert rows.tolist() == hot_by_popularity(model.items.events, 5)[:K].tolist()
    assert similarities == pytest.approx([1.0] * K)


def test_without_slots_without_hot_items_and_without_neighbours_nothing_is_near():
    model, _ = catalogue()
    some = (np.array([1, 2], np.int32), np.ones(2, np.float32))
    none = (np.empty(0, np.int32), np.empty(0, np.float32))
    cold = replace(model, items=replace(model.items, events=np.zeros(N, np.int32)))
    narrow = replace(model, content=ContentArrays(model.content.idf, np.empty((N, 0), np.int32), np.empty((N, 0))))
    for postings, asked in ((HotPostings(model), none), (HotPostings(cold), some), (HotPostings(narrow), some)):
        assert [len(found) for found in postings.nearest(*asked)] == [0, 0]


def test_where_fewer_than_two_are_hot_any_event_makes_a_neighbour():
    events = np.array([0, 3, 9, 1, 0])
    assert hot_by_popularity(events, 5).tolist() == [2, 1, 3]
    assert hot_by_popularity(np.array([5, 9, 1]), 5).tolist() == [1, 0]
