"""Every command is documented, every example of its help runs, and failures have a name, a fix and an exit status."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli.main import app


def commands(group: Any = None, prefix: str = "") -> dict[str, Any]:
    """Every leaf command (of typer's own click) by its full name."""
    found: dict[str, Any] = {}
    for name, command in (group or typer.main.get_group(app)).commands.items():
        full = f"{prefix}{name}"
        if hasattr(command, "commands"):
            found |= commands(command, f"{full} ")
        else:
            found[full] = command
    return found


def example(command: Any) -> str:
    """The runnable example of a command's help."""
    text = " ".join(f"{command.help or ''} {command.epilog or ''}".split())
    found = re.search(r"Example: (tandem .+?)(?:$| \(|\. )", text)
    assert found, f"{command.name} has no example"
    return found[1].strip("` ")


def tandem(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280)


def one_object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Stdout as the one JSON object that it must be."""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generated dataset, two releases and a published one, as the examples assume."""
    folder = tmp_path_factory.mktemp("workplace")
    made = tandem("generate", "--users", "200", "--items", "100", "--out", "dataset", "--json", cwd=folder)
    assert made.returncode == 0, made.stderr
    for seed in ("0", "1"):
        trained = tandem("train", "dataset", "--effort", "quick", "--seed", seed, "--json", cwd=folder)
        assert trained.returncode in (0, 1), trained.stderr
        assert one_object(trained)
    return folder


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = commands()[name]
    assert command.help
    assert len(command.help.split()) > 5
    assert example(command).startswith(f"tandem {name}")


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_is_explained(name: str) -> None:
    unexplained = [p.name for p in commands()[name].params if not getattr(p, "help", None) and p.name != "help"]
    assert unexplained == []


EXAMPLES_NEED = {"publish": "release", "diff": "releases", "rollback": "earlier"}
NOT_RUN = {
    "serve": "runs until it is stopped; tests/lambda_user_tower drives it",
    "import movielens": "tests/data_sources runs the importers",
    "import sequences": "tests/data_sources runs the importers",
    "import lightgcn": "tests/data_sources runs the importers",
    "demo": "tests/local_mode runs it",
    "opensearch start": "needs a server; tests/local_mode starts one",
    **dict.fromkeys(
        [name for name in commands() if name.startswith("index ")], "needs a server; tests/cli/test_index.py runs it"
    ),
    "simulate": "takes minutes; tests/cli/test_simulate.py runs a small world",
    **dict.fromkeys(
        [name for name in commands() if name.startswith("experiments ")],
        "needs experiments or logs; tests/cli/test_experiments.py and test_experiments_report.py run them",
    ),
    **dict.fromkeys(
        [name for name in commands() if name.startswith("aws ")], "needs a deployment; tests/cli/test_aws.py runs it"
    ),
}


@pytest.mark.parametrize("name", sorted(set(commands()) - NOT_RUN.keys()))
def test_the_example_of_every_help_runs(name: str, workplace: Path) -> None:
    words = shlex.split(example(commands()[name]))[1:]
    releases = [row["id"] for row in one_object(tandem("releases", "--json", cwd=workplace))["releases"]]
    fitting = iter(releases)
    words = [next(fitting) if re.fullmatch(r"r\d{8}T\d{6}-[0-9a-f]{8}", word) else word for word in words]
    words = ["dataset" if word in ("D", "DATASET") else word for word in words]
    done = tandem(*words, cwd=workplace)
    assert done.returncode == 0, done.stderr


def test_json_is_one_object_and_the_rest_goes_elsewhere(workplace: Path) -> None:
    for words in (["releases"], ["recommend", "--user-id", "nobody"], ["check", "dataset"]):
        done = tandem(*words, "--json", cwd=workplace)
        assert one_object(done), words


def test_a_known_user_gets_a_full_personal_slate(workplace: Path) -> None:
    slate = one_object(tandem("recommend", "--user-id", "nobody", "--top-k", "7", "--json", cwd=workplace))
    assert len(slate["items"]) == 7
    assert slate["why"]["route"] == "unknown"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train", "nowhere"], "dataset-invalid"),
        (["publish", "r20260101T000000-00000000"], "release-not-found"),
        (["diff", "a", "b"], "release-not-found"),
    ],
)
def test_a_failure_has_a_name_a_fix_and_the_status_2(words: list[str], code: str, workplace: Path) -> None:
    done = tandem(*words, "--json", cwd=workplace)
    assert done.returncode == 2
    failure = one_object(done)
    assert failure["error"] in (code, "schema-invalid")
    assert failure["fix"]
    assert "Traceback" not in done.stderr


def test_nothing_published_is_said_and_not_traced(tmp_path: Path) -> None:
    done = tandem("recommend", "--user-id", "1", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert one_object(done)["error"] == "no-release"
