"""The dataset schema: round trips, and contradictions are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import SchemaError
from contracts.schema import DatasetSchema, EventWeights, FeatureKind, TimeMeaning, parse_schema, schema_toml

NAMES = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)
KINDS = st.sampled_from(FeatureKind)


@given(
    users=st.dictionaries(NAMES, KINDS, max_size=4),
    items=st.dictionaries(NAMES, KINDS, max_size=4),
    time=st.sampled_from(TimeMeaning),
    weights=st.dictionaries(NAMES, st.floats(-5, 5, allow_nan=False), max_size=3),
    data=st.data(),
)
def test_what_is_written_is_read_back_equal(
    users: dict[str, FeatureKind],
    items: dict[str, FeatureKind],
    time: TimeMeaning,
    weights: dict[str, float],
    data: st.DataObject,
) -> None:
    categorical = [name for name, kind in users.items() if kind is FeatureKind.CATEGORICAL]
    stamps = [name for name, kind in items.items() if kind is FeatureKind.TIMESTAMP]
    schema = DatasetSchema(
        time=time,
        users=users,
        items=items,
        segment=tuple(data.draw(st.lists(st.sampled_from(categorical), unique=True)) if categorical else ()),
        published=data.draw(st.sampled_from(stamps)) if stamps else None,
        event_weights=EventWeights(types=weights),
    )
    assert parse_schema(schema_toml(schema)) == schema


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("version = 2", "version 2"),
        ("version = 'one'", "version 'one'"),
        ("time = 'sometimes'", "time"),
        ("colour = 1", "colour"),
        ("= 3", "TOML"),
        ("category = 'genre'", "category"),
        ("published = 'p'\n[items]\np = 'text'", "published"),
        ("segment = ['age']\n[users]\nage = 'numeric'", "segment"),
        ("[users]\nage = 'number'", "age"),
    ],
)
def test_a_contradiction_is_named_with_its_file(text: str, named: str) -> None:
    with pytest.raises(SchemaError, match=named) as caught:
        parse_schema(text, "data/schema.toml")
    assert "data/schema.toml" in caught.value.message
    assert caught.value.fix


@given(st.text(max_size=200))
def test_any_text_is_a_schema_or_a_named_error(text: str) -> None:
    try:
        parse_schema(text)
    except SchemaError:
        return
