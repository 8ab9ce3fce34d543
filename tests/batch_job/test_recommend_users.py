"""Files that name users: every form, whatever stands in an id, each user once, and named failures with the row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import batch_job.recommend_users
from batch_job.recommend_users import Listed, list_users, read_list, users_digest
from contracts.errors import DatasetError
from stores.profiles import SqliteProfiles

ODD = ["plain", "with\nnewline", 'quo"te', "com,ma", " spaces ", "ümlaut 漢字", "007", "a|b", "#x", "\ttab"]


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteProfiles]:
    """An empty store: files do not ask it."""
    with SqliteProfiles(tmp_path_factory.mktemp("nobody") / "profiles.sqlite") as store:
        yield store


def listed(path: Path | None, profiles: SqliteProfiles, folder: Path, part: int = 4) -> tuple[Listed, list[list[str]]]:
    told = list_users(path, profiles, folder / "lists", part)
    return told, [read_list(folder / "lists", number) for number in range(told.parts)]


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_table_may_hold_any_id_and_other_columns(form: str, profiles: SqliteProfiles, tmp_path: Path) -> None:
    path = tmp_path / f"people.{form}"
    frame = pl.DataFrame({"name": ["x"] * len(ODD), "user_id": ODD})
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[form](path)
    _, parts = listed(path, profiles, tmp_path)
    assert sorted(user for part in parts for user in part) == sorted(ODD)
    assert [len(part) for part in parts] == [4, 4, 2]


def test_lines_of_a_text_file(profiles: SqliteProfiles, tmp_path: Path) -> None:
    path = tmp_path / "people"
    path.write_bytes("\ufeffanna\r\n\r\nben,1\n anna \nanna\nümit".encode())
    assert listed(path, profiles, tmp_path)[1] == [["anna", "ben,1", " anna ", "ümit"]]


def test_whole_numbers_are_their_digits(profiles: SqliteProfiles, tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [7, 12, 7]}).write_parquet(tmp_path / "numbers.parquet")
    assert listed(tmp_path / "numbers.parquet", profiles, tmp_path)[1] == [["7", "12"]]


ids = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1, max_size=20).filter(
    lambda text: not text.startswith("\ufeff")
)


@given(st.lists(st.one_of(ids, st.sampled_from(["a", "b", "anonymous:x"])), min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_everybody_is_listed_once_in_full_parts(
    profiles: SqliteProfiles, tmp_path_factory: pytest.TempPathFactory, users: list[str], part: int
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "people.txt").write_text("".join(f"{user}\n" for user in users), newline="")
    told, parts = listed(folder / "people.txt", profiles, folder, part)
    wanted = {user for user in users if not user.startswith("anonymous:")}
    flat = [user for found in parts for user in found]
    assert sorted(flat) == sorted(wanted)
    assert (told.users, told.anonymous) == (len(wanted), len(set(users) - wanted))
    assert [len(found) for found in parts[:-1]] == [part] * (len(parts) - 1)
    if len(wanted) <= part:
        assert flat == [user for user in dict.fromkeys(users) if user in wanted], "a short list keeps its order"


def test_a_file_of_several_slices_and_repeats_far_apart(
    profiles: SqliteProfiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_job.recommend_users, "SLICE_ROWS", 3)
    users = [f"u{number % 10}" for number in range(35)]
    (tmp_path / "people.txt").write_text("\n".join(users))
    told, parts = listed(tmp_path / "people.txt", profiles, tmp_path)
    assert sorted(user for part in parts for user in part) == sorted(set(users))
    assert told == Listed(10, 0, 3)


def test_everybody_of_a_store(tmp_path: Path) -> None:
    with SqliteProfiles(tmp_path / "profiles.sqlite") as store:
        for user in ("a", "b", "c", "gone"):
            store.put_features(user, {"x": 1})
        store.forget("gone", 1)
        told, parts = listed(None, store, tmp_path, 2)
    assert sorted(user for part in parts for user in part) == ["a", "b", "c"]
    assert told == Listed(3, 0, 2)


LONG = "x" * 129


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("empty.txt", b"", "names no user"),
        ("blank.txt", b"\n\n\n", "names no user"),
        ("empty.csv", b"", "empty.csv: the file is empty"),
        ("header.csv", b"user_id\n", "names no user"),
        ("other.csv", b"id,name\n1,x\n", "column user_id: the column is missing; the file has 'id'"),
        ("hole.csv", b"user_id,a\nx,1\n,2\n", "column user_id, row 2.*1 of 2 rows have no user_id"),
        ("cut.parquet", b"PAR1 and then nothing", "truncated"),
        ("latin.txt", "ümit\n".encode("latin-1"), "latin.txt: it cannot be read"),
        ("long.txt", f"a\n{LONG}\n".encode(), "row 2: an id is longer than 128 bytes"),
        ("long.csv", f"user_id\na\nb\n{LONG}\n".encode(), "row 3: an id is longer than 128 bytes"),
        ("zipped.csv", b"PK\x03\x04 and so on", "zip"),
    ],
)
def test_what_names_nobody_is_refused_with_the_place(
    name: str, content: bytes, named: str, profiles: SqliteProfiles, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=named) as refused:
        listed(tmp_path / name, profiles, tmp_path)
    assert refused.value.fix


@pytest.mark.parametrize("missing", ["missing.csv", "."])
def test_a_file_that_is_not_there(missing: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        users_digest(tmp_path / missing)


def test_equal_files_are_the_same_users(tmp_path: Path) -> None:
    contents: dict[str, Any] = {"a": "x\ny\n", "b": "x\ny\n", "c": "y\nx\n"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    a, b, c = (users_digest(tmp_path / name) for name in contents)
    assert a == b != c
    assert users_digest(None) == "all"
