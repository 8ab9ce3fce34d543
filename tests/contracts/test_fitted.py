"""A fitted model survives its bundle, and one that does not fit together is named."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from contracts.errors import ReleaseCorrupt
from contracts.fitted import Bundle, FittedModel, depths, from_bundle, to_bundle
from retrieval.user_tower import encode_user
from tests.toy_world import toy_model


@pytest.mark.parametrize("featureless", [False, True])
def test_a_model_is_read_back_equal(featureless: bool) -> None:
    model = toy_model(featureless=featureless)
    again = to_bundle(from_bundle(to_bundle(model)))
    first = to_bundle(model)
    assert again.documents == first.documents
    for part, tensors in first.tensors.items():
        for name, array in tensors.items():
            np.testing.assert_array_equal(again.tensors[part][name], array)


def every_array() -> list[tuple[str, str]]:
    return [(part, name) for part, tensors in to_bundle(toy_model()).tensors.items() for name in tensors]


@pytest.mark.parametrize(("part", "name"), every_array())
def test_a_missing_array_is_named(part: str, name: str) -> None:
    bundle = to_bundle(toy_model())
    tensors = {**bundle.tensors, part: {k: v for k, v in bundle.tensors[part].items() if k != name}}
    with pytest.raises(ReleaseCorrupt, match=name):
        from_bundle(Bundle(tensors, bundle.documents))


@pytest.mark.parametrize("document", ["vocabulary.json", "golden.json"])
def test_a_missing_or_broken_document_is_named(document: str) -> None:
    bundle = to_bundle(toy_model())
    without = {name: data for name, data in bundle.documents.items() if name != document}
    for documents in (without, {**bundle.documents, document: b"[{"}):
        with pytest.raises(ReleaseCorrupt):
            from_bundle(Bundle(bundle.tensors, documents))


@pytest.mark.parametrize("field", ["two_tower", "als", "pool_weight", "events", "category", "published", "numbers"])
def test_an_array_of_another_length_is_named(field: str) -> None:
    model = toy_model()
    shorter = replace(model.items, **{field: getattr(model.items, field)[:-1]})
    with pytest.raises(ReleaseCorrupt, match=field):
        from_bundle(to_bundle(replace(model, items=shorter)))


def test_titles_for_other_items_are_refused() -> None:
    model: FittedModel = toy_model()
    with pytest.raises(ReleaseCorrupt, match="titles"):
        from_bundle(to_bundle(replace(model, titles=model.titles[1:])))


def test_a_release_of_before_heads_and_crowds_is_read_as_having_none() -> None:
    model = toy_model(heads=0)
    bundle = to_bundle(model)
    new = {"depth", "match", "value", "recency", "crowd", "crowd_bias"}
    tower = {name: array for name, array in bundle.tensors["tower"].items() if name not in new}
    words = msgspec.json.decode(bundle.documents["vocabulary.json"])
    documents = {**bundle.documents, "vocabulary.json": msgspec.json.encode(
        {name: value for name, value in words.items() if name not in ("stride", "sharpness")})}  # fmt: skip
    read = from_bundle(replace(bundle, tensors={**bundle.tensors, "tower": tower}, documents=documents))
    rows, weights = np.arange(7, dtype=np.int32), np.ones(7, np.float32)
    np.testing.assert_array_equal(
        encode_user(read.tower, read.items, rows, weights), encode_user(model.tower, model.items, rows, weights)
    )
    assert len(read.tower.match) == len(read.tower.crowd) == len(read.tower.depth) == 0


def test_depths_double_and_end() -> None:
    lengths = np.array([0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 100, 10_000])
    assert depths(lengths).tolist() == [0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 8]
    assert depths(3) == 3
