"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from contracts.errors import BundleNotBuilt, ServerUnavailable
from infra.bundle.build import Recipe, beside, build
from infra.bundle.contents import JOBS, NIGHT, SERVING, Contents
from infra.bundle.target import host_target
from local_mode.dynamodb_local import server as dynamodb_local
from local_mode.opensearch import server
from tests import aws

os.environ["COLUMNS"] = "200"  # what commands print is not wrapped by the length of a temporary folder's name

# A worker that shares its core with a server draws slowly; that says nothing of the strategy.
settings.register_profile("suite", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets; the test is skipped, with the reason, where it does not exist."""
    folder = Path(os.environ.get("TANDEM_TEST_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data sets not found at {folder} (set TANDEM_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def opensearch_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real OpenSearch, started when the first test asks for it; indexes are the tests' to name apart and to delete.

    Where none can be had the test is skipped with the reason, or fails under TANDEM_REQUIRE_OPENSEARCH=1.
    """
    home = tmp_path_factory.mktemp("search")
    try:
        url = server.start(home).url
    except ServerUnavailable as error:
        if os.environ.get("TANDEM_REQUIRE_OPENSEARCH") == "1":
            pytest.fail(f"TANDEM_REQUIRE_OPENSEARCH=1, but: {error}")
        pytest.skip(f"no OpenSearch: {error}")
    yield url
    server.stop(home)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The URL of moto's server, with fake credentials in the environment from then on."""
    with aws.moto_endpoint() as url:
        yield url


@pytest.fixture(scope="session")
def dynamodb_local_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real DynamoDB engine, started when the first test asks for it; tables are the tests' to name apart.

    Where none can be had the test is skipped with the reason, or fails under TANDEM_REQUIRE_DYNAMODB=1.
    """
    folder = tmp_path_factory.mktemp("dynamodb")
    try:
        url = dynamodb_local.start(folder)
    except ServerUnavailable as error:
        if os.environ.get("TANDEM_REQUIRE_DYNAMODB") == "1":
            pytest.fail(f"TANDEM_REQUIRE_DYNAMODB=1, but: {error}")
        pytest.skip(f"no DynamoDB: {error}")
    yield url
    dynamodb_local.stop(folder)


@pytest.fixture(scope="session")
def serving_bundle() -> Path:
    """What answers callers, built by the same recipe as for AWS, for this machine."""
    return _built(SERVING)


@pytest.fixture(scope="session")
def night_bundle() -> Path:
    """The light steps of a night, likewise."""
    return _built(NIGHT)


@pytest.fixture(scope="session")
def jobs_archive() -> Path:
    """What SageMaker's jobs run, packed, likewise."""
    return beside(_built(JOBS), JOBS.packed)


def _built(contents: Contents) -> Path:
    """Built once, and again when its sources change.

    Where the package index is out of reach the test is skipped with the reason, or fails under TANDEM_REQUIRE_BUNDLE=1.
    """
    folder = _REPOSITORY / contents.folder(host=True)
    try:
        build(Recipe(host_target(), contents), folder)
    except BundleNotBuilt as error:
        if os.environ.get("TANDEM_REQUIRE_BUNDLE") == "1":
            pytest.fail(f"TANDEM_REQUIRE_BUNDLE=1, but: {error}")
        pytest.skip(f"no bundle: {error}")
    return folder
