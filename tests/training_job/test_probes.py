"""Probes are what serving would ask, with what a full sort answers."""

from __future__ import annotations

import numpy as np

from contracts.fitted import from_bundle, to_bundle
from retrieval.als import fold_in
from retrieval.filters import ItemFilters
from retrieval.user_tower import encode_user
from stores.release_files import TrainingFacts, read_bundle, write_bundle
from tests.toy_world import toy_model
from training_job.assemble import head_rows
from training_job.probes import ProbedModel, ProbeUsers, probe_arrays

MODEL = toy_model()
LENGTHS = np.array([4, 0, 7])
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
ROWS = np.random.default_rng(2).integers(0, 200, OFFSETS[-1]).astype(np.int32)
WEIGHTS = np.ones(len(ROWS), np.float32)
USERS = ProbeUsers(ROWS, WEIGHTS, OFFSETS, MODEL.user_encoder.encode({}, 3))
PROBES = probe_arrays(
    ProbedModel(MODEL.tower, MODEL.als, MODEL.items, MODEL.item_encoder, MODEL.schema, MODEL.categories), USERS
)


def best(scores: np.ndarray, k: int) -> list[int]:
    return [int(row) for row in np.argsort(-scores, kind="stable")[:k] if scores[row] > -np.inf]


def test_queries_are_those_of_serving_and_answers_those_of_a_full_sort() -> None:
    for user in range(3):
        span = slice(OFFSETS[user], OFFSETS[user + 1])
        query = encode_user(MODEL.tower, MODEL.items, ROWS[span], WEIGHTS[span])
        np.testing.assert_allclose(PROBES.queries[user], query, atol=1e-6)
        assert PROBES.rows[user].tolist() == best(MODEL.items.two_tower @ PROBES.queries[user], 100)
    assert len(PROBES.als_queries) == 2, "of whom nothing is known ALS knows nothing: every answer would be exact"
    for place, user in enumerate((0, 2)):
        span = slice(OFFSETS[user], OFFSETS[user + 1])
        folded = fold_in(MODEL.als, MODEL.items.als[ROWS[span]], WEIGHTS[span])
        np.testing.assert_allclose(PROBES.als_queries[place], folded, atol=1e-6)
        assert PROBES.als_rows[place].tolist() == best(MODEL.items.als @ PROBES.als_queries[place], 100)


def test_every_large_category_and_every_selectivity_is_probed() -> None:
    names = [bucket.name for bucket in PROBES.buckets]
    assert names[:5] == [f"genre={name}" for name in ("art", "books", "cars", "dogs", "eggs")]
    assert names[5:] == [f"published, highest {share}" for share in ("50%", "20%", "10%", "5%", "1%")]
    shares = [bucket.share for bucket in PROBES.buckets]
    np.testing.assert_allclose(shares[:5], 0.2)
    np.testing.assert_allclose(shares[5:], (0.5, 0.2, 0.1, 0.1, 0.1), atol=0.02)  # 20 of 200 were published yesterday


def test_answers_under_a_filter_are_exact_and_end_with_minus_one() -> None:
    filters = ItemFilters(MODEL.item_encoder, MODEL.items)
    mask = filters.mask({"genre": ["dogs"]})
    rows = PROBES.bucket_rows[3]
    for query, answer in zip(PROBES.queries, rows, strict=True):
        expected = best(np.where(mask, MODEL.items.two_tower @ query, -np.inf), 100)
        assert answer[answer >= 0].tolist() == expected
        assert (answer >= 0).sum() == 40


def test_they_survive_their_files(tmp_path) -> None:
    write_bundle(tmp_path, to_bundle(MODEL), TrainingFacts(n_items=200, dim=16, watermark=1))
    read = from_bundle(read_bundle(tmp_path)).probes
    assert read.buckets == MODEL.probes.buckets
    np.testing.assert_array_equal(read.bucket_rows, MODEL.probes.bucket_rows)


def test_the_head_is_what_has_most_events_in_row_order() -> None:
    assert head_rows(np.array([5, 1, 9, 5, 7]), 3).tolist() == [0, 2, 4]
    assert len(head_rows(np.array([5, 1]), 2)) == 0
