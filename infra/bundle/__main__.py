"""Build what is deployed. Example: python -m infra.bundle --only serving, or for this machine: --host"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contracts.errors import TandemError
from infra.bundle.build import Recipe, beside, build
from infra.bundle.contents import ALL, Contents
from infra.bundle.target import aws_target, host_target


def main() -> int:
    """Build, print what every library costs; 1 where a bundle is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(ALL), help="serving, night: of the functions; jobs: of SageMaker's jobs")
    parser.add_argument("--host", action="store_true", help="for this machine, as the rehearsals run it")
    parser.add_argument("--out", type=Path, help="a folder, packed beside it; default build/<name>; with --only")
    arguments = parser.parse_args()
    if arguments.out and not arguments.only:
        parser.error("--out needs --only")
    try:
        for contents in [ALL[arguments.only]] if arguments.only else ALL.values():
            _build(contents, arguments.out or contents.folder(host=arguments.host), host=arguments.host)
    except TandemError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    return 0


def _build(contents: Contents, out: Path, *, host: bool) -> None:
    recipe = Recipe(host_target() if host else aws_target(contents.name), contents)
    report = build(recipe, out)
    sys.stdout.write(f"{report.table()}\nin {out} and {beside(out, recipe.packed)}\n\n")


if __name__ == "__main__":
    sys.exit(main())
