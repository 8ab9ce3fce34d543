"""Arrays on disk are what arrays in memory are, block by block, and a full disk is named."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from contracts import large_arrays
from contracts.errors import StorageFull
from contracts.interactions import Interactions
from contracts.large_arrays import blocks, kept, mapped, places, room, true_before

OPEN_FILES = Path("/proc/self/fd")
FLAGS = st_np.arrays(np.bool_, st.integers(0, 40))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_arrays, "BLOCK", 7)
    monkeypatch.setattr(large_arrays, "MAPPED_BYTES", 1)


def on_disk(values: np.ndarray) -> np.ndarray:
    copied = mapped(len(values), values.dtype)
    copied[:] = values
    return copied


def test_blocks_cover_all_places_once() -> None:
    assert [places.start for places in blocks(15)] == [0, 7, 14]
    assert np.concatenate([np.arange(15)[block] for block in blocks(15)]).tolist() == list(range(15))
    assert list(blocks(0)) == []


@given(FLAGS, st.booleans())
def test_selections_and_counts_are_those_of_numpy(flags: np.ndarray, mapped_too: bool) -> None:
    values = np.linspace(0.1, 3, len(flags))
    if mapped_too:
        flags, values = on_disk(flags), on_disk(values)
    number = int(flags.sum())
    assert kept(values, flags, number).tolist() == np.asarray(values)[np.asarray(flags)].tolist()
    assert places(flags, number).tolist() == np.flatnonzero(flags).tolist()
    ends = np.sort(np.random.default_rng(len(flags)).integers(0, len(flags) + 1, 12))
    assert true_before(flags, ends).tolist() == [int(flags[:end].sum()) for end in ends]


def test_what_is_made_of_a_mapped_array_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_arrays, "MAPPED_BYTES", 80)
    assert isinstance(room(10, np.int64, mapped(3, np.bool_)), np.memmap)
    assert not isinstance(room(9, np.int64, mapped(3, np.bool_)), np.memmap)  # too small for a file
    assert not isinstance(room(10, np.int64, np.zeros(3)), np.memmap)
    assert not room(10, np.int64, mapped(3, np.bool_)).any()


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="only Linux lists open files")
def test_nothing_is_left_of_an_array_that_nobody_views() -> None:
    before = len(list(OPEN_FILES.iterdir()))
    view = mapped(1000, np.int64)[10:]
    view[:] = 5
    assert view.sum() == 5 * 990
    assert len(list(OPEN_FILES.iterdir())) == before + 1
    del view
    gc.collect()
    assert len(list(OPEN_FILES.iterdir())) == before


def test_a_full_disk_is_named_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StorageFull, match="has no room for 8 MB of arrays") as found:
        mapped(1_000_000, np.int64)
    assert "TMPDIR" in str(found.value.fix)


def test_where_room_cannot_be_reserved_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert mapped(10, np.int64).tolist() == [0] * 10
    with pytest.raises(StorageFull):
        mapped(1 << 55, np.int64)


EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 5)), max_size=40)


@given(EVENTS, st.integers(0, 5))
def test_interactions_on_disk_are_those_in_memory(events: list[tuple[int, int, int]], cut: int) -> None:
    users, items, times = (np.array([event[part] for event in events], np.int64) for part in range(3))
    plain = Interactions.from_events(users, items, times, np.ones(len(events)), 7, 5)
    stored = Interactions(on_disk(plain.items), on_disk(plain.times), on_disk(plain.weights), plain.offsets, 5)
    assert stored.users.tolist() == np.repeat(np.arange(7), plain.lengths).tolist()
    assert stored.item_counts().tolist() == np.bincount(plain.items, minlength=5).tolist()
    spans = list(stored.spans())
    assert [user for span in spans for user in range(span.start, span.stop)] == list(range(7))
    assert all(len(stored.part(span)) <= 7 or span.stop - span.start == 1 for span in spans)
    selected, wanted = stored.select(stored.times < cut), plain.select(plain.times < cut)
    for name in ("items", "times", "weights", "offsets"):
        assert getattr(selected, name).tolist() == getattr(wanted, name).tolist()
    assert not len(selected) or isinstance(selected.items, np.memmap)
