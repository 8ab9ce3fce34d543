"""The rows of a user in one file: every kind of file, and every way to write an id."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batch_job.event_log_reading
import batch_job.forget_rows
from batch_job.forget_rows import FileUnreadable, Leaver, Rows, blank_out, rows_of, write_without

US = Leaver(("7", "anonymous:s"), 100)


def without(path: Path, time: str | None = "timestamp", leaver: Leaver = US) -> tuple[Rows, Path]:
    target = path.with_name("target" + path.suffix)
    target.unlink(missing_ok=True)
    rows = write_without(path, target, leaver, time)
    assert rows == rows_of(path, leaver, time)
    if rows.gone:
        assert rows_of(target, leaver, time) == Rows(0, rows.since)
    return rows, target


FRAME = pl.DataFrame(
    {
        "user_id": ["7", "70", "anonymous:s", "7", None, 'a"7",\n'],
        "timestamp": ["100", "5", "1970-01-01T00:00:01Z", "101", "3", ""],
        "note": ["", None, "x,y", "7", "7", 'say "7"'],
    }
)
KEPT = FRAME.filter(pl.Series([False, True, False, True, True, True]))


def test_rows_of_csv_go_and_others_stay_as_they_are(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(batch_job.forget_rows, "SLICE_ROWS", 2)
    FRAME.write_csv(tmp_path / "x.csv")
    KEPT.write_csv(tmp_path / "expected.csv")
    rows, target = without(tmp_path / "x.csv")
    assert rows == Rows(2, 1)
    assert target.read_bytes() == (tmp_path / "expected.csv").read_bytes()
    assert without(tmp_path / "x.csv", None)[0] == Rows(3, 0)


@pytest.mark.parametrize("ids", [pl.String, pl.Categorical])
def test_rows_of_parquet_go_with_what_the_file_says_of_itself_kept(tmp_path, monkeypatch, ids) -> None:
    monkeypatch.setattr(batch_job.forget_rows, "SLICE_ROWS", 2)
    frame = FRAME.with_columns(pl.col("user_id").cast(ids))
    frame.write_parquet(tmp_path / "x.parquet", metadata={"tandem": "kept"}, row_group_size=2)
    rows, target = without(tmp_path / "x.parquet")
    assert rows == Rows(2, 1)
    assert pl.read_parquet(target).with_columns(pl.col("user_id").cast(pl.String)).equals(KEPT)
    assert pl.read_parquet_metadata(target)["tandem"] == "kept"


@pytest.mark.parametrize("kind", [pl.Int32, pl.Float64])
def test_an_id_that_is_a_number_is_the_text_of_it(tmp_path, kind) -> None:
    pl.DataFrame({"user_id": [7, 70, 7]}, schema={"user_id": kind}).write_parquet(tmp_path / "x.parquet")
    assert without(tmp_path / "x.parquet", None)[0] == Rows(2, 0)
    (tmp_path / "x.jsonl").write_text('{"user_id": 7}\n{"user_id": 7.0}\n{"user_id": 70}\n')
    assert without(tmp_path / "x.jsonl", None)[0] == Rows(2, 0)


def test_a_file_without_users_is_none_of_theirs(tmp_path) -> None:
    pl.DataFrame({"item_id": ["7"]}).write_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("item_id\n7\n")
    (tmp_path / "x").write_text('{"item_id": "7"}\n')
    for name in ("x.parquet", "x.csv", "x"):
        assert rows_of(tmp_path / name, US, "timestamp") == Rows()


def test_a_damaged_line_that_names_them_goes_and_others_stay(tmp_path) -> None:
    lines = [b'{"user_id":"7","x', b'\xff{"user_id":"7"}', b'{"user_id":"8","x', b"", b'{"user_id":"70"}']
    (tmp_path / "x").write_bytes(b"\n".join(lines))
    rows, target = without(tmp_path / "x")
    assert rows == Rows(2, 0)
    assert target.read_bytes() == b"\n".join(lines[2:])


@pytest.mark.parametrize("content", [b"PAR1 and no more", gzip.compress(b"x" * 99, mtime=0)[:-9], b"\x1f\x8bno gzip"])
def test_a_damaged_file_is_named(tmp_path, content) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FileUnreadable):
        rows_of(tmp_path / "x", US, None)


USERS = st.sampled_from(["7", "70", "anonymous:s", "ü", '"7"', "\\7", "\u2028"])
EVENTS = st.builds(
    lambda user, at, note, ascii_only: json.dumps(
        {"user_id": user, "received_at": at, "note": note}, ensure_ascii=ascii_only
    ).encode(),
    USERS,
    st.integers(98, 102),
    USERS,
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(EVENTS, st.just(b"")), max_size=12), USERS, st.booleans(), st.sampled_from([40, 1 << 20]))
def test_exactly_the_lines_of_a_user_go_however_they_are_written(
    tmp_path_factory: Any, lines: list[bytes], user: str, packed: bool, block: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x"
    text = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(text) if packed else text)
    expected, since = [], 0
    for line in lines:
        row = json.loads(line) if line else {}
        theirs = row.get("user_id") == user
        since += theirs and row["received_at"] > 100
        if not theirs or row["received_at"] > 100:
            expected.append(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_job.event_log_reading, "BLOCK_BYTES", block)
        rows, target = without(path, "received_at", Leaver((user,), 100))
        assert rows == Rows(len(lines) - len(expected), since)
        kept = gzip.decompress(target.read_bytes()) if packed else target.read_bytes()
        assert kept == b"".join(line + b"\n" for line in expected)
        if not packed:
            assert blank_out(path, Leaver((user,), 100), "received_at") == rows
            assert path.stat().st_size == len(text)
            left = [line for line in path.read_bytes().split(b"\n") if line.strip()]
            assert left == [line for line in expected if line]
