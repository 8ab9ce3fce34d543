"""Logs come in whatever form, and what is wrong with one is named: the file, the column, the row, the zone."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import ExposuresInvalid
from contracts.served import Exposure, encode_served
from experiments.analysis.event_files import read_events
from experiments.analysis.exposures import EXPOSURE_COLUMNS, read_exposures
from experiments.analysis.notices import Notice

HEAD = ",".join(EXPOSURE_COLUMNS)
JAN_1 = 1_767_225_600


def row(user: object, timestamp: object, variation: str = "a") -> str:
    fields = {"user_id": user, "timestamp": timestamp, "experiment_id": "e", "variation_id": variation, "route": "x"}
    return json.dumps(fields) + "\n"


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def codes(notices: list[Notice]) -> list[str]:
    return [one.code for one in notices]


def test_our_own_log_is_read_with_repeats_removed_and_a_torn_end_dropped(tmp_path: Path) -> None:
    shown = [
        Exposure(user_id="u", timestamp=at, experiment_id="e", variation_id="a", route="cold", release="r")
        for at in (JAN_1 + 5, JAN_1 + 9, JAN_1 + 86_400)
    ]
    lines = b"".join(encode_served(one) + b"\n" for one in shown)
    written(tmp_path / "2026-01-01" / "00-one.jsonl", lines + encode_served(shown[0])[:40])
    written(tmp_path / "2026-01-01" / "00-two.jsonl", encode_served(shown[0]))  # whole, without an end of line
    written(tmp_path / "2026-01-01" / "01-two.jsonl", "")
    notices: list[Notice] = []
    found = read_exposures(tmp_path, notices)
    assert found.rows() == [("u", JAN_1 + 5, "e", "a"), ("u", JAN_1 + 86_400, "e", "a")]
    assert codes(notices) == ["unfinished-line"]
    assert "00-one.jsonl" in notices[0].message


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet", "no suffix"])
def test_every_format_gives_the_same(tmp_path: Path, kind: str) -> None:
    rows = [("u", JAN_1, "e", "a"), ("7", JAN_1 + 1, "e", "b")]
    if kind.startswith("jsonl"):
        content = "".join(row(user, at, arm) for user, at, _, arm in rows).encode()
    elif kind.startswith("csv"):
        content = (HEAD + ",extra\n" + "".join(f"{','.join(map(str, one))},x\n" for one in rows)).encode()
    if kind in ("parquet", "no suffix"):
        path = tmp_path / ("log.parquet" if kind == "parquet" else "tandem-events-1-2026")
        pl.DataFrame(rows, schema=list(EXPOSURE_COLUMNS), orient="row").write_parquet(path)
    else:
        path = written(tmp_path / f"log.{kind}", gzip.compress(content) if kind.endswith(".gz") else content)
    assert read_exposures(path if path.suffix else tmp_path).rows() == rows


def test_columns_may_be_in_the_names_of_folders(tmp_path: Path) -> None:
    for arm in ("a", "b"):
        path = tmp_path / "dt=2026-01-01" / f"variation_id={arm}" / "part.parquet"
        path.parent.mkdir(parents=True)
        pl.DataFrame({"user_id": [1], "timestamp": [JAN_1], "experiment_id": ["e"]}).write_parquet(path)
    assert read_exposures(tmp_path)["variation_id"].to_list() == ["a", "b"]


@pytest.mark.parametrize(
    ("moments", "seconds", "said"),
    [
        ([JAN_1, JAN_1 + 0.75], [0, 0], []),
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5+00:00"], [0, 1], []),
        (["2026-01-01 00:00:00 UTC", JAN_1], [0, 0], []),
        (["2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00-0330"], [-7_200, 12_600], ["mixed-zones"]),
        (["2026-01-01T00:00:00", "2026-01-01 00:00:02"], [0, 2], ["zone-assumed"]),
    ],
)
def test_moments_become_unix_seconds(
    tmp_path: Path, moments: list[object], seconds: list[int], said: list[str]
) -> None:
    path = written(tmp_path / "log.jsonl", "".join(row(f"u{n}", at) for n, at in enumerate(moments)))
    notices: list[Notice] = []
    found = read_exposures(path, notices).sort("user_id")
    assert (found["timestamp"] - JAN_1).to_list() == seconds
    assert codes(notices) == said


@pytest.mark.parametrize(("zone", "seconds", "said"), [(None, 0, ["zone-assumed"]), ("Europe/Berlin", -3_600, [])])
def test_datetimes_become_unix_seconds(tmp_path: Path, zone: str | None, seconds: int, said: list[str]) -> None:
    frame = pl.DataFrame({"user_id": ["u"], "timestamp": [datetime(2026, 1, 1)]})  # noqa: DTZ001
    frame = frame.with_columns(pl.col("timestamp").dt.replace_time_zone(zone), experiment_id=pl.lit("e"))
    frame.with_columns(variation_id=pl.lit("a")).write_parquet(tmp_path / "log.parquet")
    notices: list[Notice] = []
    assert read_exposures(tmp_path, notices)["timestamp"].to_list() == [JAN_1 + seconds]
    assert codes(notices) == said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"user_id": "u", "variation": "a"}\n',
            "column timestamp is missing; there are user_id, variation",
        ),
        ("a.csv", "user_id;timestamp\nu;1\n", "column user_id is missing; there are user_id;timestamp"),
        ("a.csv", f"{HEAD}\nu,1,e,a\nu,1,e\n", "a.csv, row 2: variation_id is empty"),
        ("a.csv", f"{HEAD}\nu,1,e,a\nu,1,e,a,b,c\n", "a.csv, row 2: cannot be read"),
        ("a.csv", HEAD.encode() + b"\nu,1,e,a\nu,1,e,\xff\n", "a.csv, row 2: cannot be read"),
        ("a.jsonl", row("u", 1) + row("", 1), "a.jsonl, row 2: user_id is empty"),
        ("a.jsonl", row("u", 1) + "{broken}\n" + row("u", 1), "a.jsonl, row 2: cannot be read"),
        ("a.jsonl", "[1]\n", "a.jsonl, row 1: no JSON object"),
        ("a.jsonl", row("u", 1) + row("u", "soon"), "a.jsonl, row 2: timestamp 'soon' is no"),
        ("a.jsonl", row("u", 1_764_000_000_123), "milliseconds?"),
        ("a.jsonl", row("u", -1), "row 1: timestamp"),
        ("a.jsonl", row("u", "2026-01-01T00:00:00") + row("u", "2026-01-01T00:00:00Z"), "without a zone"),
        ("a.jsonl", row("u", "2026-01-01T00:00:00") + row("u", JAN_1), "beside others of Unix seconds"),
        ("a.parquet", b"PAR1 and then nothing", "a.parquet cannot be read"),
        ("a.jsonl.gz", gzip.compress(row("u", 1).encode(), mtime=0)[:-9], "cannot be read"),
        ("a.txt", "hello", "no file with rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(ExposuresInvalid) as refused:
        read_exposures(path)
    assert message in refused.value.message
    assert refused.value.fix


def test_types_that_are_no_ids_and_no_moments_are_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": [1.5], "timestamp": [JAN_1], "experiment_id": ["e"], "variation_id": ["a"]})
    frame.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ExposuresInvalid, match="column user_id is of type Float64"):
        read_exposures(tmp_path)
    frame.with_columns(user_id=pl.lit("u"), timestamp=pl.lit(date(2026, 1, 1))).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ExposuresInvalid, match="column timestamp is of type Date"):
        read_exposures(tmp_path)
    with pytest.raises(ExposuresInvalid, match="no such file"):
        read_exposures(tmp_path / "none")


def test_events_come_once_and_those_of_nobody_are_told(tmp_path: Path) -> None:
    lines = [
        {"user_id": "u", "timestamp": 5, "event_id": "1", "value": 2.5, "item_id": "i"},
        {"user_id": "u", "timestamp": 5, "event_id": "1", "value": 2.5, "item_id": "i"},
        {"user_id": "u", "timestamp": 5, "session_id": "s", "event_type": "click"},
        {"user_id": "u", "timestamp": 5, "session_id": "s", "event_type": "click"},
        {"user_id": None, "timestamp": 5},
    ]
    written(tmp_path / "e.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    notices: list[Notice] = []
    found = read_events(tmp_path, notices)
    assert found.rows() == [("u", 5, None, None, 2.5), ("u", 5, "click", "s", None), ("u", 5, "click", "s", None)]
    assert codes(notices) == ["events-of-nobody"]


@pytest.mark.parametrize("value", ["much", "nan", "inf"])
def test_a_value_that_is_no_number_is_named(tmp_path: Path, value: str) -> None:
    path = written(tmp_path / "e.csv", f"user_id,timestamp,value\nu,1,\nu,1,{value}\n")
    with pytest.raises(ExposuresInvalid, match=rf"row 2: value '{value}' is no number"):
        read_events(path)
