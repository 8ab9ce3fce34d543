"""Is this machine ready to deploy? Python, Node, the pinned CDK CLI and the bundle; nothing is changed or fetched.

`doctor.py` runs these.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from local_mode.aws.findings import Finding, Status, Wanted

OLDEST_PYTHON: Final = (3, 11)
OLDEST_NODE: Final = 18
"""Of the CDK CLI 2.1148."""
MAINTAINED_NODE: Final = 22
"""Below it jsii works and warns at length (November 2026)."""
_ANSWER_SECONDS: Final = 20
"""`node --version` takes 0.1 s; whatever takes longer does not work."""
BUNDLE: Final = Path("build/serving")


def python(_: Wanted) -> Finding:
    """The Python that runs the stacks, and CDK in it."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", Status.FAIL, f"Python {version}.", "Use Python 3.11 or newer.")
    if find_spec("aws_cdk") is None:
        found = f"Python {version} without aws-cdk-lib."
        return Finding("python", Status.FAIL, found, "pip install 'tandem-recommender[infra]'")
    return Finding("python", Status.OK, f"Python {version} with aws-cdk-lib")


def node(_: Wanted) -> Finding:
    """Node.js and npx, which run CDK."""
    fix = f"Install Node.js {MAINTAINED_NODE} or newer, npx comes with it."
    if missing := [name for name in ("node", "npx") if shutil.which(name) is None]:
        return Finding("node", Status.FAIL, f"{' and '.join(missing)} not found.", fix)
    version = _said("node", "--version").lstrip("v")
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE:
        return Finding("node", Status.FAIL, f"node --version says {version!r}, {OLDEST_NODE} is needed.", fix)
    if int(major) < MAINTAINED_NODE:
        return Finding("node", Status.WARN, f"Node.js {version} works, and is no longer maintained.", fix)
    return Finding("node", Status.OK, f"Node.js {version}")


def _said(*command: str) -> str:
    """The first line that a command prints; empty where it fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_ANSWER_SECONDS)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()


def cdk_cli(wanted: Wanted) -> Finding:
    """The CDK CLI of the version that package.json pins; newest is not best, npm's `latest` is a broken one."""
    pinned = _read(wanted.checkout / "package.json").get("devDependencies", {}).get("aws-cdk")
    if pinned is None:
        found = f"{wanted.checkout.resolve()} has no package.json that pins aws-cdk."
        return Finding("cdk_cli", Status.FAIL, found, "Run it in the checkout of Tandem, where cdk.json is.")
    installed = _read(wanted.checkout / "node_modules/aws-cdk/package.json").get("version")
    if installed != pinned:
        found = f"aws-cdk {pinned} is wanted, {installed or 'none'} is installed."
        return Finding("cdk_cli", Status.FAIL, found, "npm ci")
    return Finding("cdk_cli", Status.OK, f"aws-cdk {installed}")


def bundle(wanted: Wanted) -> Finding:
    """The functions' bundle."""
    report = _read((wanted.checkout / BUNDLE).with_suffix(".json"))
    if not report or not (wanted.checkout / BUNDLE).is_dir():
        return Finding("bundle", Status.WARN, f"{BUNDLE} is not built; `npx cdk` builds it first.", "make build")
    size = report.get("unzipped_bytes", 0) / 1e6
    return Finding("bundle", Status.OK, f"{BUNDLE}, {size:.0f} MB for {report.get('target', 'an unknown target')}")


def _read(path: Path) -> dict[str, Any]:
    """A JSON object in a file; empty where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
