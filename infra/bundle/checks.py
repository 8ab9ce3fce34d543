"""What must be true of a bundle before it is moved into place.

Each check reads the folder as it is, not how it was made, and yields a sentence per problem. `build.py` refuses a
bundle that has any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from packaging.tags import parse_tag
from packaging.utils import canonicalize_name

from infra.bundle.contents import MEGABYTE, Contents, Limits
from infra.bundle.target import Target, elf_machine

_PIN: Final = re.compile(r"(?m)^([\w.-]+)==([^\s;]+)")
"""A line of constraints.txt; one library may have several, for different Pythons."""


def folder_problems(folder: Path, target: Target, constraints: str, contents: Contents) -> Iterator[str]:
    """What is wrong with the libraries of a bundle; `constraints` is the text of constraints.txt."""
    yield from _wrong_machine(folder, target)
    yield from _wrong_wheels(folder, target)
    yield from _unpinned(folder, constraints)
    unwanted = contents.unwanted & {path.name for path in folder.iterdir()}
    yield from (f"{name}: {contents.why_unwanted}." for name in sorted(unwanted))


def packed_problems(unzipped_bytes: int, packed_bytes: int, limits: Limits) -> Iterator[str]:
    """What is wrong with the sizes of a bundle."""
    if unzipped_bytes > limits.unzipped:
        yield f"{unzipped_bytes / MEGABYTE:.0f} MB unzipped: the limit is {limits.unzipped / MEGABYTE:.0f} MB."
    if packed_bytes > limits.packed:
        yield f"{packed_bytes / MEGABYTE:.0f} MB packed: the limit is {limits.packed / MEGABYTE:.0f} MB."


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _wrong_machine(folder: Path, target: Target) -> Iterator[str]:
    for path in sorted(folder.rglob("*.so*")):
        machine = elf_machine(path)
        if machine != target.machine:
            found = "no ELF file" if machine is None else f"for ELF machine {machine}"
            yield f"{path.relative_to(folder)}: {found}, {target.name} needs {target.machine}."


def _wrong_wheels(folder: Path, target: Target) -> Iterator[str]:
    for path in sorted(folder.glob("*.dist-info/WHEEL")):
        tags = HeaderParser().parsestr(path.read_text()).get_all("Tag", [])
        if not any(parse_tag(tag) & target.tags for tag in tags):
            yield f"{path.parent.name}: a wheel for {', '.join(tags) or 'nothing'} does not fit {target.name}."


def _unpinned(folder: Path, constraints: str) -> Iterator[str]:
    pinned = {(canonicalize_name(name), version) for name, version in _PIN.findall(constraints)}
    for path in sorted(folder.glob("*.dist-info")):
        name, version = library_of(path)
        if (canonicalize_name(name), version) not in pinned:
            yield f"{name} {version}: constraints.txt does not name this version."


def library_of(dist_info: Path) -> tuple[str, str]:
    """Name and version of a library, from the name of its folder."""
    name, _, version = dist_info.name.removesuffix(".dist-info").rpartition("-")
    return name, version
