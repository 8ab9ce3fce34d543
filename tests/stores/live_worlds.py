"""What tests of the live stores share: each store on each engine, tables of their own, and items to tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contracts.live import Encoding, LiveItem, features_digest
from local_mode.dynamodb_local.server import create_live_table
from stores.fresh_items import Put

NOW = 1_700_000_000

ENGINES = ("sqlite", "moto_endpoint", "dynamodb_local_url")
"""The last is Amazon's own local engine, which enforces what moto lets through."""
SAFE_ENGINES = ("sqlite", "dynamodb_local_url")
"""moto checks the condition of a write and writes without a lock: two of its threads can both find it holds."""


def new_live_table(client: Any) -> str:
    """A table of its own, as the storage stack makes it."""
    name = f"live-{uuid4().hex}"
    create_live_table(client, name)
    return name


@contextmanager
def live_store(request: pytest.FixtureRequest, local: type, in_aws: type, folder: Path) -> Iterator[Any]:
    """A store of the class that belongs to the engine which `request` names."""
    if request.param == "sqlite":
        with closing(local(folder / "live.sqlite")) as store:
            yield store
        return
    client = request.getfixturevalue("dynamodb_at")(request.getfixturevalue(request.param))
    with closing(in_aws(new_live_table(client), client)) as store:
        yield store


def encoding_of(features: dict[str, Any], byte: int = 1) -> Encoding:
    """One that tells from which features it is, and by `byte` which one."""
    return Encoding(features_digest(features), bytes([byte] * 8), b"\0\xff" * 4, [byte, 7], [0.5, 0.25])


def told(item_id: str, features: dict[str, Any], release: str = "", *, created_at: int = NOW, byte: int = 1) -> Put:
    """An item as the edge tells it, encoded for a release if one is named."""
    item = LiveItem(item_id=item_id, features=features, digest=features_digest(features), created_at=created_at)
    return Put(item, release, encoding_of(features, byte) if release else None)
