"""A short sample of what `make soak` does for long: kills of the loader, and faults of the engine while serving."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults import try_faults
from benchmarks.loader_soak import soak


def test_a_killed_loader_tears_nothing_and_the_next_run_finishes(tmp_path: Path, opensearch_url: str) -> None:
    result = soak(opensearch_url, tmp_path, kills=4, items=1_000, seed=3)
    assert (result.kills, result.torn, result.orphans) == (4, [], [])


def test_faults_of_the_engine_never_reach_the_client(tmp_path: Path, opensearch_url: str) -> None:
    faults = ("refused", "black hole", "dripping", "503", "half the shards", "another index", "cut off")
    result = try_faults(opensearch_url, tmp_path, 1, faults)
    late = [broken for broken in result.wrong if broken.endswith(" ms")]  # a busy machine; `make soak` counts them
    assert [broken for broken in result.wrong if broken not in late] == []
    assert result.trials == 25 * len(faults)
    assert result.searches_a_request_open <= 1.1
