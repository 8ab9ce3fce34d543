"""Live items as columns of one release, read once and kept from one overlay to the next.

Every change of one item makes a new overlay of thousands; reading all of them in Python would take a tenth of a second
of it, beside the requests. The table reads what is new, and hands out columns of whatever is live now. It belongs to an
opened release and is read by one thread at a time. It does not know how columns become rows; `fresh.py` lays them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import compress
from operator import is_not
from sys import float_info
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from contracts.feature_encoder import Bag, FeatureEncoder, category_text, multi_values
from contracts.fitted import NEVER_EXPIRES, UNKNOWN_TIME, FittedModel, Floats, Rows
from contracts.live import Encoding, LiveItem
from contracts.schema import DatasetSchema, FeatureKind

NEIGHBOURS_OF_COLD: Final = 5
"""Nearest hot items through which a cold item can be reached."""

STORED: Final = "<f4"
"""How an Encoding holds numbers: little endian float32."""

_KEPT: Final = 2
"""The table begins anew where it has so many times as much as is live: changed items leave their old lines behind."""
_SLACK: Final = 1_000
_NOT_TOLD: Final = -1
_LATEST: Final = 2.0**62
"""Seconds: what anybody tells beyond it is as good as never, and no integer of 64 bits."""
_COUNTED: Final = (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP)


@dataclass(frozen=True)
class _Lines:
    """Arrays, and bags, of one length."""

    def take(self, places: NDArray[np.int64]) -> Self:
        """Some lines, in that order."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{name: v.take(places) if isinstance(v, Bag) else v[places] for name, v in values.items()})

    def then(self, more: Self) -> Self:
        """These and, behind them, more."""
        pairs = {field.name: (getattr(self, field.name), getattr(more, field.name)) for field in fields(self)}
        return type(self)(**{name: _joined(*pair) for name, pair in pairs.items()})


def _joined(one: Any, other: Any) -> Any:
    if not isinstance(one, Bag):
        return np.concatenate([one, other])
    offsets = np.concatenate([one.offsets, other.offsets[1:] + one.offsets[-1]])
    return Bag(np.concatenate([one.slots, other.slots]), np.concatenate([one.weights, other.weights]), offsets)


@dataclass(frozen=True)
class Told(_Lines):
    """What was told of t live items, whether or not the release knows them."""

    rows: Rows
    """[t] in the release; -1: it does not know the item."""
    states: NDArray[np.int8]
    """[t] whether it may be served: 1, 0, or -1 where nothing was told of that."""
    created: NDArray[np.int64]
    """[t] Unix seconds."""
    places: NDArray[np.int64]
    """[t] among the columns; -1: it cannot have a row of its own."""


@dataclass(frozen=True)
class Columns(_Lines):
    """What a release has of every item, of f fresh ones."""

    events: NDArray[np.int32]
    category: Rows
    published: NDArray[np.int64]
    expires: NDArray[np.int64]
    servable: NDArray[np.bool_]
    features: Bag
    """f bags of slots of the item encoder, without words: no filter asks for them."""
    numbers: NDArray[np.float64]
    two_tower: Floats
    als: Floats
    hot: Rows
    """[f, NEIGHBOURS_OF_COLD] rows of the nearest hot items, -1 where there are fewer."""
    similarities: Floats
    """[f, NEIGHBOURS_OF_COLD] cosine."""
    keys: NDArray[np.uint64]
    """A number of each one's id, to draw by."""


class FreshTable:
    """Live items as one release sees them."""

    def __init__(self, fitted: FittedModel) -> None:
        self._fitted = fitted
        self._begin("")

    def _begin(self, release: str) -> None:
        self._release = release
        self._items: dict[str, LiveItem] = {}
        self._place: dict[str, int] = {}
        self._told = _told([], np.empty(0, np.int32), np.empty(0, np.int64), self._fitted.schema)
        self._columns = _columns(self._fitted, [], [])

    def read(self, live: Mapping[str, LiveItem], release: str) -> Told:
        """What was told of live items, in their order; an item that is the very same as before is not read again."""
        if release != self._release or len(self._told.rows) > _KEPT * len(live) + _SLACK:
            self._begin(release)
        is_new = map(is_not, live.values(), map(self._items.get, live))
        self._add(list(compress(live.values(), is_new)))
        return self._told.take(np.fromiter(map(self._place.__getitem__, live), np.int64, len(live)))

    def columns(self, places: NDArray[np.int64]) -> Columns:
        """The columns of some of what was read."""
        return self._columns.take(places)

    def _add(self, items: Sequence[LiveItem]) -> None:
        if not items:
            return
        ids = [item.item_id for item in items]
        rows = self._fitted.items.ids.rows(ids)
        with_row = np.array([row < 0 and self._has_vectors(i) for i, row in zip(items, rows.tolist(), strict=True)])
        fresh = [items[place] for place in np.flatnonzero(with_row).tolist()]
        places = np.where(with_row, len(self._columns.events) - 1 + np.cumsum(with_row), -1)
        self._columns = self._columns.then(_columns(self._fitted, fresh, [i.encodings[self._release] for i in fresh]))
        first = len(self._told.rows)
        self._told = self._told.then(_told(items, rows, places, self._fitted.schema))
        self._items.update(zip(ids, items, strict=True))
        self._place.update(zip(ids, range(first, first + len(ids)), strict=True))

    def _has_vectors(self, item: LiveItem) -> bool:
        """Whether it is encoded for this release, and as it is now."""
        encoding = item.encodings.get(self._release)
        if encoding is None or item.features is None or encoding.digest != item.digest:
            return False
        return (len(encoding.two_tower), len(encoding.als)) == _sizes(self._fitted)


