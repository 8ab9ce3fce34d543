"""Rows of a release → the lines of a bulk request, a chunk at a time.

A chunk is bounded in documents and in bytes before compression, so that no request passes the 10 MiB that small
instance types take. `load.py` sends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from contracts.feature_encoder import FeatureEncoder
from contracts.fitted import FittedModel
from contracts.index_document import index_fields
from contracts.release import MODELS
from contracts.schema import FeatureKind
from stores.tensor_files import forget_pages

CHUNK_DOCUMENTS: Final = 1_000
"""What OpenSearch advises for a bulk request, the lower end: several are in flight."""
CHUNK_BYTES: Final = 5 << 20
"""Half of the hard limit, and that before compression."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Chunk:
    """Documents of one bulk request: `lines[i]` is the action and the document of row `rows[i]`."""

    rows: list[int]
    lines: list[bytes]

    def body(self, places: list[int] | None = None) -> bytes:
        """The request's body, of all documents or of those at some places."""
        return b"".join(self.lines if places is None else [self.lines[place] for place in places])


class Documents:
    """The documents of a release, made as they are read."""

    def __init__(self, model: FittedModel) -> None:
        self._model = model
        self._terms = _terms_by_slot(model.item_encoder)
        counted = (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP)
        names = [field.name for field in model.item_encoder.fields if field.kind in counted]
        index_names = {field.name: field.field for field in index_fields(model.item_encoder)}
        self._numbers = [index_names[name] for name in names]

    def chunks(self, first: int, last: int) -> Iterator[Chunk]:
        """The documents of rows first … last - 1."""
        for begin in range(first, last, CHUNK_DOCUMENTS):
            yield from self._bounded(begin, min(begin + CHUNK_DOCUMENTS, last))
            self._forget()

    def _forget(self) -> None:
        """What was read is not read again: memory stays flat however large the release is."""
        items = self._model.items
        for array in (items.two_tower, items.numbers):  # both models' vectors share a file
            forget_pages(array)

    def _bounded(self, first: int, last: int) -> Iterator[Chunk]:
        rows: list[int] = []
        lines: list[bytes] = []
        size = 0
        for row, document in zip(range(first, last), self.read(first, last), strict=True):
            line = b'{"create":{"_id":' + _encode(document["item_id"]) + b"}}\n" + _encode(document) + b"\n"
            if lines and size + len(line) > CHUNK_BYTES:
                yield Chunk(rows, lines)
                rows, lines, size = [], [], 0
            rows.append(row)
            lines.append(line)
            size += len(line)
        yield Chunk(rows, lines)

    def read(self, first: int, last: int) -> list[dict[str, Any]]:
        """The documents of rows first … last - 1, as an index holds them."""
        items = self._model.items
        ids = items.ids.texts(np.arange(first, last))
        documents: list[dict[str, Any]] = [
            {"row": row, "item_id": identifier} for row, identifier in zip(range(first, last), ids, strict=True)
        ]
        for name in MODELS:
            for document, vector in zip(documents, getattr(items, name)[first:last].tolist(), strict=True):
                document[name] = vector
        for document, row in zip(documents, range(first, last), strict=True):
            self._add_terms(document, row)
        for column, name in enumerate(self._numbers):
            for document, number in zip(documents, items.numbers[first:last, column].tolist(), strict=True):
                if number == number:  # a missing number is NaN
                    document[name] = number
        return documents

    def _add_terms(self, document: dict[str, Any], row: int) -> None:
        bag = self._model.items.features
        for slot in bag.slots[bag.offsets[row] : bag.offsets[row + 1]].tolist():
            if (term := self._terms.get(slot)) is not None:
                document.setdefault(term[0], []).append(term[1])


def _terms_by_slot(encoder: FeatureEncoder) -> dict[int, tuple[str, str]]:
    """Slot → field of the index and the term, for every field that is filtered by terms."""
    vocabularies = {field.name: field for field in encoder.fields}
    return {
        encoder.first_slots[field.name] + place: (field.field, term)
        for field in index_fields(encoder)
        if field.type == "keyword"
        for place, term in enumerate(vocabularies[field.name].terms)
    }
