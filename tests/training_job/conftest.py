"""Small data sets with known structure, for every test of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from data_sources.generator import WorldSettings, generate
from data_sources.indexed import IndexedDataset
from stores.s3_bucket import s3_client
from tests.training_job.clustered import clustered_world
from tests.training_job.night_place import NightPlace

Maker = Callable[..., IndexedDataset]


@pytest.fixture(scope="session")
def clustered() -> Maker:
    """Makes worlds in which a user takes items of one cluster only, so the right answers are the cluster's others."""
    return clustered_world


@pytest.fixture(scope="session")
def s3(moto_endpoint: str) -> Iterator[Any]:
    """A client of S3 as the stores make it."""
    client = s3_client(endpoint_url=moto_endpoint)
    yield client
    client.close()


@pytest.fixture
def place(tmp_path: Path, s3: Any, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> NightPlace:
    """A night in buckets of its own; what a step makes for itself finds them by the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    return NightPlace.make(tmp_path, f"night-{uuid4().hex[:12]}", s3)


@pytest.fixture(scope="session")
def world_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset in files; not to be written to."""
    out = tmp_path_factory.mktemp("world") / "data"
    generate(out, WorldSettings(users=150, items=80))
    return out
