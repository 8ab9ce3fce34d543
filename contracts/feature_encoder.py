"""Features → bags of weighted slots: the one encoder that training and serving share.

Every feature of an entity, of whatever kind, becomes zero or more (slot, weight) pairs in one numbering, so that the
content of a user or an item is `sum(weight * table[slot])` for any embedding table [n_slots, dim], and a TF-IDF
vector is the same bag under inverse document frequencies. Fitting a vocabulary is `training_job`'s work; this module
only applies one. It knows nothing of towers. Missing, null and unseen values have no slot: they add nothing.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import isnan
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.schema import FeatureKind

CURRENT_VERSION: Final = 1
OLDEST_READABLE_VERSION: Final = 1

MULTI_SEPARATOR: Final = "|"
"""Joins the values of a multi-categorical feature where a file format has no lists (CSV)."""

_TOKEN = re.compile(r"[぀-ヿ㐀-鿿가-힯]|[^\W_]+")
"""A word, or a single character of a script that is written without spaces."""


def tokenize(text: str) -> list[str]:
    """Split text into case-folded, compatibility-normalised (NFKC) words."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Bag:
    """Ragged (slot, weight) pairs: entity e owns offsets[e]:offsets[e+1].

    `slots` [n_pairs], `weights` [n_pairs], `offsets` [n_entities + 1].
    """

    slots: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: NDArray[np.integer]) -> Bag:
        """The bags of some entities, in that order."""
        starts, lengths = self.offsets[rows], self.offsets[np.asarray(rows) + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        positions = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Bag(self.slots[positions], self.weights[positions], offsets)


class FieldVocabulary(msgspec.Struct, frozen=True):
    """What one feature's values become: `terms` for words and categories, `edges` for numbers."""

    name: str
    kind: FeatureKind
    terms: list[str] = []
    """Categories or words, a slot each."""
    edges: list[float] = []
    """Ascending bucket edges; n edges make n + 1 slots."""
    idf: list[float] = []
    """Inverse document frequency of each term (text only)."""

    @property
    def n_slots(self) -> int:
        numeric = self.kind in (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP)
        return len(self.edges) + 1 if numeric else len(self.terms)


_Flat = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]
"""Local slot (or -1), weight, and entity number of each value."""


