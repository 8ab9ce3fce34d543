"""Vocabularies: ordered, capped, the same twice, and made for what the encoder does with them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from contracts.schema import FeatureKind
from training_job import vocabulary
from training_job.vocabulary import encode_table, fit_encoder, raw_numbers

C, M, T, N, S = (
    FeatureKind.CATEGORICAL,
    FeatureKind.MULTI_CATEGORICAL,
    FeatureKind.TEXT,
    FeatureKind.NUMERIC,
    FeatureKind.TIMESTAMP,
)


def _field(kind, values, min_count=1):
    return fit_encoder({"f": kind}, pl.DataFrame({"f": values}, strict=False), min_count).fields[0]


def test_categories_by_frequency_then_name():
    assert _field(C, ["b", "a", "c", "c", None, "b"]).terms == ["b", "c", "a"]


def test_rare_categories_can_be_left_out():
    assert _field(C, ["b", "a", "c", "c", None, "b"], min_count=2).terms == ["b", "c"]


@pytest.mark.parametrize("values", [[["x", "y", "x"], ["y"], None], ["x|y|x", "y", None]])
def test_a_value_repeated_in_one_list_counts_once(values):
    assert _field(M, values).terms == ["y", "x"]


def test_the_cap_keeps_the_frequent(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_CATEGORIES", 2)
    assert _field(C, ["a", "b", "b", "c", "c", "c"]).terms == ["c", "b"]


def test_booleans_and_whole_floats_are_the_words_that_requests_use():
    assert _field(C, [True, False, True]).terms == ["true", "false"]
    assert _field(C, [3.0, 3.0, 2.0]).terms == ["3", "2"]


def test_words_of_one_text_only_are_no_words():
    field = _field(T, ["red shoe", "red hat", "blue SHOE", "green"])
    assert field.terms == ["red", "shoe"]
    assert len(field.idf) == 2


@pytest.mark.parametrize("values", [[None, None], ["", "  "], ["a", "b", "c", "d"]])
def test_text_without_shared_words_has_no_slots(values):
    assert _field(T, pl.Series(values, dtype=pl.String)).n_slots == 0


def test_few_numbers_get_a_bucket_each():
    assert _field(N, [1.0, 2.0, 2.0, 4.0, None]).edges == [1.5, 3.0]


def test_many_numbers_get_buckets_of_equal_size():
    values = np.random.default_rng(0).lognormal(size=4_000)
    encoder = fit_encoder({"f": N}, table := pl.DataFrame({"f": values}))
    counts = np.bincount(encode_table(encoder, table).slots)
    assert len(counts) == vocabulary.BUCKETS
    assert counts.max() < 1.1 * counts.min()


@pytest.mark.parametrize("values", [[None, None], [float("nan"), float("inf")], [5.0, 5.0]])
def test_a_number_that_says_nothing_has_one_bucket(values):
    assert _field(N, pl.Series(values, dtype=pl.Float64)).edges == []


def test_a_table_is_encoded_like_its_rows_one_by_one():
    table = pl.DataFrame(
        {"c": ["x", None, "y"], "m": [["p", "q"], [], None], "t": ["red red hat", "hat", None], "n": [1.0, None, 9.0]}
    )
    encoder = fit_encoder({"c": C, "m": M, "t": T, "n": N}, table)
    bag = encode_table(encoder, table)
    for row, features in enumerate(table.iter_rows(named=True)):
        slots, weights = encoder.encode_one(features)
        span = slice(bag.offsets[row], bag.offsets[row + 1])
        assert dict(zip(bag.slots[span].tolist(), bag.weights[span].tolist(), strict=True)) == pytest.approx(
            dict(zip(slots.tolist(), weights.tolist(), strict=True))
        )


def test_raw_numbers_keep_the_order_of_the_encoder():
    table = pl.DataFrame({"c": ["x", "y"], "price": [1.5, None], "born": [100, 200]})
    encoder = fit_encoder({"price": N, "c": C, "born": S}, table)
    numbers = raw_numbers(encoder, table)
    np.testing.assert_array_equal(numbers, [[1.5, 100], [np.nan, 200]])


def test_a_feature_without_a_column_is_left_out():
    assert fit_encoder({"gone": C}, pl.DataFrame({"c": ["x"]})).fields == []


def test_what_an_earlier_encoder_knew_and_a_table_lacks_counts_as_missing() -> None:
    table = pl.DataFrame({"colour": ["red", "blue"], "price": [1.0, 9.0]})
    kinds = {"colour": FeatureKind.CATEGORICAL, "price": FeatureKind.NUMERIC}
    encoder = fit_encoder(kinds, table)
    without = encode_table(encoder, table.drop("price"))
    assert np.diff(without.offsets).tolist() == [1, 1]
    swapped = table.select(pl.col("price").alias("colour"), pl.col("colour").alias("price"))
    assert len(encode_table(encoder, swapped).slots) == 0
