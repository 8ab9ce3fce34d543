"""Public formats become datasets; a line that cannot be read is reported with its number, and too many reject all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DatasetError, ImportRejected, NotEnoughData
from contracts.schema import TimeMeaning
from data_sources.dataset import open_dataset
from data_sources.doctor import diagnose
from data_sources.importers import lines as line_module
from data_sources.importers.lightgcn import import_lightgcn
from data_sources.importers.movielens import import_movielens
from data_sources.importers.movielens_lines import AGE_GROUPS
from data_sources.importers.sequences import import_sequences
from data_sources.indexed import index_dataset


def _write(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


ITEM = "1|Amélie (2001)|25-Apr-2001||http://x|" + "|".join("1" if i in (5, 14) else "0" for i in range(19))
ITEM_2 = "2|unknown||||1" + "|0" * 18


def _ml_100k(folder: Path) -> Path:
    return _write(
        folder,
        u__data="7\t1\t3\t881250949\n8\t2\t5\t881250950\n7\t2\t1\t881250951\n",
        u__user="7|24|M|technician|85711\n8|17|F|writer|T8H1N\n9|56|F|none|02139\n",
        u__item=(ITEM + "\n" + ITEM_2 + "\n").encode("latin-1"),
    )


def test_ml_100k_in_its_own_form(tmp_path: Path) -> None:
    report = import_movielens(_ml_100k(tmp_path / "source"), tmp_path / "d")
    assert (report.events, report.users, report.items) == (3, 3, 2)
    assert report.rejects_file is None
    dataset = open_dataset(tmp_path / "d")
    assert dataset.events.rows() == [
        ("7", "1", "rating", 881250949, 3.0),
        ("8", "2", "rating", 881250950, 5.0),
        ("7", "2", "rating", 881250951, 1.0),
    ]
    assert dataset.users.rows() == [
        ("7", "M", "18-24", "technician", "8"),
        ("8", "F", "under 18", "writer", "other"),
        ("9", "F", "56+", "none", "0"),
    ]
    released = int(datetime(2001, 4, 25, tzinfo=UTC).timestamp())
    assert dataset.items.rows() == [
        ("1", "Amélie", ["Comedy", "Romance"], 2001.0, released),
        ("2", "unknown", [], None, None),
    ]
    schema = dataset.schema
    assert (schema.segment, schema.category, schema.title) == (("gender", "age_group"), "genres", "title")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_ml_1m_in_its_own_form(encoding: str, tmp_path: Path) -> None:
    source = _write(
        tmp_path / "source",
        ratings__dat="1::2::5::978300760\n1::3::1::978300761\n",
        users__dat="1::F::1::10::48067\n2::M::56::16::70072-123\n",
        movies__dat="2::Café (1995)::Animation|Children's\n3::Alien::3 (1992)::Horror\n".encode(encoding),
    )
    import_movielens(source, tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    assert dataset.users.rows() == [
        ("1", "F", "under 18", "K-12 student", "4"),
        ("2", "M", "56+", "self-employed", "7"),
    ]
    assert dataset.items.rows() == [
        ("2", "Café", ["Animation", "Children's"], 1995.0),
        ("3", "Alien::3", ["Horror"], 1992.0),
    ]
    assert dataset.schema.published is None


CSV = {
    "ratings__csv": "userId,movieId,rating,timestamp\n1,10,4.5,1112486027\r\n2,11,0.5,1112486028\r\n",
    "movies__csv": 'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n'
    '11,"Say ""Hi""",(no genres listed)\n',
}


def test_the_csv_form_with_tags_and_links(tmp_path: Path) -> None:
    tags = 'userId,movieId,tag,timestamp\n1,10,Politics,1\n2,10, politics ,2\n2,10,"a, b",3\n'
    links = "movieId,imdbId,tmdbId\n10,0112346,9087\n11,0000001,\n"
    report = import_movielens(_write(tmp_path / "s", **CSV, tags__csv=tags, links__csv=links), tmp_path / "d")
    assert report.lines == {"ratings.csv": 2, "movies.csv": 2, "tags.csv": 3, "links.csv": 2}
    dataset = open_dataset(tmp_path / "d")
    assert dataset.events["value"].to_list() == [4.5, 0.5]
    assert dataset.items.rows() == [
        ("10", "American President, The", ["Comedy", "Drama"], 1995.0, ["politics", "a, b"]),
        ("11", 'Say "Hi"', [], None, None),
    ]
    assert dataset.users.is_empty()


def test_the_csv_form_without_tags_and_links(tmp_path: Path) -> None:
    import_movielens(_write(tmp_path / "s", **CSV), tmp_path / "d")
    assert "tags" not in open_dataset(tmp_path / "d").schema.items


