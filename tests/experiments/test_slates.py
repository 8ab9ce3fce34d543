"""A log of slates becomes places with their clicks, from lines or Parquet; damage is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from contracts.errors import ExposuresInvalid
from contracts.served import ServedSlate, encode_served
from experiments.analysis.slates import SLATE_SCHEMA, WINDOW_SECONDS, places_of, randomised, read_slates

SERVED = 1_768_000_000
EVENTS = pl.DataFrame(
    {
        "recommendation_id": ["r1", "r1", "r1", None, "r2", "r2"],
        "item_id": ["b", "b", "c", "a", "a", "x"],
        "timestamp": [SERVED + 5, SERVED + 9, SERVED + WINDOW_SECONDS + 1, SERVED, SERVED - 1, SERVED + 1],
    }
)


def slate(number: int, **changed: object) -> ServedSlate:
    made = ServedSlate(
        recommendation_id=f"r{number}",
        user_id=f"u{number}",
        timestamp=SERVED,
        route="model",
        model="als",
        release="one",
        publication="p",
        items=["a", "b", "c"],
        scores=[3, 2, 1],
        propensities=[1, 0.05, 0.0526],
    )
    return msgspec.structs.replace(made, **changed)


def written(folder: Path, *slates: ServedSlate, tail: bytes = b"") -> Path:
    (folder / "2026-01-09").mkdir(parents=True)
    lines = b"".join(encode_served(one) + b"\n" for one in slates)
    (folder / "2026-01-09" / "23-1.jsonl").write_bytes(lines + tail)
    return folder


def test_places_carry_clicks_of_their_own_slate_within_the_window(tmp_path: Path) -> None:
    slates = read_slates(written(tmp_path / "slates", slate(1), slate(2, teams=[0, 1, 0]), slate(1)))
    assert slates.schema == pl.Schema(SLATE_SCHEMA)
    places = places_of(slates, EVENTS)
    assert places["place"].to_list() == [0, 1, 2] * 2
    assert places["clicked"].to_list() == [0, 1, 0, 0, 0, 0]
    assert places["team"].to_list() == [None, None, None, 0, 1, 0]
    assert randomised(places)["item_id"].to_list() == ["b", "c"] * 2
    assert places_of(slates, EVENTS, window_seconds=WINDOW_SECONDS + 1)["clicked"].sum() == 2


def test_parquet_of_glue_reads_as_lines_do(tmp_path: Path) -> None:
    lines = read_slates(written(tmp_path / "slates", slate(1, teams=[0, 1, -1]), slate(2)))
    nulls = [pl.when(pl.col(name).list.len() > 0).then(name).alias(name) for name in ("teams", "variants", "degraded")]
    lines.with_columns(nulls).with_columns(pl.col("teams").cast(pl.List(pl.Int32))).write_parquet(
        tmp_path / "s.parquet"
    )
    assert read_slates(tmp_path / "s.parquet").equals(lines)


def test_who_is_not_known_and_empty_slates_are_left_out(tmp_path: Path) -> None:
    empty = slate(3, items=[], scores=[], propensities=[])
    slates = read_slates(written(tmp_path / "slates", slate(1, user_id=""), slate(2), empty))
    assert places_of(slates, EVENTS)["user_id"].unique().to_list() == ["u2"]


def test_an_unfinished_line_is_left_out_and_a_damaged_one_named(tmp_path: Path) -> None:
    whole = written(tmp_path / "torn", slate(1), tail=encode_served(slate(2))[:40])
    assert read_slates(whole)["recommendation_id"].to_list() == ["r1"]
    with pytest.raises(ExposuresInvalid, match=r"23-1.jsonl, line 2: "):
        read_slates(written(tmp_path / "damaged", slate(1), tail=b'{"user_id": 3}\n'))


def test_what_is_no_log_of_slates_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExposuresInvalid, match="no slates are there"):
        read_slates(tmp_path)
    with pytest.raises(ExposuresInvalid, match="no slates are there"):
        read_slates(tmp_path / "absent.jsonl")
    (tmp_path / "slates.csv").write_text("user_id\n")
    with pytest.raises(ExposuresInvalid, match=r"slates are \.jsonl or \.parquet"):
        read_slates(tmp_path / "slates.csv")
    pl.DataFrame({"user_id": ["u"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ExposuresInvalid, match=r"other\.parquet"):
        read_slates(tmp_path / "other.parquet")


def test_missing_columns_and_uneven_lists_are_named(tmp_path: Path) -> None:
    slates = read_slates(written(tmp_path / "slates", slate(1), slate(2, propensities=[1])))
    with pytest.raises(ExposuresInvalid, match=r"1 slates have not a score and a propensity for every item, e\.g\. r2"):
        places_of(slates, EVENTS)
    with pytest.raises(ExposuresInvalid, match="no column recommendation_id"):
        places_of(slates, EVENTS.drop("recommendation_id"))
