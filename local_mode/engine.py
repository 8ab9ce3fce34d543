"""Which search engine this machine uses for a home folder, and for which releases.

`retrain` asks before it loads, `asking` and the dev server before they serve, the CLI for every index command.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import ServerUnavailable
from contracts.fitted import HEAD_ITEMS
from lambda_user_tower.settings import LambdaSettings
from local_mode.opensearch import server
from stores.search_engine import loader_client

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


class Index(StrEnum):
    """Where a release is searched."""

    AUTO = "auto"
    """In memory while the catalogue is small, else in the engine that runs, if one does."""
    EMBEDDED = "embedded"
    OPENSEARCH = "opensearch"


def engine_client(home: Path) -> OpenSearch:
    """A client for loading. Raises ServerUnavailable where no engine runs for the home folder."""
    if (url := engine_url(home)) is None:
        raise ServerUnavailable(
            f"{home}: no search engine runs for this folder.",
            fix="`tandem opensearch start`, or set OPENSEARCH_URL to one that runs.",
        )
    return loader_client(url)


def engine_url(home: Path) -> str | None:
    """TANDEM_OPENSEARCH_URL, OPENSEARCH_URL, or the server that was started for the home folder."""
    return os.environ.get("TANDEM_OPENSEARCH_URL") or server.running_url(home)


def engine_for(
    home: Path, index: Index, n_items: int, above: int = HEAD_ITEMS, say: Callable[[str], None] = lambda _: None
) -> OpenSearch | None:
    """A client where a release of `n_items` belongs into an engine, None where it is searched itself.

    Raises ServerUnavailable where an engine was asked for and none runs.
    """
    if index is Index.EMBEDDED or (index is Index.AUTO and n_items <= above):
        return None
    if index is Index.AUTO and engine_url(home) is None:
        say(f"{n_items} items and no search engine (`tandem opensearch start`): every request scans them all.")
        return None
    return engine_client(home)


def local_settings(home: Path) -> LambdaSettings:
    """The edge's settings from the environment, for a home folder, with the engine that runs here, if one does."""
    return replace(LambdaSettings.from_env(), home=home, opensearch_url=engine_url(home) or "")
