"""Where a bundle is to run: the machine, the Python, and which wheels fit both.

Nothing here builds or reads a bundle. `build.py` installs for a target, `checks.py` holds the result against it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.tags import Tag, compatible_tags, cpython_tags, sys_tags

LAMBDA_PYTHON: Final = (3, 14)
"""Of the functions' runtime, python3.14: the newest that AWS runs, and the one that cdk-nag asks for."""

JOB_PYTHON: Final = (3, 12)
"""Of AWS's PyTorch images 2.11 to 2.13."""

_GLIBC_MINOR: Final = 28
"""Wheels for glibc up to 2.28: the runtime's Amazon Linux 2023 has 2.34, and numpy has no wheels for less."""

_OLDEST_MANYLINUX: Final = 17
"""manylinux2014, the oldest that there are arm64 wheels of; older tags of x86-64 are a part of it."""

ELF_AARCH64: Final = 183
ELF_X86_64: Final = 62
"""EM_AARCH64 and EM_X86_64 of the ELF specification."""

_ELF_MAGIC: Final = b"\x7fELF"
_MACHINE_AT: Final = 18
"""Offset of `e_machine` in an ELF header, two bytes little-endian on every machine that we build for."""


@dataclass(frozen=True)
class Target:
    """A machine and a Python."""

    name: str
    install: tuple[str, ...]
    """Options by which uv chooses wheels."""
    tags: frozenset[Tag]
    """Of wheels that fit."""
    machine: int | None
    """`e_machine` of its shared objects; None where they are no ELF files (macOS)."""
    compiler: Path | None
    """A Python that writes its `.pyc`; None where this machine has none of that version."""


def lambda_target() -> Target:
    """AWS Lambda, arm64."""
    return _linux_target("lambda", "aarch64", ELF_AARCH64, LAMBDA_PYTHON)


def job_target() -> Target:
    """SageMaker's instances: those with a GPU are x86-64."""
    return _linux_target("sagemaker", "x86_64", ELF_X86_64, JOB_PYTHON)


def _linux_target(name: str, machine: str, elf: int, python: tuple[int, int]) -> Target:
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC_MINOR, _OLDEST_MANYLINUX - 1, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    native = cpython_tags(python, platforms=platforms)
    pure = compatible_tags(python, interpreter=f"cp{python[0]}{python[1]}", platforms=platforms)
    version = f"{python[0]}.{python[1]}"
    return Target(
        name=name,
        install=("--python-platform", f"{machine}-manylinux_2_{_GLIBC_MINOR}", "--python-version", version),
        tags=frozenset([*native, *pure]),
        machine=elf,
        compiler=_interpreter(version),
    )


def host_target() -> Target:
    """This machine and the Python that runs here."""
    python = Path(sys.executable)
    return Target(
        name="host",
        install=("--python", str(python)),
        tags=frozenset(sys_tags()),
        machine=elf_machine(python),
        compiler=python,
    )


def aws_target(contents: str) -> Target:
    """Where AWS runs what is built."""
    return job_target() if contents == "jobs" else lambda_target()


def elf_machine(path: Path) -> int | None:
    """`e_machine` of a file; None where it is no ELF file."""
    with path.open("rb") as file:
        header = file.read(_MACHINE_AT + 2)
    if not header.startswith(_ELF_MAGIC) or len(header) < _MACHINE_AT + 2:
        return None
    return int.from_bytes(header[_MACHINE_AT:], "little")


def _interpreter(version: str) -> Path | None:
    """A Python of a version on the PATH that really runs: a pyenv shim may have nothing behind it."""
    if (found := shutil.which(f"python{version}")) is None:
        return None
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    said = subprocess.run([found, "-I", "-c", program], capture_output=True, text=True, check=False)  # noqa: S603  # from our PATH
    return Path(found) if said.returncode == 0 and said.stdout.strip() == version else None
