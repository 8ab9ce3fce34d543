"""What a failing job leaves for people to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import DatasetError
from stores.job_message import message_file, tell_failure

FAILURE = DatasetError("items.parquet: no.", fix="Write it.")


def test_it_is_told_on_stderr_and_where_sagemaker_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = message_file({"TANDEM_ML": str(tmp_path)})
    tell_failure(FAILURE, file)
    assert file is not None
    assert file == tmp_path / "output" / "message"
    assert file.read_text() == capsys.readouterr().err == "dataset-invalid: items.parquet: no. Write it.\n"


def test_outside_of_a_container_there_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message_file({"TANDEM_ML": str(tmp_path / "nowhere")}) is None
    tell_failure(FAILURE, None)
    assert capsys.readouterr().err.startswith("dataset-invalid: ")


def test_a_file_that_cannot_be_written_does_not_hide_the_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("no folder")
    tell_failure(FAILURE, tmp_path / "output" / "message")
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("dataset-invalid: ")
    assert "cannot be written" in told[1]
