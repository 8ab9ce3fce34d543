"""Synth as a person runs it: a process without network and credentials, by the `cdk` command that package.json pins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.infra.synthesis import REPOSITORY, cdk_context

STACKS: Final = ["tandem-dev-service.template.json", "tandem-dev-state.template.json"]
CDK_COMMAND: Final = REPOSITORY / "node_modules" / ".bin" / "cdk"


class Synth(NamedTuple):
    """A process that has ended."""

    done: subprocess.CompletedProcess[str]
    folder: Path


def _environment(**more: str) -> dict[str, str]:
    """Ours without anything of AWS."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    return {**ours, "AWS_EC2_METADATA_DISABLED": "true", "CI": "true", **more}


def _without_network() -> list[str]:
    """A command that runs another in a network of its own, where nothing is."""
    command = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode != 0:
        pytest.skip("unshare cannot take the network away here (not Linux, or no user namespaces)")
    return command


@pytest.fixture(scope="module")
def offline(built: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Synth:
    """Profile dev, by `npx cdk synth` where it is installed, else by what that would run."""
    folder = tmp_path_factory.mktemp("offline")
    environment = _environment()
    command = ["npx", "--no-install", "cdk", "synth", "--build", "true", "-o", str(folder)]
    command += [part for name, path in built.items() for part in ("-c", f"{name}={path}")]
    if not CDK_COMMAND.exists():
        context = json.dumps(cdk_context() | built)
        environment = _environment(CDK_OUTDIR=str(folder), CDK_CONTEXT_JSON=context)
        command = [sys.executable, "-W", "error", "-m", "infra.app"]
    run = [*_without_network(), *command]
    return Synth(subprocess.run(run, cwd=REPOSITORY, env=environment, capture_output=True, text=True), folder)


def test_synth_needs_neither_network_nor_credentials(offline: Synth) -> None:
    assert offline.done.returncode == 0, offline.done.stderr
    assert sorted(path.name for path in offline.folder.glob("*.template.json")) == STACKS


def test_the_pinned_cdk_command_runs_the_app(offline: Synth) -> None:
    if not CDK_COMMAND.exists():
        pytest.skip("node_modules is not there (`npm ci` installs the cdk command)")
    assert "Successfully synthesized" in offline.done.stdout + offline.done.stderr


def test_the_cdk_command_is_pinned_to_one_that_knows_the_library() -> None:
    lock = json.loads((REPOSITORY / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/aws-cdk"]["version"] == "2.1148.1"
    assert "http" not in json.dumps(lock), "a lock names no registry: every machine has its own"


def test_cdk_json_runs_the_app_of_the_environment_after_a_build() -> None:
    told = json.loads((REPOSITORY / "cdk.json").read_text())
    assert (told["app"], told["build"]) == (".venv/bin/python -m infra.app", "make build")
    flags = [name for name in told["context"] if name.startswith("@aws-cdk/")]
    assert len(flags) > 10
    assert not [name for name in told["context"] if "account" in name or "region" in name]
