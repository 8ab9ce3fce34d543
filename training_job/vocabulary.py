"""Fit the feature encoders: from columns of raw values to the vocabularies that training and serving share.

Terms are ordered by how many entities carry them and capped, so that the tables stay small and a re-run on the same
data gives the same slots. Applying a vocabulary is `contracts.feature_encoder`'s work. `fit.py` calls it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from contracts.feature_encoder import Bag, FeatureEncoder, FieldVocabulary, category_text, multi_values, tokenize
from contracts.schema import FeatureKind

MAX_CATEGORIES = 50_000
"""Values of one feature: 50,000 embeddings of 64 floats are 13 MB, and rarer values say nothing that ids do not."""
MAX_WORDS = 20_000
"""Words of one text feature: covers the vocabulary of a language; the tail of names and typos has no neighbours."""
MIN_WORD_ITEMS = 2
"""A word of one entity connects it to nobody."""
MIN_CATEGORY_USERS = 5
"""A user category of fewer people (a zip code) would be memorised, not learned. Items keep all: filters need them."""
BUCKETS = 16
"""Quantile buckets of a number: fine enough for half a decade of film years, wide enough to hold examples each."""
TEXT_SAMPLE = 200_000
"""Entities that a text vocabulary is fitted on: document frequencies settle long before."""

NUMERIC_KINDS = (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP)


def fit_encoder(features: dict[str, FeatureKind], table: pl.DataFrame, min_count: int = 1) -> FeatureEncoder:
    """Vocabularies of one side. `table` has a row per entity and (some of) the columns that `features` names.

    A categorical value of fewer than `min_count` entities gets no slot.
    """
    fields = [_fit_field(name, kind, table[name], min_count) for name, kind in features.items() if name in table]
    return FeatureEncoder(fields)


def _fit_field(name: str, kind: FeatureKind, column: pl.Series, min_count: int) -> FieldVocabulary:
    if kind in NUMERIC_KINDS:
        return FieldVocabulary(name, kind, edges=_edges(numbers(column)))
    if kind is FeatureKind.TEXT:
        terms, idf = _words(column)
        return FieldVocabulary(name, kind, terms=terms, idf=idf)
    return FieldVocabulary(name, kind, terms=_categories(column, kind, min_count))


def numbers(column: pl.Series) -> NDArray[np.float64]:
    """A numeric, boolean or temporal column as floats (seconds for times), NaN for null."""
    if column.dtype.is_temporal():
        column = column.dt.epoch("s")
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _edges(values: NDArray[np.float64]) -> list[float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return []
    distinct = np.unique(known)
    if len(distinct) <= BUCKETS:
        middles: list[float] = ((distinct[1:] + distinct[:-1]) / 2).tolist()
        return middles
    inner = np.quantile(known, np.arange(1, BUCKETS) / BUCKETS)
    edges: list[float] = np.unique(inner).tolist()
    return edges


def _categories(column: pl.Series, kind: FeatureKind, min_count: int) -> list[str]:
    """Values by how many entities carry them, most first; ties in code point order.

    Distinct raw values are few (a list column repeats its combinations), so only they pass through Python.
    """
    raw = column.drop_nulls().value_counts(name="carriers")
    counted: Counter[str] = Counter()
    for value, count in zip(raw[column.name].to_list(), raw["carriers"].to_list(), strict=True):
        parts = set(multi_values(value)) if kind is FeatureKind.MULTI_CATEGORICAL else [category_text(value)]
        counted.update(dict.fromkeys(parts, count))
    ranked = sorted((term for term in counted if counted[term] >= min_count), key=lambda term: (-counted[term], term))
    return ranked[:MAX_CATEGORIES]


def _words(column: pl.Series) -> tuple[list[str], list[float]]:
    texts = column.drop_nulls().cast(pl.String).to_list()[:TEXT_SAMPLE]
    fewest = MIN_WORD_ITEMS if len(texts) >= 2 * MIN_WORD_ITEMS else 1
    vectorizer = TfidfVectorizer(
        tokenizer=tokenize, token_pattern=None, lowercase=False, min_df=fewest, max_features=MAX_WORDS
    )
    try:
        vectorizer.fit(texts)
    except ValueError:  # scikit-learn's "empty vocabulary": no text has a word that two share
        return [], []
    return vectorizer.get_feature_names_out().tolist(), vectorizer.idf_.tolist()


def encode_table(encoder: FeatureEncoder, table: pl.DataFrame) -> Bag:
    """Bags of all entities of a table.

    The encoder may be an earlier release's: a feature that the table lacks, or holds as numbers where the encoder has
    words or the other way round, counts as missing.
    """
    columns: dict[str, Any] = {}
    for field in encoder.fields:
        if field.name not in table.columns:
            continue
        column, numeric = table[field.name], field.kind in NUMERIC_KINDS
        if _holds_numbers(column.dtype) == numeric:
            columns[field.name] = numbers(column) if numeric else column.to_list()
    return encoder.encode(columns, table.height)


def _holds_numbers(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean


def raw_numbers(encoder: FeatureEncoder, table: pl.DataFrame) -> NDArray[np.float64]:
    """Numeric and timestamp features [n, n_numeric] in encoder field order, NaN where missing."""
    columns = [numbers(table[field.name]) for field in encoder.fields if field.kind in NUMERIC_KINDS]
    return np.stack(columns, axis=1) if columns else np.empty((table.height, 0))
