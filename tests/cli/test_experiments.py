"""`tandem experiments …` on a home: files in force, what they say, who is where, and what is refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from contracts.errors import EnvelopeRefused, PayloadInvalid
from experiments.envelope import open_envelope
from stores.experiments import LocalExperiments
from stores.experiments_key import local_key
from tests.aws import REGION

FILE = """
[experiments.model]
coverage = {coverage}
where = {{ country = ["DE"] }}

[[experiments.model.arms]]
key = "control"

[[experiments.model.arms]]
key = "als"
model = "als"
"""


def file(folder: Path, coverage: float = 0.8) -> str:
    path = folder / "experiments.toml"
    path.write_text(FILE.format(coverage=coverage))
    return str(path)


def tandem(*words: str) -> Result:
    return CliRunner().invoke(app, ["experiments", *words])


def answered(*words: str, status: int = 0) -> dict[str, Any]:
    done = tandem(*words, "--json")
    assert done.exit_code == status, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_from_a_file_to_arms(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    assert answered("show", *home, status=1) == {"sequence": 0, "served": False, "experiments": []}
    assert answered("assign", "anna", *home)["assignments"] == []
    done = answered("push", file(tmp_path), *home)
    assert (done["sequence"], done["published"]) == (1, True)
    arms = [
        {"key": "control", "weight": 0.5, "changes": {}},
        {"key": "als", "weight": 0.5, "changes": {"model": "als"}},
    ]
    assert [one["arms"] for one in done["experiments"]] == [arms]
    assert not answered("push", file(tmp_path), *home)["published"]
    assert answered("push", file(tmp_path, 1), *home)["sequence"] == 2
    shown = answered("show", *home)
    assert (shown["sequence"], shown["served"], shown["experiments"][0]["coverage"]) == (2, True, 1.0)
    people = [answered("assign", f"u{n}", "--country", "DE", *home) for n in range(4)]
    arms_of = {one["assignments"][0]["variation"]: one["treatment"] for one in people}
    assert arms_of == {"control": {}, "als": {"model": "als"}}
    assert answered("assign", "u1", *home)["assignments"] == []


def test_the_examples_of_the_help_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("check", "push", "show", "assign"):
        found = re.search(r"Example: tandem experiments (.+?)\n", tandem(name, "--help").output.replace("│", "") + "\n")
        assert found, name
        assert tandem(*found[1].split()).exit_code == 0, found[1]


def test_people_read_tables(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    assert "can be pushed" in tandem("check", file(tmp_path)).output
    for words in (("check", file(tmp_path)), ("push", file(tmp_path), *home), ("show", *home)):
        done = tandem(*words)
        assert done.exit_code == 0
        assert "model als" in done.stdout
    assert "Nothing was pushed yet" in tandem("show", "--home", str(tmp_path / "none")).output
    assert "Arms of u1" in tandem("assign", "u1", *home).stdout


def test_a_running_test_is_moved_only_by_force(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    tandem("push", file(tmp_path, 0.8), *home)
    done = tandem("push", file(tmp_path, 0.5), *home)
    assert isinstance(done.exception, PayloadInvalid)
    assert "coverage falls" in done.exception.message
    assert answered("push", file(tmp_path, 0.5), "--force", *home)["sequence"] == 2


def test_an_envelope_of_another_key_is_not_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    tandem("push", file(tmp_path), "--home", str(home))
    (home / "experiments" / "key").unlink()
    for words in (("show",), ("assign", "anna")):
        done = tandem(*words, "--home", str(home))
        assert isinstance(done.exception, EnvelopeRefused)
        assert "no key" in done.exception.message
    assert isinstance(tandem("push", file(tmp_path), "--home", str(home)).exception, EnvelopeRefused)
    assert answered("push", file(tmp_path), "--force", "--home", str(home))["sequence"] == 2


def test_one_that_ran_out_is_shown_and_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    tandem("push", file(tmp_path), "--home", str(home))
    later = time.time() + 8 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert not answered("show", "--home", str(home), status=1)["served"]
    assert isinstance(tandem("assign", "anna", "--home", str(home)).exception, EnvelopeRefused)
    assert answered("push", file(tmp_path), "--home", str(home))["sequence"] == 2
    kept, key = LocalExperiments(home).read(), local_key(home)
    assert kept is not None
    assert key is not None
    assert open_envelope(kept.data, key, after=2, now_seconds=int(later))[1].experiments == ("model",)


@pytest.fixture
def bucket(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with a secret of the same name."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    name = f"experiments-{uuid4().hex}"
    with closing(boto3.client("s3")) as s3, closing(boto3.client("secretsmanager")) as secrets:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        secrets.create_secret(Name=name, SecretString="a key of more than sixteen bytes")
    return name


def test_the_same_in_aws(bucket: str, tmp_path: Path) -> None:
    where = ("--bucket", bucket, "--key-secret", bucket)
    assert answered("push", file(tmp_path), *where)["sequence"] == 1
    assert answered("assign", "anna", "--country", "DE", *where)["sequence"] == 1
    assert tandem("push", file(tmp_path), "--bucket", bucket).exit_code == 2


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[experiments.a]\ncoverag = 1\n")
    done = tandem("check", str(tmp_path / "wrong.toml"))
    assert isinstance(done.exception, PayloadInvalid)
    assert "line 2" in done.exception.message