def _sizes(fitted: FittedModel) -> tuple[int, int]:
    """Bytes of the two vectors of an item."""
    width = np.dtype(STORED).itemsize
    return width * fitted.items.two_tower.shape[1], width * fitted.items.als.shape[1]


def _told(items: Sequence[LiveItem], rows: Rows, places: NDArray[np.int64], schema: DatasetSchema) -> Told:
    states = np.array([_state(item, schema) for item in items], np.int8)
    return Told(rows, states, np.array([item.created_at for item in items], np.int64), places)


def _state(item: LiveItem, schema: DatasetSchema) -> int:
    """Whether an item may be served by what was told of it: 1, 0 or _NOT_TOLD."""
    if item.hidden:
        return 0
    if item.available is not None:
        return int(item.available)
    told = None if schema.available is None or item.features is None else item.features.get(schema.available)
    return _NOT_TOLD if told is None else int(category_text(told) != "false")


def _columns(fitted: FittedModel, fresh: Sequence[LiveItem], encodings: Sequence[Encoding]) -> Columns:
    schema, encoder, n = fitted.schema, fitted.item_encoder, len(fresh)
    told = [item.features or {} for item in fresh]
    kinds = {field.name: field.kind for field in encoder.fields if field.kind is not FeatureKind.TEXT}
    values = {name: _values(told, name, kind) for name, kind in kinds.items()}
    numbers = [values[name] for name, kind in kinds.items() if kind in _COUNTED]
    created = [item.created_at or UNKNOWN_TIME for item in fresh]
    dim, als_dim = fitted.items.two_tower.shape[1], fitted.items.als.shape[1]
    return Columns(
        events=np.array([item.events for item in fresh], np.int32),
        category=_categories(fitted, told),
        published=_times(told, schema.published, created),
        expires=_times(told, schema.expires, [NEVER_EXPIRES] * n),
        servable=np.array([_state(item, schema) != 0 for item in fresh], np.bool_),
        features=encoder.encode(values, n),
        numbers=np.array(numbers, np.float64).reshape(len(numbers), n).T,
        two_tower=_floats(encoding.two_tower for encoding in encodings).reshape(n, dim),
        als=_floats(encoding.als for encoding in encodings).reshape(n, als_dim),
        hot=_padded([encoding.neighbours for encoding in encodings], -1, np.dtype(np.int32)),
        similarities=_padded([encoding.similarities for encoding in encodings], 0, np.dtype(np.float32)),
        keys=np.array([zlib.crc32(item.item_id.encode()) for item in fresh], np.uint64),
    )


def _values(told: Sequence[Mapping[str, Any]], name: str, kind: FeatureKind) -> list[Any]:
    """One feature of all items, as the encoder reads it."""
    missing = np.nan if kind in _COUNTED else None
    values = [features.get(name) for features in told]
    return [missing if value is None or not fits(kind, value) else value for value in values]


def _categories(fitted: FittedModel, told: Sequence[Mapping[str, Any]]) -> Rows:
    feature = fitted.schema.category
    if feature is None:
        return np.full(len(told), -1, np.int32)
    kind = fitted.schema.items[feature]
    multi = kind is FeatureKind.MULTI_CATEGORICAL
    texts = [_category(value, multi) for value in _values(told, feature, kind)]
    wanted = set(texts)
    number = {name: place for place, name in enumerate(fitted.categories) if name in wanted}
    return np.array([-1 if text is None else number.get(text, -1) for text in texts], np.int32)


def _category(value: object, multi: bool) -> str | None:
    """One category of a value: the first of several."""
    if value is None:
        return None
    return next(iter(multi_values(value)), None) if multi else category_text(value)


def _times(told: Sequence[Mapping[str, Any]], feature: str | None, otherwise: list[int]) -> NDArray[np.int64]:
    if feature is None:
        return np.array(otherwise, np.int64)
    seconds = np.array(_values(told, feature, FeatureKind.TIMESTAMP), np.float64)
    known = np.isfinite(seconds)
    whole = np.where(known, np.clip(seconds, -_LATEST, _LATEST), 0).astype(np.int64)
    return np.where(known, whole, np.array(otherwise, np.int64))


def _padded(lists: Sequence[list[Any]], filling: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """The first NEIGHBOURS_OF_COLD of each list [f, NEIGHBOURS_OF_COLD]."""
    none = [filling] * NEIGHBOURS_OF_COLD
    first = [(values + none)[:NEIGHBOURS_OF_COLD] for values in lists]
    return np.array(first, kind).reshape(len(lists), NEIGHBOURS_OF_COLD)


def _floats(pieces: Iterable[bytes]) -> Floats:
    return np.frombuffer(b"".join(pieces), STORED).astype(np.float32)


def fitting(encoder: FeatureEncoder, features: Mapping[str, Any]) -> dict[str, Any]:
    """The features that an encoder can read."""
    told = ((field, features.get(field.name)) for field in encoder.fields)
    return {field.name: value for field, value in told if value is not None and fits(field.kind, value)}


def fits(kind: FeatureKind, value: object) -> bool:
    """Whether a value is of a kind. A release may know a feature by another kind than the one that it was told by."""
    if isinstance(value, str):
        return kind not in _COUNTED
    if kind in _COUNTED:
        return isinstance(value, int | float) and -float_info.max <= value <= float_info.max  # and no NaN
    return isinstance(value, list) if kind is FeatureKind.MULTI_CATEGORICAL else isinstance(value, int | float)
