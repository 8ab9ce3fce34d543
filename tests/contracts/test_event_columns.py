"""The tables' columns are the fields of what the logs keep, in name, order and type."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contracts.event import Event
from contracts.event_columns import EVENT_COLUMNS, EXPOSURE_COLUMNS, PARTITION_COLUMN, SLATE_COLUMNS
from contracts.served import Exposure, ServedSlate

HIVE = {
    "str": "string", "int": "bigint", "float": "double", "bool": "boolean",
    "list[str]": "array<string>", "list[float]": "array<double>", "list[int]": "array<int>",
}  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "row"), [(EVENT_COLUMNS, Event), (EXPOSURE_COLUMNS, Exposure), (SLATE_COLUMNS, ServedSlate)]
)
def test_the_columns_are_the_fields_of_a_row(columns, row):
    expected = [(field.name, field.type) for field in msgspec.inspect.type_info(row).fields]
    assert [name for name, _ in columns] == [name for name, _ in expected]
    for (name, hive), (_, kind) in zip(columns, expected, strict=True):
        plain = [one for one in getattr(kind, "types", [kind]) if not isinstance(one, msgspec.inspect.NoneType)]
        assert [hive] == [HIVE[_plain_name(one)] for one in plain], name


def _plain_name(kind: Any) -> str:
    name = type(kind).__name__.removesuffix("Type").lower()
    return f"list[{_plain_name(kind.item_type)}]" if name == "list" else name


def test_no_column_is_there_twice_or_is_the_partition():
    for columns in (EVENT_COLUMNS, EXPOSURE_COLUMNS, SLATE_COLUMNS):
        names = [name for name, _ in columns]
        assert len({*names, PARTITION_COLUMN}) == len(names) + 1
        assert {kind for _, kind in columns} <= set(HIVE.values())
