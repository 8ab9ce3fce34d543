"""Arrays in safetensors files: written by the library, read back as memory-mapped numpy arrays.

The library's own numpy reader copies every tensor; a Lambda (and eight dev processes on a laptop) should share the
pages of the file instead, so this reads the header (eight bytes of length, JSON, data) and maps the rest. It trusts
nothing: types, shapes and offsets are checked against the size of the file before an array is made.
`stores/releases.py` calls it.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.errors import ReleaseCorrupt

_DTYPES: Final = {
    "F32": np.float32,
    "F64": np.float64,
    "I32": np.int32,
    "I64": np.int64,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 1 << 20
"""A release names a dozen arrays a file: 2 KB; a header of a megabyte is a lie."""


class _TensorHeader(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to one file; the order of names does not change its bytes."""
    from safetensors.numpy import save_file  # only writers pay for the import

    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, path)


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read-only views of the arrays of a file. Raises ReleaseCorrupt where the header does not fit the file."""
    with path.open("rb") as file:
        size = path.stat().st_size
        header, start = _read_header(file.read(_LENGTH_BYTES + _MAX_HEADER_BYTES), size, path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return {name: _view(mapped, start, name, entry, path) for name, entry in header.items()}


def forget_pages(array: NDArray[Any]) -> None:
    """Give the pages of a mapped array's file back; they are read again when touched. Arrays in memory stay.

    A process that walks through a large file once would otherwise count all of it as its own memory.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def _read_header(head: bytes, size: int, path: Path) -> tuple[dict[str, _TensorHeader], int]:
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(head) < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or start > size:
        raise ReleaseCorrupt(f"{path}: the header claims {length} bytes of a file of {size}.")
    try:
        header = msgspec.json.decode(head[_LENGTH_BYTES:start], type=dict[str, Any])
        header.pop("__metadata__", None)
        entries = msgspec.convert(header, dict[str, _TensorHeader])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReleaseCorrupt(f"{path}: the header does not parse: {error}.") from error
    return entries, start


def _view(mapped: mmap.mmap, start: int, name: str, entry: _TensorHeader, path: Path) -> NDArray[Any]:
    dtype = _DTYPES.get(entry.dtype)
    begin, end = entry.data_offsets
    if dtype is None or any(side < 0 for side in entry.shape):
        raise ReleaseCorrupt(f"{path}: {name} has the type {entry.dtype} and the shape {entry.shape}.")
    count = math.prod(entry.shape)
    if begin < 0 or end - begin != count * np.dtype(dtype).itemsize or start + end > len(mapped):
        raise ReleaseCorrupt(f"{path}: {name} does not fit the file.")
    return np.frombuffer(mapped, dtype, count, start + begin).reshape(entry.shape)
