"""What a bundle leaves out, and why: everything that no request of ours ever reads.

Each rule was tried on the built bundle: every module of ours imports from it alone, every AWS client is made from it,
and k-NN searches and bulk loads run against a real OpenSearch with it. `build.py` calls it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple


class Rule(NamedTuple):
    """Paths of a bundle that are left out."""

    patterns: tuple[str, ...]
    reason: str


RULES: Final = (
    Rule(("**/tests", "**/testdata"), "tests of libraries"),
    Rule(("**/*.pyi", "**/py.typed", "*-stubs"), "types, read by type checkers"),
    Rule(("**/*.pxd", "**/*.pyx", "**/*.h", "**/*.c", "**/*.a"), "sources for compiling against a library"),
    Rule(("numpy/f2py",), "a Fortran compiler's front end, imported only where somebody asks for it"),
    Rule(("bin", ".lock"), "commands for a terminal, and the lock of the installation"),
    Rule(("*.dist-info/RECORD", "*.dist-info/INSTALLER", "*.dist-info/REQUESTED"), "true of the whole library only"),
    Rule(("grpc", "grpcio-*.dist-info"), "gRPC to OpenSearch: opensearch-py asks for it and never imports it"),
    Rule(("opensearch", "opensearch_protobufs-*.dist-info"), "messages of that gRPC"),
    Rule(("google", "protobuf-*.dist-info"), "needed by nothing else"),
    Rule(("aws_lambda_powertools/event_handler",), "routing and its Swagger page: `routing.py` does it"),
    Rule(("boto3/examples",), "texts for the documentation"),
)


def trim(folder: Path, services: tuple[str, ...]) -> None:
    """Remove what the rules name, and of botocore all services but these."""
    for rule in RULES:
        for pattern in rule.patterns:
            for path in sorted(folder.glob(pattern)):
                _remove(path)
    for path in _unused_services(folder, services):
        _remove(path)


def _unused_services(folder: Path, services: tuple[str, ...]) -> Iterator[Path]:
    """Service folders; the files beside them (endpoints, partitions, retries) are every client's."""
    for data in (folder / "botocore" / "data", folder / "boto3" / "data"):
        if data.is_dir():
            yield from (path for path in sorted(data.iterdir()) if path.is_dir() and path.name not in services)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # a folder above it may have gone by the same pattern
