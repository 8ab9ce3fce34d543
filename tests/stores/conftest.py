"""Fixtures of the stores' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stores.profiles import Profiles, SqliteProfiles
from stores.s3_bucket import s3_client
from tests.stores.profile_worlds import client_of, profiles_at
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


@pytest.fixture(scope="session")
def dynamodb_at() -> Iterator[Callable[[str], Any]]:
    """The client of DynamoDB at a URL; one for all tests of live stores, likewise."""
    with ExitStack() as clients:
        yield cache(lambda url: clients.enter_context(closing(client_of(url))))


@pytest.fixture(params=["sqlite", "moto_endpoint", "dynamodb_local_url"])
def profiles(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profiles]:
    """A profile store of each class and engine."""
    if request.param == "sqlite":
        with SqliteProfiles(tmp_path / "profiles.sqlite") as store:
            yield store
    else:
        with profiles_at(request.getfixturevalue(request.param)) as store:
            yield store
