"""`tandem index …` on a real engine: every step alone, in a row, and what is said where one cannot be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stores.releases import LocalReleases
from stores.search_engine import connect
from tests.cli.test_commands import one_object, tandem
from tests.index_loader.worlds import seal
from tests.toy_world import toy_model


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, opensearch_url: str) -> Any:
    """A folder with two releases and an engine."""
    folder = tmp_path_factory.mktemp("index")
    store = LocalReleases(folder / ".tandem")
    for seed in range(2):
        seal(store, toy_model(seed=seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENSEARCH_URL", opensearch_url)
        yield folder
    client = connect(opensearch_url)
    for release in store.ids():
        client.indices.delete(index=f"items-{release.lower()}-*")


def index(workplace: Path, *words: str) -> dict[str, Any]:
    done = tandem("index", *words, "--json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    return one_object(done)


def test_the_steps_one_by_one_then_in_a_row_then_back(workplace: Path) -> None:
    first, second = LocalReleases(workplace / ".tandem").ids()
    name = index(workplace, "prepare", "--release", first)["index"]
    for part in ("0", "1"):
        words = ("load", "--release", first, "--part", part, "--parts", "2")
        assert index(workplace, *words) == {"index": name, "documents": 100}
    assert index(workplace, "finalise", "--release", first)["final"]
    assert index(workplace, "verify", "--release", first)["models"]["two_tower"]["recall"] >= 0.95
    assert index(workplace, "publish", "--release", first)["index"] == name
    done = tandem("index", "run", "--release", second, "--json", cwd=workplace)
    assert one_object(done)["publication"]["release"] == second
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"progress", "done", "total", "seconds"} == set(lines[0])
    assert lines[0]["progress"].startswith("loading items-")
    report = index(workplace, "verify")  # what serves
    assert (report["release"], report["documents_compared"]) == (second, 200)
    slate = one_object(tandem("recommend", "--session", "i000003", "--json", cwd=workplace))
    assert slate["why"]["degraded"] == []
    assert one_object(tandem("rollback", "--json", cwd=workplace))["index"] == name
    assert name in index(workplace, "sweep")["kept"]


def test_a_table_for_people(workplace: Path) -> None:
    first = LocalReleases(workplace / ".tandem").ids()[0]
    assert tandem("index", "run", "--release", first, "--no-publish", cwd=workplace).returncode == 0
    done = tandem("index", "verify", "--release", first, cwd=workplace)
    assert "genre=art" in done.stdout
    assert "recall@k" in done.stdout
    assert "items-" in tandem("index", "sweep", cwd=workplace).stdout


def test_what_cannot_be_done_is_named(workplace: Path, tmp_path: Path) -> None:
    for words, code in (
        (["load", "--release", "nothing"], "release-not-found"),
        (["verify", "--index", "items-nowhere-r1"], "index-unavailable"),
    ):
        done = tandem("index", *words, "--json", cwd=workplace)
        assert done.returncode == 2
        assert one_object(done)["error"] == code
    done = tandem("index", "run", "--json", cwd=tmp_path)
    assert "no release yet" in one_object(done)["message"]


def test_without_an_engine_it_is_said_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENSEARCH_URL", raising=False)
    for words in (["index", "run"], ["demo", "--index", "opensearch"]):
        done = tandem(*words, "--json", cwd=tmp_path)
        assert done.returncode == 2
        assert "tandem opensearch start" in one_object(done)["fix"]
