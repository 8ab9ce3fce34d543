"""Envelopes of experiments in a home, and edges that serve by them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.experiment import FEATURE_PREFIX
from contracts.served import Exposure, ServedSlate, decode_exposure, decode_slate
from experiments.envelope import seal
from experiments.payload import Payload, read_payload
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from stores.experiments import CURRENT_KEY
from stores.experiments_key import local_key


def experiment(*treatments: dict[str, Any], key: str = "models", **more: Any) -> dict[str, Any]:
    """A feature with one experiment, its arms named `control`, `arm1`, … and as large as each other."""
    keys = ["control", *(f"arm{number}" for number in range(1, len(treatments)))]
    rule = {
        "key": key,
        "seed": key,
        "hashVersion": 2,
        "variations": list(treatments),
        "meta": [{"key": name} for name in keys],
        "weights": [1 / len(treatments)] * len(treatments),
        "coverage": 1.0,
    }
    return {"defaultValue": {}, "rules": [rule | more]}


def everybody(treatment: dict[str, Any], key: str = "models") -> dict[str, Any]:
    """An experiment whose arms are all alike, so that whoever takes part is treated."""
    return experiment(treatment, treatment, key=key)


def payload_of(**features: dict[str, Any]) -> Payload:
    """By the names of the features without our prefix."""
    named = {f"{FEATURE_PREFIX}{name}": feature for name, feature in features.items()}
    return read_payload(json.dumps({"features": named}))


def sealed(home: Path, payload: Payload, sequence: int = 1, age_seconds: int = 0) -> bytes:
    """An envelope under the home's key, issued so long ago."""
    key = local_key(home, make=True)
    assert key is not None
    return seal(payload, sequence, int(time.time()) - age_seconds, key)


def put(home: Path, data: bytes) -> None:
    """Bytes in the place of the envelope, whatever they are, at once: a process may be looking."""
    path = home / CURRENT_KEY
    path.parent.mkdir(exist_ok=True)
    (home / "new").write_bytes(data)
    (home / "new").rename(path)


def push(home: Path, sequence: int = 1, **features: dict[str, Any]) -> None:
    """Experiments that run in a home."""
    put(home, sealed(home, payload_of(**features), sequence))


@contextmanager
def edge_of(home: Path, **changes: Any) -> Iterator[Edge]:
    """An edge that looks at the experiments with every request."""
    told = {"budget_ms": 20_000, "experiments_check_seconds": 0.0, "log_level": "ERROR"} | changes
    opened = Edge(LambdaSettings(home=home, **told))
    try:
        yield opened
    finally:
        opened.close()


def exposures_in(home: Path) -> list[Exposure]:
    """All that are on disk, in no order."""
    return [decode_exposure(line) for line in _lines(home / "exposures")]


def slates_in(home: Path) -> list[ServedSlate]:
    """All that are on disk, in no order."""
    return [decode_slate(line) for line in _lines(home / "slates")]


def _lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_bytes().splitlines()]
