"""A client of a real engine, a store that leaves no index behind, and a release of the toy world in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stores.releases import LocalReleases
from stores.search_engine import connect
from tests.index_loader.worlds import seal
from tests.toy_world import toy_model


@pytest.fixture(scope="module")
def client(opensearch_url: str) -> Any:
    return connect(opensearch_url, compress=True)


@pytest.fixture
def store(tmp_path: Path, client: Any) -> Iterator[LocalReleases]:
    releases = LocalReleases(tmp_path)
    yield releases
    for release in releases.ids():
        client.indices.delete(index=f"items-{release.lower()}-*")


@pytest.fixture
def release(store: LocalReleases) -> str:
    return seal(store, toy_model())
