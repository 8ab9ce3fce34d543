"""What a bundle costs: a line per library, the total, and the zip.

Kept beside the bundle as JSON together with the digest of what it was made from, so that a build with nothing changed
has nothing to do and still has its table. `build.py` fills it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from infra.bundle.checks import folder_bytes, library_of
from infra.bundle.contents import MEGABYTE

OURS: Final = "tandem-recommender"
_COMPILED: Final = "__pycache__"


class Library(msgspec.Struct, frozen=True):
    """One library of a bundle."""

    name: str
    version: str
    installed_bytes: int
    """As it came from the index."""
    kept_bytes: int
    """Of it in the bundle, `.pyc` included; 0 where a rule of `trim.py` leaves it out."""


class Report(msgspec.Struct, frozen=True):
    """A finished bundle."""

    target: str
    made_from: str
    """Digest of everything that the bundle was made from."""
    compiled: bool
    """Whether it carries `.pyc`."""
    libraries: list[Library]
    unzipped_bytes: int
    zip_bytes: int
    """Packed: what is uploaded."""

    def table(self) -> str:
        """What each library costs, the largest first, as text for a terminal."""
        rows = sorted(self.libraries, key=lambda library: (-library.kept_bytes, library.name))
        lines = [f"{'library':<28}{'version':>14}{'MB came':>10}{'MB kept':>10}"]
        lines += [
            f"{row.name:<28}{row.version:>14}{row.installed_bytes / MEGABYTE:>10.2f}{row.kept_bytes / MEGABYTE:>10.2f}"
            for row in rows
        ]
        installed = sum(row.installed_bytes for row in rows) / MEGABYTE
        lines.append(f"{'total, unzipped':<28}{'':>14}{installed:>10.2f}{self.unzipped_bytes / MEGABYTE:>10.2f}")
        lines.append(f"{'packed':<28}{'':>24}{self.zip_bytes / MEGABYTE:>10.2f}")
        compiled = (
            "with .pyc" if self.compiled else "without .pyc (of another Python than this machine's they cannot be made)"
        )
        return "\n".join([*lines, f"for {self.target}, {compiled}"])


def sizes_by_entry(folder: Path) -> dict[str, int]:
    """Bytes of each top-level entry, `.pyc` with what they were compiled from."""
    sizes = {path.name: folder_bytes(path) if path.is_dir() else path.stat().st_size for path in folder.iterdir()}
    sizes.pop(_COMPILED, None)
    for path in (folder / _COMPILED).glob("*.pyc"):  # of libraries that are one file
        sizes[f"{path.name.split('.')[0]}.py"] += path.stat().st_size
    return sizes


def owners(folder: Path) -> dict[str, tuple[str, str]]:
    """Top-level entry → name and version of the library that it came with. Read before RECORD is left out."""
    owner: dict[str, tuple[str, str]] = {}
    for dist_info in sorted(folder.glob("*.dist-info")):
        library = library_of(dist_info)
        for line in (dist_info / "RECORD").read_text().splitlines():
            owner.setdefault(line.split("/")[0].split(",")[0], library)
    return owner


def libraries(owner: dict[str, tuple[str, str]], came: dict[str, int], kept: dict[str, int]) -> list[Library]:
    """What each library brought and what is left of it. Entries without an owner are ours."""
    sizes: dict[tuple[str, str], list[int]] = {}
    for entry in sorted(came.keys() | kept.keys()):
        size = sizes.setdefault(owner.get(entry, (OURS, "")), [0, 0])
        size[0] += came.get(entry, 0)
        size[1] += kept.get(entry, 0)
    return [Library(name, version, *size) for (name, version), size in sorted(sizes.items())]
