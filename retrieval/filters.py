"""Request filters → a restriction: a mask over item rows, and the same as typed clauses for a search engine.

Categories, tags and words were encoded as slots; here the slots are inverted once, when a release is opened, so that a
filter touches only the rows that match. Numbers and timestamps are compared column by column. A value that training
never saw matches nothing; a filter that the item features cannot answer is RequestInvalid, naming `filters.<name>`.
It does not know eligibility, only what the client asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import RequestInvalid
from contracts.feature_encoder import Bag, FeatureEncoder, FieldVocabulary
from contracts.fitted import ItemArrays, Rows
from contracts.request import FilterValue, Range
from contracts.restriction import AnyOf, Clause, Restriction, Within
from contracts.schema import FeatureKind

_COUNTED = (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP)
_NAMED = (FeatureKind.CATEGORICAL, FeatureKind.MULTI_CATEGORICAL)


@dataclass(frozen=True)
class Postings:
    """Rows of each category of one field: category c owns rows[offsets[c]:offsets[c + 1]], ascending."""

    rows: Rows
    offsets: NDArray[np.int64]

    def of(self, category: int) -> Rows:
        return self.rows[self.offsets[category] : self.offsets[category + 1]]


class _Inverted:
    """Some items by their features. i items."""

    def __init__(self, encoder: FeatureEncoder, features: Bag, numbers: NDArray[np.float64]) -> None:
        self._encoder, self._n_items = encoder, len(features)
        named = [field for field in encoder.fields if field.kind in _NAMED]
        counted = [field.name for field in encoder.fields if field.kind in _COUNTED]
        self._postings = _invert(encoder, named, features) if named else {}
        self._numbers = {name: np.ascontiguousarray(numbers[:, i]) for i, name in enumerate(counted)}

    def passing(self, clause: Clause) -> NDArray[np.bool_]:
        """Which of them [i] a clause lets through."""
        if isinstance(clause, AnyOf):
            return self._any_of(clause)
        numbers = self._numbers[clause.name]
        low = -np.inf if clause.gte is None else clause.gte
        high = np.inf if clause.lte is None else clause.lte
        return (numbers >= low) & (numbers <= high)  # a missing number is NaN and passes nothing

    def _any_of(self, clause: AnyOf) -> NDArray[np.bool_]:
        matching = np.zeros(self._n_items, np.bool_)
        first = self._encoder.first_slots[clause.name]
        for value in clause.values:
            matching[self._postings[clause.name].of(self._encoder.slot(clause.name, value) - first)] = True
        return matching


class ItemFilters:
    """The item features of a release, ready to be filtered."""

    def __init__(self, encoder: FeatureEncoder, items: ItemArrays) -> None:
        """Invert the categorical fields and lay the numeric ones out by column: a second at a million items."""
        self._encoder = encoder
        self._fields = {field.name: field for field in encoder.fields}
        self._parts = [_Inverted(encoder, items.features, items.numbers)]

    def with_more(self, features: Bag, numbers: NDArray[np.float64]) -> ItemFilters:
        """Filters of these items and, in the rows behind them, of others: their bags, their numbers [i, n_numeric]."""
        longer = copy(self)
        longer._parts = [*self._parts, _Inverted(self._encoder, features, numbers)]
        return longer

    def mask(self, filters: Mapping[str, FilterValue]) -> NDArray[np.bool_] | None:
        """Which rows [n] pass all filters; None where there is no filter. Raises as `restriction`."""
        restriction = self.restriction(filters)
        return None if restriction is None else restriction.mask

    def restriction(self, filters: Mapping[str, FilterValue]) -> Restriction | None:
        """What all filters together let through; None where there is no filter.

        Raises RequestInvalid with `field` = `filters.<name>`.
        """
        clauses = tuple(self._clause(name, value) for name, value in filters.items())
        return self.restriction_to(clauses) if clauses else None

    def restriction_to(self, clauses: tuple[Clause, ...]) -> Restriction:
        """What clauses of a release's probes, at least one, let through."""
        passing = self._passing(clauses[0])
        for clause in clauses[1:]:
            passing &= self._passing(clause)
        return Restriction(clauses, passing)

    def _clause(self, name: str, value: FilterValue) -> Clause:
        field = self._fields.get(name)
        if field is None or field.kind is FeatureKind.TEXT:
            raise _invalid(name, "is no item feature that can be filtered", f"Filter by {self._choices()}.")
        if field.kind in _COUNTED:
            return _within(field, value)
        if isinstance(value, Range):
            raise _invalid(name, f"is {field.kind}, a range was given", "Give a value or a list of values.")
        given = dict.fromkeys([value] if isinstance(value, str) else value)
        return AnyOf(name, tuple(text for text in given if self._encoder.slot(name, text) >= 0))

    def _passing(self, clause: Clause) -> NDArray[np.bool_]:
        passing = [part.passing(clause) for part in self._parts]
        return passing[0] if len(passing) == 1 else np.concatenate(passing)

    def _choices(self) -> str:
        names = sorted(name for name, field in self._fields.items() if field.kind in _COUNTED + _NAMED)
        return ", ".join(names) if names else "nothing: the items have no features"


def _within(field: FieldVocabulary, value: FilterValue) -> Within:
    if not isinstance(value, Range) or (value.gte is None and value.lte is None):
        raise _invalid(field.name, f"is {field.kind}, a range is needed", 'Give {"gte": …, "lte": …}.')
    return Within(field.name, value.gte, value.lte)


def _invert(encoder: FeatureEncoder, named: list[FieldVocabulary], features: Bag) -> dict[str, Postings]:
    slots = np.asarray(features.slots)
    owners = np.repeat(np.arange(len(features), dtype=np.int32), np.diff(features.offsets))
    postings = {}
    for field in named:
        local = slots - encoder.first_slots[field.name]
        inside = (local >= 0) & (local < field.n_slots)
        postings[field.name] = invert(local[inside], owners[inside], field.n_slots)
    return postings


def invert(keys: NDArray[np.integer], owners: Rows, n_keys: int) -> Postings:
    """Owners by key. Small keys are sorted as 16 bit, which numpy does by radix, five times faster."""
    sortable = keys.astype(np.uint16) if n_keys <= np.iinfo(np.uint16).max else keys
    order = np.argsort(sortable, kind="stable")
    counts = np.bincount(keys, minlength=n_keys)
    return Postings(owners[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _invalid(name: str, problem: str, fix: str) -> RequestInvalid:
    return RequestInvalid(f"filters.{name} {problem}.", field=f"filters.{name}", fix=fix)
