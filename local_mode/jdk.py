"""The Java of this machine: which folders may hold one, and how new it is.

Whoever starts a server from jars asks here: `opensearch/` and `dynamodb_local/`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FOLDERS: Final = ("/usr/lib/jvm/*", "/usr/java/*", "/opt/java*", "/opt/jdk*", "/opt/homebrew/opt/openjdk*")
_FOLDERS_MAC: Final = ("/Library/Java/JavaVirtualMachines/*/Contents/Home",)
_FOLDERS_USER: Final = (".sdkman/candidates/java/*", ".jdks/*")


def java_homes() -> Iterator[Path]:
    """Folders that may hold a Java: JAVA_HOME, the one on the PATH, the usual places."""
    if named := os.environ.get("JAVA_HOME"):
        yield Path(named)
    for program in ("javac", "java"):
        if found := shutil.which(program):
            yield Path(found).resolve().parent.parent
    patterns = (*_FOLDERS, *_FOLDERS_MAC, *(f"{Path.home()}/{pattern}" for pattern in _FOLDERS_USER))
    for pattern in patterns:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)


def java_version(folder: Path) -> int:
    """The feature release of the Java in a folder, 0 where there is none that runs."""
    try:
        done = subprocess.run(  # noqa: S603 - asks a Java found on this machine for its version
            [str(folder / "bin" / "java"), "-version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = re.search(r'version "(\d+)', done.stderr)
    return int(said[1]) if said else 0


def compiles(folder: Path) -> bool:
    """Whether the Java in a folder is a whole JDK and not only a runtime."""
    return (folder / "bin" / "javac").exists()