def test_ages_fall_into_the_groups_of_ml_1m(tmp_path: Path) -> None:
    source = _ml_100k(tmp_path / "s")
    (source / "u.user").write_text("".join(f"{age}|{age}|M|artist|00000\n" for age in range(1, 100)))
    import_movielens(source, tmp_path / "d")
    groups = [AGE_GROUPS[max(code for code in AGE_GROUPS if code <= age)] for age in range(1, 100)]
    assert open_dataset(tmp_path / "d").users["age_group"].to_list() == groups


def test_sequences_keep_their_order_and_their_users_without_items(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("b\t3 1 2\na x\t9\nc\t\nb\t7\n")
    report = import_sequences(tmp_path / "s.txt", tmp_path / "d")
    assert (report.events, report.users, report.items) == (5, 3, 5)
    dataset = open_dataset(tmp_path / "d")
    assert dataset.schema.time is TimeMeaning.ORDER
    assert dataset.events.select("user_id", "item_id", "timestamp").rows() == [
        ("b", "3", 0),
        ("b", "1", 1),
        ("b", "2", 2),
        ("a x", "9", 0),
        ("b", "7", 3),
    ]


def test_lightgcn_keeps_its_split(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "s", train__txt="0 5 6\n1 5\nidle\n", test__txt="0 7\n1 6 8 \n", user_list__txt="ignored"
    )
    import_lightgcn(source, tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    assert dataset.schema.time is TimeMeaning.NONE
    assert sorted(dataset.events.select("user_id", "item_id", "split").rows()) == [
        ("0", "5", "train"),
        ("0", "6", "train"),
        ("0", "7", "test"),
        ("1", "5", "train"),
        ("1", "6", "test"),
        ("1", "8", "test"),
    ]
    assert dataset.users["user_id"].to_list() == ["0", "1", "idle"]


Importer = Callable[[Path, Path, float], object]


def _ratings(n: int, bad: dict[int, str]) -> str:
    return "".join(bad.get(line, f"{line}::1::4::97830{line:04}") + "\n" for line in range(1, n + 1))


ML_1M = {"users__dat": "1::F::1::10::48067\n", "movies__dat": "1::Toy Story (1995)::Comedy\n"}

BAD_LINES = {
    3: "3::1::4",
    50: "50::1::4::978300000::more",
    77: "77::1::nine::978300000",
    78: "78::1::9::978300000",
    120: "\x00\x00",
}


def test_every_line_that_cannot_be_read_is_reported_with_its_number_and_text(tmp_path: Path) -> None:
    source = _write(tmp_path / "s", ratings__dat=_ratings(1_000, BAD_LINES), **ML_1M)
    report = import_movielens(source, tmp_path / "d")
    assert report.rejected == {"ratings.dat": len(BAD_LINES), "movies.dat": 0, "users.dat": 0}
    assert report.events == 1_000 - len(BAD_LINES)
    assert report.rejects_file == str(tmp_path / "d" / "rejected.jsonl")
    rejected = [json.loads(line) for line in (tmp_path / "d" / "rejected.jsonl").read_text().splitlines()]
    assert {row["line"]: row["text"] for row in rejected} == BAD_LINES
    assert {row["file"] for row in rejected} == {"ratings.dat"}
    assert next(row["reason"] for row in rejected if row["line"] == 78) == "rating outside 0.5 to 5.0"
    assert [line.line for line in report.first_rejected] == sorted(BAD_LINES)[:5]
    assert not any(check.name == "columns-expected" for check in diagnose(tmp_path / "d").checks if check.where)


def test_over_the_threshold_nothing_is_left_behind(tmp_path: Path) -> None:
    source = _write(tmp_path / "s", ratings__dat=_ratings(400, BAD_LINES), **ML_1M)
    with pytest.raises(
        ImportRejected, match=r"ratings\.dat: 5 of 400 lines cannot be read.*line 3 \(not .*\): '3::1::4'"
    ):
        import_movielens(source, tmp_path / "d")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
    import_movielens(source, tmp_path / "d", 0.02)
    assert (tmp_path / "d" / "rejected.jsonl").exists()


def test_the_threshold_is_held_for_each_file(tmp_path: Path) -> None:
    """A small file of another format may not hide behind a large one that is fine."""
    files = {**ML_1M, "movies__dat": "movieId,title\n"}
    source = _write(tmp_path / "s", ratings__dat=_ratings(1_000, {}), **files)
    with pytest.raises(ImportRejected, match=r"movies\.dat: 1 of 1 lines"):
        import_movielens(source, tmp_path / "d")


def test_a_rejected_import_keeps_the_dataset_that_was_there(tmp_path: Path) -> None:
    import_movielens(_ml_100k(tmp_path / "good"), tmp_path / "d")
    with pytest.raises(ImportRejected):
        import_movielens(_write(tmp_path / "s", ratings__dat="junk\n", **ML_1M), tmp_path / "d")
    assert len(open_dataset(tmp_path / "d").events) == 3


def test_a_user_or_film_that_is_there_twice_is_reported(tmp_path: Path) -> None:
    source = _ml_100k(tmp_path / "s")
    (source / "u.user").write_text("".join(f"{n}|30|M|artist|00000\n" for n in range(200)) + "\n7|31|F|artist|00000\n")
    report = import_movielens(source, tmp_path / "d")
    assert [(line.line, line.text) for line in report.first_rejected] == [(202, "7|31|F|artist|00000")]
    users = open_dataset(tmp_path / "d").users
    assert users.filter(pl.col("user_id") == "7")["age_group"].to_list() == ["25-34"]


def test_lines_that_are_not_utf8_are_reported_and_others_survive(tmp_path: Path) -> None:
    good = "".join(f"u{n}\té{n}\n" for n in range(300)).encode()
    (tmp_path / "s.txt").write_bytes(good + b"broken\t\xff\n" + "w\t\ufffd\n".encode())
    report = import_sequences(tmp_path / "s.txt", tmp_path / "d")
    assert report.first_rejected[0].line == 301
    assert report.first_rejected[0].reason == "not UTF-8"


@pytest.mark.parametrize(
    ("importer", "files"),
    [
        (import_movielens, {"ratings__dat": "", **ML_1M}),
        (lambda s, d, m: import_sequences(s / "s.txt", d, m), {"s__txt": "\n\n"}),
        (import_lightgcn, {"train__txt": "1\n", "test__txt": ""}),
    ],
)
def test_a_source_without_events_is_named(importer: Importer, files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="no event"):
        importer(_write(tmp_path / "s", **files), tmp_path / "d", 0.01)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("importer", [import_movielens, import_sequences, import_lightgcn])
def test_a_source_that_is_not_there_is_named(importer: Importer, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such file|no MovieLens folder"):
        importer(tmp_path / "nowhere", tmp_path / "d", 0.01)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(DatasetError, match="cannot be read"):
        import_sequences(tmp_path / "s", tmp_path / "d")


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8), max_size=12),
    batch=st.integers(1, 40),
    ending=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_lines_are_numbered_the_same_whatever_the_batch(texts: list[str], batch: int, ending: str, last: bool) -> None:
    content = ending.join(texts) + (ending if last else "")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_module, "_BATCH_BYTES", batch)
        path = Path(folder) / "f"
        path.write_bytes(content.encode())
        rows = line_module.read_rows(path, lambda frame: frame.with_columns(pl.lit("all").alias("fault")))
    expected = [(number, text) for number, text in enumerate(content.split(ending), 1) if text.strip()]
    found = list(rows.rejected.select("line", "text").iter_rows())
    assert found == expected or found == [(n, t.removeprefix("\ufeff")) for n, t in expected]
    assert rows.lines == len(expected)


