"""A client of a real engine, stores that leave no index behind, a release of the toy world, and deployments in moto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stores.fresh_items import SqliteFreshItems
from stores.live_file import LIVE_FILE
from stores.releases import LocalReleases
from stores.search_engine import connect
from tests.index_loader.night_world import NightWorld
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
def items(tmp_path: Path) -> Iterator[SqliteFreshItems]:
    """Live items of the same home; none was told."""
    with SqliteFreshItems(tmp_path / LIVE_FILE) as told:
        yield told


@pytest.fixture
def release(store: LocalReleases) -> str:
    return seal(store, toy_model())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> Iterator[NightWorld]:
    """A deployment without a search domain."""
    made = NightWorld(tmp_path, monkeypatch, moto_endpoint)
    yield made
    made.close()


@pytest.fixture
def indexed_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto_endpoint: str, opensearch_url: str, client: Any
) -> Iterator[NightWorld]:
    """A deployment whose catalogues of more than 100 items are searched in the engine; leaves no index behind."""
    settings = {"engine_above": 100, "part_items": 80, "opensearch_url": opensearch_url}
    made = NightWorld(tmp_path, monkeypatch, moto_endpoint, **settings)
    yield made
    for release in made.releases.ids():
        client.indices.delete(index=f"items-{release.lower()}-*")
    made.close()
