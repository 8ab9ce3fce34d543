"""Ids are opaque Unicode and keep their rows, whichever way they are looked up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import ids as ids_module
from contracts.errors import ReleaseCorrupt
from contracts.ids import IdTable

ANY_IDS = st.lists(st.text(max_size=20), unique=True, max_size=40)
LOOKED_UP = st.lists(st.text(st.characters(), max_size=20), max_size=10)  # lone surrogates included


@pytest.mark.parametrize("dict_limit", [0, 100_000])
@given(known=ANY_IDS, asked=LOOKED_UP)
def test_every_id_finds_its_row_and_no_other_does(dict_limit: int, known: list[str], asked: list[str]) -> None:
    ordered = sorted(known, key=str.encode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids_module, "DICT_LIMIT", dict_limit)
        table = IdTable.from_strings(ordered)
        assert table.rows(ordered).tolist() == list(range(len(ordered)))
        assert [table.text(row) for row in range(len(table))] == ordered
        assert table.texts(np.arange(len(table))[::-1]) == ordered[::-1]
        for text in asked:
            assert table.row(text) == (ordered.index(text) if text in ordered else -1)


def test_canonically_equal_ids_stay_different() -> None:
    table = IdTable.from_strings(["e\u0301", "\u00e9"])
    assert table.rows(["\u00e9", "e\u0301"]).tolist() == [1, 0]


@pytest.mark.parametrize("wrong", [["b", "a"], ["a", "a"]])
def test_unsorted_or_repeated_ids_are_refused(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        IdTable.from_strings(wrong)


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 4, 3]])
def test_offsets_that_do_not_cover_the_blob_are_corrupt(offsets: list[int]) -> None:
    with pytest.raises(ReleaseCorrupt):
        IdTable(np.frombuffer(b"abc", np.uint8), np.array(offsets, np.int64))
