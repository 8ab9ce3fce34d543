"""Every deployment of the tests, synthesised once: the first costs seconds, each further one a second.

Templates are read as the JSON that CloudFormation would get. The bundle is a stand-in, for synth looks no deeper than
whether it is one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# A warning of jsii on standard error about Node 20, which tests cannot do anything about.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")

from tests.infra.synthesis import PROFILES, Synthesised, synthesise


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that passes for what `make build` makes."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "lambda_user_tower").mkdir()
    (folder / "lambda_user_tower" / "handler.py").write_text("")
    return folder


@pytest.fixture(scope="session")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The context that names everything that `make build` makes, as stand-ins."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "night" / "index_loader" / "night").mkdir(parents=True)
    (folder / "night" / "index_loader" / "night" / "handler.py").write_text("")
    (folder / "sourcedir.tar.gz").write_bytes(b"")
    return {
        "bundle": str(bundle),
        "night_bundle": str(folder / "night"),
        "jobs": str(folder / "sourcedir.tar.gz"),
    }


@pytest.fixture(scope="session")
def synthesised(built: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthesised]:
    """A deployment by its context, e.g. `synthesised(profile="dev")`; the same context is synthesised once."""

    @cache
    def made(context: str) -> Synthesised:
        return synthesise(json.loads(context), tmp_path_factory.mktemp("cdk"))

    def by_context(**context: Any) -> Synthesised:
        return made(json.dumps(context | built, sort_keys=True))

    return by_context


@pytest.fixture(scope="session", params=PROFILES)
def deployment(request: pytest.FixtureRequest, synthesised: Callable[..., Synthesised]) -> Synthesised:
    """Each of the three profiles in turn."""
    return synthesised(profile=request.param)


@pytest.fixture(scope="session")
def mini(synthesised: Callable[..., Synthesised]) -> Synthesised:
    return synthesised(profile="mini")


@pytest.fixture(scope="session")
def dev(synthesised: Callable[..., Synthesised]) -> Synthesised:
    return synthesised(profile="dev")


@pytest.fixture(scope="session")
def prod(synthesised: Callable[..., Synthesised]) -> Synthesised:
    return synthesised(profile="prod")
