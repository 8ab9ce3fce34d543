"""Vectors in eight bits: near the exact ones by the rule, and sound where a vector is odd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import contracts.coarse
from contracts.coarse import coarse

MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e6, 1e6, width=32))


@given(MATRICES)
def test_every_number_is_within_half_a_step(vectors: np.ndarray) -> None:
    found = coarse(vectors)
    step = np.abs(vectors).max(axis=1, initial=0) / 127
    assert (np.abs(found.read(np.arange(len(vectors))) - vectors) <= 0.501 * step[:, None] + 1e-30).all()


def test_blocks_are_encoded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    whole = coarse(vectors)
    monkeypatch.setattr(contracts.coarse, "BLOCK_ROWS", 7)
    parts = coarse(vectors)
    np.testing.assert_array_equal(whole.codes, parts.codes)
    np.testing.assert_array_equal(whole.scales, parts.scales)


def test_zeros_stay_zeros_and_what_is_no_number_becomes_one() -> None:
    found = coarse(np.array([[0, 0], [np.nan, 1]], np.float32))
    assert not found.read(np.array([0])).any()
    assert found.codes.dtype == np.int8
    assert found.codes[1, 0] == 0


def test_rows_are_read_in_the_order_asked() -> None:
    vectors = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(coarse(vectors).read(np.array([2, 0, 2])), vectors[[2, 0, 2]], atol=0.01)
