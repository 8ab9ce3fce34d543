"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import ServerUnavailable
from local_mode.opensearch import server

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
