"""Ids and their rows: a table of opaque Unicode strings that opens without a Python loop.

Item rows of a release are numbered in the byte order of their UTF-8 ids, so the row of an id is found by bisection
over a memory-mapped blob, and opening a table of a million ids costs nothing. Small tables are kept as a dict, which
is four times faster a look-up. Training writes one, serving opens it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.errors import ReleaseCorrupt

DICT_LIMIT: Final = 100_000
"""Up to here a dict is built at open (15 ms); a million ids would cost half a second and 150 MB."""


class IdTable(Sequence[bytes]):
    """Sorted UTF-8 ids; position = row."""

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        """`blob` [bytes], `offsets` [n + 1] into it, ids in ascending byte order without repeats."""
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(blob) or np.any(np.diff(offsets) < 0):
            raise ReleaseCorrupt("id table: offsets do not cover the blob.")
        self.blob, self.offsets = blob, offsets
        self._bytes = np.ascontiguousarray(blob).data
        self._rows: dict[str, int] | None = None
        self._in_order: list[str] | None = None
        if len(self) <= DICT_LIMIT:
            self._rows = self._read_all()
            self._in_order = list(self._rows)

    @classmethod
    def from_strings(cls, ids: Iterable[str]) -> IdTable:
        """Build from ids that are already in ascending UTF-8 byte order."""
        encoded = [text.encode() for text in ids]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        table = cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)
        if any(map(bytes.__ge__, encoded[:-1], encoded[1:])):
            raise ValueError("ids must be unique and in ascending UTF-8 byte order")
        return table

    def _read_all(self) -> dict[str, int]:
        blob = bytes(self._bytes)
        try:
            texts = [blob[start:end].decode() for start, end in pairwise(self.offsets.tolist())]
        except UnicodeDecodeError as error:
            raise ReleaseCorrupt(f"id table: an id is not UTF-8: {error}.") from error
        return {text: row for row, text in enumerate(texts)}

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> bytes:  # type: ignore[override]  # slices of an id table have no use
        if not 0 <= row < len(self):
            raise IndexError(row)
        return bytes(self._bytes[self.offsets[row] : self.offsets[row + 1]])

    def text(self, row: int) -> str:
        """The id of a row, as the string that came in."""
        return self[row].decode()

    def texts(self, rows: NDArray[np.integer]) -> list[str]:
        """The ids of many rows [k] of the table."""
        if self._in_order is not None:  # a slate of ten takes 1 µs, calls to `text` 10
            return [self._in_order[row] for row in rows.tolist()]
        return [self.text(row) for row in rows.tolist()]

    def row(self, identifier: str) -> int:
        """The row of an id, or -1 where the table does not know it."""
        if self._rows is not None:
            return self._rows.get(identifier, -1)
        try:
            key = identifier.encode()
        except UnicodeEncodeError:  # a lone surrogate is no Unicode text, so no table holds it
            return -1
        row = bisect_left(self, key)
        return row if row < len(self) and self[row] == key else -1

    def with_more(self, identifiers: Sequence[str]) -> IdTable:
        """A table of these rows and, after them, a row for each of some ids that are not in it, in their order."""
        return _LongerIdTable(self, identifiers) if identifiers else self

    def rows(self, identifiers: Iterable[str]) -> NDArray[np.int32]:
        """The rows of many ids, -1 for each unknown one."""
        if self._rows is not None:  # a request looks up a hundred: a dict alone takes 4 µs, calls to `row` 20
            return np.fromiter(map(self._rows.get, identifiers, repeat(-1)), dtype=np.int32)
        return np.fromiter(map(self.row, identifiers), dtype=np.int32)


class _LongerIdTable(IdTable):
    """A table and a few more ids behind it: the rows of the table stay what they are, and nothing of it is copied."""

    def __init__(self, table: IdTable, more: Sequence[str]) -> None:
        self._table, self._more = table, list(more)
        self._first = len(table)
        self._more_rows = {text: self._first + place for place, text in enumerate(self._more)}

    def __len__(self) -> int:
        return self._first + len(self._more)

    def __getitem__(self, row: int) -> bytes:  # type: ignore[override]
        if row < self._first:
            return self._table[row]
        return self._more[row - self._first].encode()

    def texts(self, rows: NDArray[np.integer]) -> list[str]:
        return [self.text(row) for row in rows.tolist()] if np.any(rows >= self._first) else self._table.texts(rows)

    def row(self, identifier: str) -> int:
        row = self._table.row(identifier)
        return row if row >= 0 else self._more_rows.get(identifier, -1)

    def rows(self, identifiers: Iterable[str]) -> NDArray[np.int32]:
        asked = list(identifiers)
        rows = self._table.rows(asked)
        for place in np.flatnonzero(rows < 0).tolist():
            rows[place] = self._more_rows.get(asked[place], -1)
        return rows