class FeatureEncoder(msgspec.Struct, frozen=True, dict=True):
    """The vocabularies of one side (users or items), in slot order."""

    fields: list[FieldVocabulary] = []
    version: int = CURRENT_VERSION

    @property
    def n_slots(self) -> int:
        return sum(field.n_slots for field in self.fields)

    @cached_property
    def first_slots(self) -> dict[str, int]:
        """First slot of each field."""
        firsts = np.cumsum([0, *(field.n_slots for field in self.fields)])
        return {field.name: int(first) for field, first in zip(self.fields, firsts, strict=False)}

    @cached_property
    def _lookups(self) -> dict[str, dict[str, int]]:
        return {field.name: {term: i for i, term in enumerate(field.terms)} for field in self.fields}

    @cached_property
    def _idf(self) -> dict[str, NDArray[np.float64]]:
        """Of words; as lists, those of one item would be read in half a millisecond."""
        return {field.name: np.asarray(field.idf, np.float64) for field in self.fields}

    def slot(self, name: str, value: str) -> int:
        """The slot of one category of a field, or -1 where training never saw it."""
        local = self._lookups.get(name, {}).get(value)
        return -1 if local is None else self.first_slots[name] + local

    def encode_one(self, features: Mapping[str, Any]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Slots and weights [n_pairs] of one entity, as `encode` gives them. Unknown feature names are ignored.

        A request encodes one user: features of one slot are looked up without arrays, 20 µs less for a handful.
        """
        slots: list[int] = []
        weights: list[float] = []
        for field in self.fields:
            value = features.get(field.name)
            if value is None:
                continue
            if field.kind in (FeatureKind.TEXT, FeatureKind.MULTI_CATEGORICAL):
                several, of_weight, _ = self._encode_field(field, [value])
                slots += several.tolist()
                weights += of_weight.tolist()
            elif (local := self._encode_value(field, value)) >= 0:
                slots.append(self.first_slots[field.name] + local)
                weights.append(1.0)
        return np.array(slots, np.int32), np.array(weights, np.float32)

    def _encode_value(self, field: FieldVocabulary, value: Any) -> int:
        """The local slot of a category or a number, -1 for an unseen or missing one."""
        if field.kind is FeatureKind.CATEGORICAL:
            return self._lookups[field.name].get(category_text(value), -1)
        number = float(value)
        return -1 if isnan(number) else bisect_right(field.edges, number)

    def encode(self, columns: Mapping[str, Sequence[Any]], n: int) -> Bag:
        """Encode `n` entities given as columns (a column may be missing; a value may be None).

        Values: str for categorical and text, a sequence of str (or one joined string) for multi-categorical, a
        number for numeric and timestamp (NaN counts as missing).
        """
        parts = [self._encode_field(field, columns[field.name]) for field in self.fields if field.name in columns]
        if not parts:
            return Bag(np.empty(0, np.int32), np.empty(0, np.float32), np.zeros(n + 1, np.int64))
        slots, weights, owners = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
        if len(parts) > 1 and n > 1:
            order = np.argsort(owners, kind="stable")
            slots, weights, owners = slots[order], weights[order], owners[order]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))]).astype(np.int64)
        return Bag(slots, weights, offsets)

    def _encode_field(self, field: FieldVocabulary, values: Sequence[Any]) -> _Flat:
        if field.kind in (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP):
            local, weights, owners = _encode_numbers(field, values)
        elif field.kind is FeatureKind.CATEGORICAL:
            local = self._look_up(field, ("" if v is None else category_text(v) for v in values))
            weights, owners = np.ones(len(local), np.float32), np.arange(len(local))
        else:
            local, weights, owners = self._encode_lists(field, values)
        known = local >= 0
        return local[known] + np.int32(self.first_slots[field.name]), weights[known], owners[known]

    def _look_up(self, field: FieldVocabulary, values: Iterable[str]) -> NDArray[np.int32]:
        lookup = self._lookups[field.name]
        return np.fromiter((lookup.get(value, -1) for value in values), np.int32)

    def _encode_lists(self, field: FieldVocabulary, values: Sequence[Any]) -> _Flat:
        split = tokenize_value if field.kind is FeatureKind.TEXT else multi_values
        lists = [split(value) for value in values]
        owners = np.repeat(np.arange(len(lists)), np.fromiter(map(len, lists), np.int64, len(lists)))
        local = self._look_up(field, chain.from_iterable(lists))
        known = local >= 0
        pairs, counts = np.unique(np.stack([owners[known], local[known]]), axis=1, return_counts=True)
        owners, local = pairs[0], pairs[1].astype(np.int32)
        weights = counts * self._idf[field.name][local] if field.kind is FeatureKind.TEXT else np.ones(len(local))
        norms = np.sqrt(np.bincount(owners, weights=weights**2, minlength=len(lists)))
        return local, (weights / norms[owners]).astype(np.float32), owners


def _encode_numbers(field: FieldVocabulary, values: Sequence[Any]) -> _Flat:
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    local = np.searchsorted(np.asarray(field.edges), numbers, side="right").astype(np.int32)
    local[np.isnan(numbers)] = -1
    return local, np.ones(len(local), np.float32), np.arange(len(local))


def category_text(value: object) -> str:
    """A category as the string that vocabularies hold (`True` is `true`, 3.0 from a float column is `3`)."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def multi_values(value: object) -> list[str]:
    """The values of a multi-categorical feature, given as a list or as one joined string."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part for part in value.split(MULTI_SEPARATOR) if part]
    return [category_text(part) for part in value if part is not None]  # type: ignore[attr-defined]  # a sequence


def tokenize_value(value: object) -> list[str]:
    """The words of a text feature, none for a missing one."""
    return [] if value is None else tokenize(str(value))
