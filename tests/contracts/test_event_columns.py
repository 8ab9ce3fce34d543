"""The tables' columns are the fields of an event, in name, order and type."""

from __future__ import annotations

import msgspec

from contracts.event import Event
from contracts.event_columns import EVENT_COLUMNS, EXPOSURE_COLUMNS, PARTITION_COLUMN

HIVE = {"str": "string", "int": "bigint", "float": "double", "bool": "boolean"}


def test_the_columns_of_events_are_the_fields_of_an_event():
    kinds = {field.name: str(field.type) for field in msgspec.structs.fields(Event)}
    expected = [(field.name, field.type) for field in msgspec.inspect.type_info(Event).fields]
    assert [name for name, _ in EVENT_COLUMNS] == [name for name, _ in expected] == list(kinds)
    for (name, hive), (_, kind) in zip(EVENT_COLUMNS, expected, strict=True):
        plain = [one for one in getattr(kind, "types", [kind]) if not isinstance(one, msgspec.inspect.NoneType)]
        assert [hive] == [HIVE[type(one).__name__.removesuffix("Type").lower()] for one in plain], name


def test_no_column_is_there_twice_or_is_the_partition():
    for columns in (EVENT_COLUMNS, EXPOSURE_COLUMNS):
        names = [name for name, _ in columns]
        assert len({*names, PARTITION_COLUMN}) == len(names) + 1
        assert {kind for _, kind in columns} <= set(HIVE.values())
