"""Rows that Firehose would drop or lay below errors/ are found before they are deployed."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import VerificationFailed
from contracts.event_columns import EXPOSURE_COLUMNS, SLATE_COLUMNS
from local_mode.rehearsal import tested


@pytest.mark.parametrize(
    ("row", "columns", "said"),
    [
        ({"user_id": "u", "bucket": 7}, EXPOSURE_COLUMNS, "bucket is 7, and the table has None"),
        ({"timestamp": "2026-11-26"}, EXPOSURE_COLUMNS, "timestamp is '2026-11-26', and the table has bigint"),
        ({"timestamp": True}, EXPOSURE_COLUMNS, "timestamp is True"),
        ({"degraded": "no"}, EXPOSURE_COLUMNS, "the table has boolean"),
        ({"items": "i_1"}, SLATE_COLUMNS, "the table has array<string>"),
        ({"scores": [1.5, "2"]}, SLATE_COLUMNS, "the table has array<double>"),
        ({"teams": [0.5]}, SLATE_COLUMNS, "the table has array<int>"),
    ],
)
def test_a_row_that_does_not_fit_the_table_is_named(row: dict[str, Any], columns: Any, said: str) -> None:
    with pytest.raises(VerificationFailed, match=said):
        tested._check_columns(row, columns, "slates/x")
