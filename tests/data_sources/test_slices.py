"""Events a slice at a time: the same as the whole table, and failures with the rows of the file."""

from __future__ import annotations

import polars as pl
import pytest

from contracts.errors import DatasetError
from contracts.schema import DatasetSchema
from data_sources import slices
from data_sources.dataset import open_dataset
from data_sources.slices import event_slices

WRITERS = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson, "parquet": pl.DataFrame.write_parquet}
EVENTS = pl.DataFrame(
    {"user_id": range(10), "item_id": [f"{n:03}" for n in range(10)], "extra": [1] * 10, "timestamp": range(50, 60)}
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_ROWS", 4)


@pytest.mark.parametrize("form", WRITERS)
def test_slices_are_the_table(tmp_path, form: str) -> None:
    (tmp_path / "schema.toml").write_text("version = 1")
    WRITERS[form](EVENTS, tmp_path / f"events.{form}")
    found = list(event_slices(tmp_path / f"events.{form}", "events", DatasetSchema()))
    assert [len(frame) for frame in found] == [4, 4, 2]
    columns = ["user_id", "item_id", "timestamp"]
    whole = open_dataset(tmp_path).events
    assert pl.concat(found).select(columns).equals(whole.select(columns))
    assert pl.concat(found)["event_id"].null_count() == 10  # a column that the file has not


@pytest.mark.parametrize("form", WRITERS)
def test_rows_of_a_failure_are_those_of_the_file(tmp_path, form: str) -> None:
    users = [str(n) if n != 6 else None for n in range(10)]
    WRITERS[form](EVENTS.with_columns(user_id=pl.Series(users)), tmp_path / f"e.{form}")
    with pytest.raises(DatasetError, match=rf"^shop/e\.{form}, column user_id, row 7 "):
        list(event_slices(tmp_path / f"e.{form}", f"shop/e.{form}", DatasetSchema()))


BROKEN = {
    "cut.parquet": (b"PAR1" + b"x" * 20, "cut.parquet: the Parquet file is truncated"),
    "late.csv": (b"user_id,item_id,timestamp\n" + b"u,i,1\n" * 9 + b"u,i,1,2,3\n", "late.csv: it cannot be read"),
    "late.jsonl": (b'{"user_id":1,"item_id":2,"timestamp":3}\n' * 9 + b"{\n", r"late.jsonl: .*\(see line 10\)"),
    "header.csv": (b"user_id,timestamp\n", "header.csv, column item_id: the column is missing"),
    "empty.csv": (b"", "empty.csv: the file is empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name: str) -> None:
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        list(event_slices(tmp_path / name, name, DatasetSchema()))


def test_a_file_without_rows_is_one_empty_slice(tmp_path) -> None:
    (tmp_path / "e.csv").write_text("user_id,item_id,timestamp\n")
    (found,) = event_slices(tmp_path / "e.csv", "e.csv", DatasetSchema())
    assert (len(found), found.schema["timestamp"]) == (0, pl.Int64)
