"""Build the bundle of the deployed functions. Example: python -m infra.bundle --target lambda --out build/serving"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from contracts.errors import TandemError
from infra.bundle.build import Recipe, beside, build
from infra.bundle.target import TARGETS

DEFAULT_OUT: Final = Path("build/serving")


def main() -> int:
    """Build, print what every library costs; 1 where the bundle is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=sorted(TARGETS), default="lambda", help="lambda: arm64; host: this machine")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"a folder, its zip beside it ({DEFAULT_OUT})")
    arguments = parser.parse_args()
    try:
        report = build(Recipe(TARGETS[arguments.target]()), arguments.out)
    except TandemError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    sys.stdout.write(f"{report.table()}\nin {arguments.out} and {beside(arguments.out, '.zip')}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
