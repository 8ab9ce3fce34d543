"""What a check of the doctor says. The check files make findings, `doctor.py` collects them, the CLI prints them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from contracts.training_image import CPU_INSTANCE, GPU_INSTANCE, has_gpu

PROFILES: Final = ("mini", "dev", "prod")
"""Context profiles of the stacks (`npx cdk deploy -c profile=…`)."""


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    """It may work; or it could not be looked at, and why."""
    FAIL = "fail"
    """A deployment, or its first night, would fail on it."""


@dataclass(frozen=True)
class Finding:
    """One check."""

    name: str
    status: Status
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is to be deployed."""

    profile: str = "dev"
    """One of PROFILES."""
    image: str = ""
    """Training container; empty: AWS's own of the region."""
    instance: str = ""
    """Training instance; empty: a CPU for `mini` and `dev`, a GPU for `prod`."""
    checkout: Path = Path()
    """Folder of cdk.json and package.json."""

    @property
    def training_instance(self) -> str:
        return self.instance or (GPU_INSTANCE if self.profile == "prod" else CPU_INSTANCE)

    @property
    def trains_on_gpu(self) -> bool:
        return has_gpu(self.training_instance)
