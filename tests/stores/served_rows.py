"""Rows of what was served, for the tests of its logs and of who reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from contracts.event_columns import EXPOSURE_COLUMNS, SLATE_COLUMNS
from contracts.served import Exposure, ServedSlate, decode_exposure, decode_slate, encode_served

NOON: Final = 1_795_176_000
"""2026-11-20, 12:00 UTC."""

_TYPES: Final = {
    "string": pl.String(),
    "bigint": pl.Int64(),
    "boolean": pl.Boolean(),
    "array<string>": pl.List(pl.String()),
    "array<double>": pl.List(pl.Float64()),
    "array<int>": pl.List(pl.Int32()),
}
"""Hive type → type of a column."""


def exposure(user_id: str = "u", timestamp: int = NOON, variation_id: str = "control", **changes: Any) -> Exposure:
    facts = {"experiment_id": "tandem.model", "route": "model", "release": "r1"}
    return Exposure(**{**facts, **changes}, user_id=user_id, timestamp=timestamp, variation_id=variation_id)


def slate(name: str = "s", timestamp: int = NOON, **changes: Any) -> ServedSlate:
    facts = {
        "user_id": "u",
        "route": "model",
        "model": "two_tower",
        "release": "r1",
        "publication": "p1",
        "items": ["a", "b"],
        "scores": [1.0, 0.5],
        "propensities": [1.0, 0.05],
    }
    return ServedSlate(**{**facts, **changes}, recommendation_id=name, timestamp=timestamp)


def write_parquet(path: Path, rows: Sequence[Exposure] | Sequence[ServedSlate]) -> Path:
    """Rows as the table that AWS has of them gives them: what a line leaves out is null."""
    columns = EXPOSURE_COLUMNS if isinstance(rows[0], Exposure) else SLATE_COLUMNS
    lines = b"".join(encode_served(row) + b"\n" for row in rows)
    table = pl.read_ndjson(lines, schema={name: _TYPES[hive] for name, hive in columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path, compression="snappy")
    return path


def exposures_in(folder: Path) -> list[Exposure]:
    """Of all whole lines, in the order of the files' names."""
    return [decode_exposure(line) for line in lines_in(folder)]


def slates_in(folder: Path) -> list[ServedSlate]:
    return [decode_slate(line) for line in lines_in(folder)]


def lines_in(folder: Path) -> list[bytes]:
    """All whole lines; neither what a killed writer left unfinished is one, nor what a forgetting blanked."""
    found: list[bytes] = []
    for path in sorted(folder.rglob("*.jsonl")):
        found += [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n") and line.strip()]
    return found
