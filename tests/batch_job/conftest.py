"""Fixtures of the batch jobs' tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stores.s3_bucket import s3_client
from tests.batch_job.night_world import NightWorld


@pytest.fixture(scope="session")
def s3(moto_endpoint: str) -> Iterator[Any]:
    """A client of S3; one for all tests, for making it takes a tenth of a second."""
    with closing(s3_client(endpoint_url=moto_endpoint)) as client:
        yield client


@pytest.fixture
def world(tmp_path: Path, s3: Any) -> Iterator[NightWorld]:
    """A data bucket of the test's own."""
    with closing(NightWorld(tmp_path, s3)) as made:
        yield made
