"""Files of arrays: written by the library, mapped by us, and refused where their header lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import ReleaseCorrupt
from stores.tensor_files import map_tensors, write_tensors


def test_tensor_files_hold_every_type_and_empty_arrays(tmp_path: Path) -> None:
    tensors = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "e": np.empty((0, 4), np.float64),
        "i": np.array([1, 2], np.int64),
        "b": np.array([True, False]),
        "u": np.array([7], np.uint8),
        "r": np.array([3], np.int32),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    read = map_tensors(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_our_reader_agrees_with_the_library(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write_tensors(tmp_path / "x.safetensors", {"a": np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)})
    np.testing.assert_array_equal(
        map_tensors(tmp_path / "x.safetensors")["a"], load_file(tmp_path / "x.safetensors")["a"]
    )


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 3},
        [],
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0\0\0")
    with pytest.raises(ReleaseCorrupt):
        map_tensors(path)


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for length in (5, 1 << 19, 1 << 62):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(ReleaseCorrupt):
            map_tensors(path)
    path.write_bytes(len(b'{"\xff": 1}').to_bytes(8, "little") + b'{"\xff": 1}')
    with pytest.raises(ReleaseCorrupt):
        map_tensors(path)
    path.write_bytes(b"abc")
    with pytest.raises(ReleaseCorrupt):
        map_tensors(path)