@pytest.mark.data
def test_the_real_ml_100k(real_data: Path, tmp_path: Path) -> None:
    report = import_movielens(real_data / "ml-100k", tmp_path / "d")
    assert (report.events, report.users, report.items) == (100_000, 943, 1_682)
    assert sum(report.rejected.values()) == 0
    items = open_dataset(tmp_path / "d").items
    assert items.filter(item_id="1")["genres"].to_list() == [["Animation", "Children's", "Comedy"]]
    assert diagnose(tmp_path / "d").ok


@pytest.mark.data
def test_the_real_ml_1m_half(real_data: Path, tmp_path: Path) -> None:
    report = import_movielens(real_data / "ml-1m", tmp_path / "d")
    assert (report.events, report.users, report.items) == (487_650, 6_040, 3_883)
    assert diagnose(tmp_path / "d").ok


@pytest.mark.data
def test_the_real_sequences_and_gowalla(real_data: Path, tmp_path: Path) -> None:
    sequences = import_sequences(real_data / "ml-1m" / "sequences.txt", tmp_path / "s")
    assert (sequences.events, sequences.users, sequences.items) == (999_331, 6_040, 3_416)
    gowalla = import_lightgcn(real_data / "gowalla", tmp_path / "g")
    assert (gowalla.events, gowalla.users, gowalla.items) == (1_027_370, 29_858, 40_981)
    indexed = index_dataset(open_dataset(tmp_path / "g"))
    assert indexed.is_test is not None
    assert np.count_nonzero(indexed.is_test) == 217_242
