"""One encoder: one entity and a table of them agree, text equals scikit-learn's TF-IDF, nothing unseen has a slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from contracts.feature_encoder import FeatureEncoder, FieldVocabulary, tokenize
from contracts.schema import FeatureKind

ENCODER = FeatureEncoder(
    [
        FieldVocabulary("colour", FeatureKind.CATEGORICAL, terms=["red", "green", "3", "true"]),
        FieldVocabulary("tags", FeatureKind.MULTI_CATEGORICAL, terms=["a", "b", "c"]),
        FieldVocabulary("price", FeatureKind.NUMERIC, edges=[1.0, 2.0, 4.0]),
        FieldVocabulary("text", FeatureKind.TEXT, terms=["hello", "world", "日"], idf=[1.0, 2.0, 3.0]),
        FieldVocabulary("seen", FeatureKind.TIMESTAMP, edges=[100.0]),
    ]
)
ENTITIES = st.fixed_dictionaries(
    {},
    optional={
        "colour": st.sampled_from(["red", "green", "blue", "", None, 3.0, True]),
        "tags": st.none() | st.lists(st.sampled_from(["a", "b", "c", "d"])) | st.sampled_from(["a|b", "a|a|c", ""]),
        "price": st.none() | st.floats(allow_infinity=True, allow_nan=True),
        "text": st.none() | st.sampled_from(["Hello", "world hello HELLO", "日本", "", "…"]),
        "seen": st.none() | st.integers(0, 200),
        "unheard of": st.just(1),
    },
)


def pairs(slots: np.ndarray, weights: np.ndarray) -> dict[int, float]:
    assert len(set(slots.tolist())) == len(slots)
    return dict(zip(slots.tolist(), weights.tolist(), strict=True))


@given(st.lists(ENTITIES, max_size=6))
def test_a_table_encodes_as_its_rows_do(entities: list[dict[str, Any]]) -> None:
    names = [field.name for field in ENCODER.fields]
    columns = {name: [entity.get(name) for entity in entities] for name in names}
    bag = ENCODER.encode(columns, len(entities))
    assert len(bag) == len(entities)
    for row, entity in enumerate(entities):
        span = slice(bag.offsets[row], bag.offsets[row + 1])
        assert pairs(bag.slots[span], bag.weights[span]) == pytest.approx(pairs(*ENCODER.encode_one(entity)))


@given(ENTITIES)
def test_slots_are_in_range_and_weights_finite(entity: dict[str, Any]) -> None:
    slots, weights = ENCODER.encode_one(entity)
    assert ((slots >= 0) & (slots < ENCODER.n_slots)).all()
    assert np.isfinite(weights).all()


def test_text_equals_scikit_learns_tf_idf() -> None:
    texts = ["the cat sat", "the dog sat down", "Cats & dogs, DOGS!", "日本 cat", ""]
    oracle = TfidfVectorizer(tokenizer=tokenize, token_pattern=None, lowercase=False)
    expected = oracle.fit_transform(texts).toarray()
    terms = oracle.get_feature_names_out().tolist()
    encoder = FeatureEncoder([FieldVocabulary("text", FeatureKind.TEXT, terms=terms, idf=oracle.idf_.tolist())])
    bag = encoder.encode({"text": texts}, len(texts))
    found = np.zeros_like(expected)
    found[np.repeat(np.arange(len(texts)), np.diff(bag.offsets)), bag.slots] = bag.weights
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_numbers_fall_into_buckets() -> None:
    values = [-5.0, 1.0, 1.5, 2.0, 100.0, float("nan"), None]
    bag = ENCODER.encode({"price": values}, len(values))
    first = ENCODER.first_slots["price"]
    assert (bag.slots - first).tolist() == [0, 1, 1, 2, 3]
    assert np.diff(bag.offsets).tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_bags_can_be_taken_in_any_order() -> None:
    bag = ENCODER.encode({"tags": [["a"], ["b", "c"], None]}, 3)
    taken = bag.take(np.array([2, 1, 1, 0]))
    assert np.diff(taken.offsets).tolist() == [0, 2, 2, 1]
    assert taken.slots.tolist() == bag.slots[[1, 2, 1, 2, 0]].tolist()


@given(st.text())
def test_any_text_can_be_tokenised(text: str) -> None:
    assert all(token for token in tokenize(text))
