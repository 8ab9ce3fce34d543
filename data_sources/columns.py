"""One raw column becomes one canonical column: ids, words, numbers, times, lists.

Canonical types: id, word, categorical and text → String; multi-categorical → List(String); numeric → Float64; timestamp
→ Int64 Unix seconds. A value that cannot become what its column promises turns null and is marked as bad; nothing is
trimmed, normalised or guessed. Whole columns at a time; knows nothing of files. `reading` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import polars as pl

from contracts.feature_encoder import MULTI_SEPARATOR
from contracts.schema import FeatureKind

_DAY: Final = 86_400

_ISO: Final = (
    r"^\s*(?<date>[+-]?\d{4,6}-\d{2}-\d{2})(?:[T ](?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,]\d*)?)?"
    r"\s*(?<zone>Z|z|UTC|GMT|[+-]\d{2}:?\d{2})?)?\s*$"
)
"""ISO 8601 as databases print it; fractions of a second are cut off."""

_EXACT_FLOAT: Final = 2.0**53
"""Whole numbers beyond it are not exact in a float, so a float id over it may be two ids."""


class Role(StrEnum):
    """Columns that are no features."""

    ID = "id"
    WORD = "word"
    """Text that may be null: event types, sessions, splits."""


ColumnKind = Role | FeatureKind

CANONICAL: Final[dict[ColumnKind, pl.DataType]] = {
    Role.ID: pl.String(),
    Role.WORD: pl.String(),
    FeatureKind.CATEGORICAL: pl.String(),
    FeatureKind.TEXT: pl.String(),
    FeatureKind.NUMERIC: pl.Float64(),
    FeatureKind.TIMESTAMP: pl.Int64(),
    FeatureKind.MULTI_CATEGORICAL: pl.List(pl.String()),
}


@dataclass(frozen=True)
class Converted:
    """A canonical column [n] and where [n] the raw value could not become one."""

    values: pl.Series
    bad: pl.Series


def convert(raw: pl.Series, kind: ColumnKind) -> Converted:
    """Convert a raw column of any type to the canonical type of `kind`."""
    values = _CONVERTERS[kind](raw).alias(raw.name)
    return Converted(values, values.is_null() & ~is_missing(raw, kind))


def is_missing(raw: pl.Series, kind: ColumnKind) -> pl.Series:
    """Where [n] a raw column says that there is no value: null, NaN, and for numbers and times an empty text."""
    missing = raw.is_null()
    if raw.dtype.is_float():
        return missing | raw.is_nan().fill_null(False)
    if raw.dtype == pl.String and kind in (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP):
        return missing | raw.str.strip_chars().str.to_lowercase().is_in(["", "nan"]).fill_null(False)
    if raw.dtype == pl.String and kind is Role.ID:
        return missing | (raw == "").fill_null(False)
    return missing


def _nothing(raw: pl.Series, kind: pl.DataType) -> pl.Series:
    return pl.repeat(None, len(raw), dtype=kind, eager=True)


def _to_id(raw: pl.Series) -> pl.Series:
    """Integers become their decimal text, as do floats that hold integers exactly (ids of a column with nulls)."""
    if raw.dtype.is_float():
        exact = (raw == raw.floor()) & (raw.abs() <= _EXACT_FLOAT)
        return _where(exact, raw).cast(pl.Int64, strict=False).cast(pl.String)
    if raw.dtype.is_integer() or _is_text(raw.dtype):
        return _to_text(raw)
    return _nothing(raw, pl.String())


def _to_word(raw: pl.Series) -> pl.Series:
    """Text as it is; numbers and truth values as `category_text` of the feature encoder prints them."""
    if raw.dtype.is_float():
        whole = _where((raw == raw.floor()) & (raw.abs() <= _EXACT_FLOAT), raw)
        return whole.cast(pl.Int64, strict=False).cast(pl.String).fill_null(raw.fill_nan(None).cast(pl.String))
    if raw.dtype.is_nested() or raw.dtype == pl.Object:
        return _nothing(raw, pl.String())
    return _to_text(raw)


def _is_text(kind: pl.DataType) -> bool:
    return kind in (pl.String, pl.Categorical, pl.Enum, pl.Binary, pl.Null)


def _to_text(raw: pl.Series) -> pl.Series:
    if raw.dtype == pl.Binary:
        try:
            return raw.cast(pl.String)
        except pl.exceptions.PolarsError:  # polars casts all or nothing
            return raw.map_elements(_decoded, return_dtype=pl.String())
    return raw.cast(pl.String)


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _to_number(raw: pl.Series) -> pl.Series:
    """Finite numbers, truth values as 0 and 1, numbers written as text; NaN is a missing value."""
    if raw.dtype == pl.String:
        raw = raw.str.strip_chars()
        raw = _where(raw != "", raw)
    elif not (raw.dtype.is_numeric() or raw.dtype in (pl.Boolean, pl.Null)):
        return _nothing(raw, pl.Float64())
    numbers = raw.cast(pl.Float64, strict=False)
    return _where(numbers.is_finite(), numbers)


def _to_seconds(raw: pl.Series) -> pl.Series:
    """Unix seconds from seconds (fractions cut off), from dates and times (UTC where they name no zone)."""
    if raw.dtype == pl.Date:
        return raw.cast(pl.Int64) * _DAY
    if isinstance(raw.dtype, pl.Datetime):
        return raw.dt.epoch("s").cast(pl.Int64)
    if raw.dtype == pl.String:
        return _number_text_to_seconds(raw).fill_null(_iso_to_seconds(raw))
    if raw.dtype.is_numeric() or raw.dtype == pl.Null:
        return _floor(raw)
    return _nothing(raw, pl.Int64())


def _number_text_to_seconds(raw: pl.Series) -> pl.Series:
    text = raw.str.strip_chars()
    whole = text.cast(pl.Int64, strict=False)
    return whole.fill_null(_floor(text.cast(pl.Float64, strict=False))) if whole.null_count() else whole


def _floor(raw: pl.Series) -> pl.Series:
    return (raw.floor() if raw.dtype.is_float() else raw).cast(pl.Int64, strict=False)


def _iso_to_seconds(raw: pl.Series) -> pl.Series:
    if raw.cast(pl.Int64, strict=False).null_count() == raw.null_count():
        return _nothing(raw, pl.Int64())
    zone, digits = pl.col("zone"), pl.col("zone").str.replace(":", "")
    east = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 3600
    east += digits.str.slice(3, 2).cast(pl.Int64, strict=False) * 60
    offset = pl.when(zone.str.starts_with("-")).then(-east).when(zone.str.starts_with("+")).then(east).otherwise(0)
    clock = sum(
        (pl.col(name).cast(pl.Int64, strict=False).fill_null(0) * unit)
        for name, unit in (("hour", 3600), ("minute", 60), ("second", 1))
    )
    day = pl.col("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64) * _DAY
    return _iso_parts(raw).select((day + clock - offset).alias("seconds"))["seconds"]


def _iso_parts(raw: pl.Series) -> pl.DataFrame:
    return raw.str.extract_groups(_ISO).struct.unnest()


def time_zones(raw: pl.Series) -> dict[str, int]:
    """How many of the times written as text name which zone (`none`: no zone, read as UTC); empty for numbers."""
    if raw.dtype != pl.String or raw.str.contains(":", literal=True).sum() == 0:
        return {}
    parts = _iso_parts(raw).filter(pl.col("hour").is_not_null())
    zones = parts["zone"].fill_null("none").replace({"Z": "+00:00", "z": "+00:00", "UTC": "+00:00", "GMT": "+00:00"})
    return {str(zone): int(count) for zone, count in zones.value_counts(sort=True).iter_rows()}


def _to_list(raw: pl.Series) -> pl.Series:
    """Lists as they are without nulls; one joined text is split at the separator; a lone value is a list of one."""
    if isinstance(raw.dtype, pl.Array):
        raw = raw.arr.to_list()
    if isinstance(raw.dtype, pl.List):
        return _list_of_words(raw, raw.dtype.inner)
    if raw.dtype.is_nested() or raw.dtype == pl.Object:
        return _nothing(raw, CANONICAL[FeatureKind.MULTI_CATEGORICAL])
    words = _to_word(raw)
    split = words.str.split(MULTI_SEPARATOR).list.eval(pl.element().filter(pl.element() != ""))
    bracketed = words.str.starts_with("[").fill_null(False)
    return split.zip_with(~bracketed, _json_lists(words, bracketed, split)) if bracketed.any() else split


def _list_of_words(raw: pl.Series, inner: pl.DataType | pl.datatypes.DataTypeClass) -> pl.Series:
    if inner.is_nested() or inner in (pl.Object, pl.Binary):
        return _nothing(raw, CANONICAL[FeatureKind.MULTI_CATEGORICAL])
    word, value = pl.element().cast(pl.String), pl.element()
    if inner.is_float():
        whole = (value == value.floor()) & (value.abs() <= _EXACT_FLOAT)
        word = pl.when(whole).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(word)
    return raw.list.eval(word.drop_nulls())


def _json_lists(words: pl.Series, bracketed: pl.Series, split: pl.Series) -> pl.Series:
    """Lists written as JSON text, as a column holds them that mixes lists and joined text; else `split`."""
    try:
        return _where(bracketed, words).str.json_decode(pl.List(pl.String))
    except pl.exceptions.PolarsError:
        return split


def _where(keep: pl.Series, values: pl.Series) -> pl.Series:
    """`values` [n] with null where `keep` [n] is not true."""
    return values.set(~keep.fill_null(False), None)


_CONVERTERS: Final[dict[ColumnKind, Callable[[pl.Series], pl.Series]]] = {
    Role.ID: _to_id,
    Role.WORD: _to_word,
    FeatureKind.CATEGORICAL: _to_word,
    FeatureKind.TEXT: _to_word,
    FeatureKind.NUMERIC: _to_number,
    FeatureKind.TIMESTAMP: _to_seconds,
    FeatureKind.MULTI_CATEGORICAL: _to_list,
}
