"""docs/dataset.md is true: its datasets open, its code runs, and it names every key, column, kind and check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.schema import EVENT_COLUMNS, MAX_ID_BYTES, DatasetSchema, FeatureKind, parse_schema
from data_sources.checks import Status
from data_sources.dataset import open_dataset
from data_sources.doctor import CHECKS, diagnose

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "dataset.md").read_text(encoding="utf-8")


def _chapter(title: str) -> str:
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _write_files(title: str, folder: Path) -> Path:
    """Write every block of a chapter under the file name that stands above it."""
    folder.mkdir()
    for name, text in re.findall(r"`([a-z.]+)`[^\n]*\n\n```[a-z]+\n(.*?)```", _chapter(title), re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(("title", "files"), [("The smallest dataset", 2), ("A fuller one", 4)])
def test_the_datasets_of_the_document_open(title: str, files: int, tmp_path: Path) -> None:
    folder = _write_files(title, tmp_path / "shop")
    assert len(list(folder.iterdir())) == files
    assert len(open_dataset(folder).events) == 3
    wrong = {result.name for result in diagnose(folder).checks if result.status is Status.FAIL}
    assert wrong == {"events-enough"}


def test_the_fuller_dataset_reads_as_it_says(tmp_path: Path) -> None:
    dataset = open_dataset(_write_files("A fuller one", tmp_path / "shop"))
    assert dataset.items["tags"].to_list() == [["tea", "clay"], ["tea", "steel"]]
    assert dataset.items["in_stock"].to_list() == ["true", "false"]
    assert dataset.users["gender"].to_list() == ["F", None]


def test_the_python_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write_files("A fuller one", tmp_path / "shop")
    code = re.findall(r"```python\n(.*?)```", _chapter("From Python"), re.DOTALL)
    names: dict[str, object] = {}
    exec(code[0], names)  # noqa: S102 - our own document
    assert (tmp_path / "copy" / "events.parquet").is_file()


def test_every_key_kind_and_column_is_named() -> None:
    keys = _chapter("schema.toml, every key")
    for name in DatasetSchema.__struct_fields__:
        assert f"`{name}`" in keys or f"`[{name}]`" in keys, name
    assert all(f"`{kind}`" in keys for kind in FeatureKind)
    assert all(f"`{column}`" in _chapter("Events") for column in EVENT_COLUMNS)
    assert f"{MAX_ID_BYTES} bytes" in _chapter("Ids")


def test_every_check_is_named_and_no_other() -> None:
    table = _chapter("What the doctor checks").split("| family |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", table)) == {check.name for check in CHECKS}


def test_every_toml_of_the_document_is_a_schema() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert [parse_schema(block).version for block in blocks] == [1, 1]
