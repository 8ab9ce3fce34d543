"""The stacks of this repository, synthesised as `cdk synth` does, without Node and without an account.

Runs `python -m infra.app` in a process of its own: local mode may not know the stacks, it only reads what they write.
`deployed.py` calls it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.errors import DeploymentInvalid, ExtraMissing

REPOSITORY: Final = Path(__file__).resolve().parents[2]

STACKS: Final = ("state", "service")
"""In the order in which they are deployed."""


@dataclass(frozen=True)
class Assembly:
    """What a synth wrote."""

    folder: Path

    def template(self, stack: str) -> dict[str, Any]:
        """The template of `state` or `service`. Raises DeploymentInvalid where there is not exactly one."""
        found = sorted(self.folder.glob(f"*-{stack}.template.json"))
        if len(found) != 1:
            raise DeploymentInvalid(f"{self.folder} has {len(found)} templates of a {stack} stack, not one.")
        template: dict[str, Any] = json.loads(found[0].read_text())
        return template

    def files(self) -> dict[str, Path]:
        """Key in the bucket of assets → the file, of those that a deploy uploads as they are."""
        found: dict[str, Path] = {}
        for manifest in self.folder.glob("*.assets.json"):
            for each in json.loads(manifest.read_text())["files"].values():
                path = self.folder / each["source"]["path"]
                if each["source"]["packaging"] == "file" and not path.name.endswith(".template.json"):
                    found |= {place["objectKey"]: path for place in each["destinations"].values()}
        return found

    def asset_bucket(self) -> str:
        """The bucket that assets go to, with `${AWS::Region}` and `${AWS::AccountId}` still in it."""
        for manifest in self.folder.glob("*.assets.json"):
            for each in json.loads(manifest.read_text())["files"].values():
                return str(next(iter(each["destinations"].values()))["bucketName"])
        raise DeploymentInvalid(f"{self.folder}: nothing is to be uploaded.")


def context_of(serving: Path, night: Path, jobs: Path, **more: str) -> dict[str, str]:
    """The context of a rehearsed deployment: these bundles, and a domain that searches however small the catalogue."""
    built = {"bundle": str(serving), "night_bundle": str(night), "jobs": str(jobs)}
    return {"profile": "dev", "prefix": "rehearsal", "engine_above": "1", **built, **more}


def synthesise(folder: Path, context: Mapping[str, str]) -> Assembly:
    """Synthesise into `folder`. `context`: what `cdk -c` would be given.

    Raises DeploymentInvalid with what synth says, ExtraMissing without CDK.
    """
    told = json.loads((REPOSITORY / "cdk.json").read_text())["context"] | dict(context)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))},
        "CDK_OUTDIR": str(folder),
        "CDK_CONTEXT_JSON": json.dumps(told),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-W", "ignore", "-m", "infra.app"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if "No module named 'aws_cdk'" in done.stderr:
        raise ExtraMissing("the stacks cannot be synthesised: CDK is not installed.", fix="pip install '.[infra]'")
    if done.returncode:
        raise DeploymentInvalid(f"the stacks cannot be synthesised: {done.stderr.strip()[-2_000:]}")
    return Assembly(folder)
