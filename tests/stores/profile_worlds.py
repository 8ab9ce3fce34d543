"""What tests of profile stores share: clients of both engines, tables of their own, and a dataset's events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from contracts.interactions import Interactions
from local_mode.dynamodb_local.server import create_profiles_table
from stores.dynamodb_profiles import DynamoDBProfiles
from stores.dynamodb_table import dynamodb_client
from tests.aws import REGION

PATIENT_SECONDS = 60
"""The local engine loads itself at its first call, on a machine that is busy with everything else."""


def client_of(url: str) -> Any:
    """A client as the store makes it, for an engine of this machine."""
    keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "testing")
    return dynamodb_client(read_seconds=PATIENT_SECONDS, endpoint_url=url, region_name=REGION, **keys)


several_writers = pytest.mark.parametrize("profiles", ["sqlite", "dynamodb_local_url"], indirect=True)
"""moto checks the condition of a write and writes without a lock: two of its threads can both find it holds."""


@contextmanager
def profiles_at(url: str) -> Iterator[DynamoDBProfiles]:
    """A store over a new table."""
    with closing(client_of(url)) as client:
        table = f"profiles-{uuid4().hex}"
        create_profiles_table(client, table)
        with closing(DynamoDBProfiles(table, client)) as store:
            yield store


def interactions(histories: Sequence[Sequence[int]], first_time: int = 0) -> Interactions:
    """Events of one user a history of item rows, a second after the other, over all users."""
    lengths = [len(history) for history in histories]
    items = np.array([row for history in histories for row in history], np.int32)
    return Interactions(
        items,
        first_time + np.arange(len(items), dtype=np.int64),
        np.full(len(items), 0.5, np.float32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        10_000,
    )
