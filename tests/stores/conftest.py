"""Fixtures of the stores' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stores.s3_bucket import s3_client
from tests.stores.release_places import BucketPlace


@pytest.fixture(scope="session")
def s3(moto_endpoint: str) -> Iterator[Any]:
    """A client of S3 as the stores make it; one for all tests, for making it takes a tenth of a second."""
    client = s3_client(endpoint_url=moto_endpoint)
    yield client
    client.close()


@pytest.fixture
def bucket_place(tmp_path: Path, s3: Any) -> Iterator[BucketPlace]:
    """Releases in a bucket of the test's own."""
    place = BucketPlace(tmp_path, s3)
    yield place
    place.let_go()
