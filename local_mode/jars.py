"""Jars of a program from Maven Central in a cache folder: all there and all as pinned, or not there at all.

Maven resolves and checks what it downloads against Central's checksums (`-C`); beyond that every file is held against a
list committed beside the code that names it, at each start (60 MB, a tenth of a second), so that neither a mirror nor a
disk can change what runs. A download happens in a temporary folder that is renamed when it is complete and right. To
pin another version: `download` into an empty folder, look at what came, and keep what `sha256sum *` prints in its
`lib`. The servers of this machine, `opensearch/` and `dynamodb_local/`, call it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import ServerUnavailable

_DOWNLOAD_SECONDS: Final = 300
"""60 MB take 10 to 40 s; a slow line gets many times that."""

_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tandem</groupId><artifactId>fetched</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY: Final = (
    "    <dependency><groupId>{0}</groupId><artifactId>{1}</artifactId><version>{2}</version></dependency>"
)
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


@dataclass(frozen=True, kw_only=True)
class Jars:
    """A version of a program that Maven Central holds whole."""

    name: str
    version: str
    oldest_java: int
    libraries: tuple[str, ...]
    """Coordinates `group:artifact:version` of what goes on the class path with all it depends on."""
    pins: Path
    """The committed list, as `sha256sum` prints it."""
    megabytes: int
    """Of the download."""
    instead: str
    """What to do where it cannot be fetched."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


Step = Callable[[Path, Path], None]
"""Something that is made in a folder that has the jars in `lib`, with the JDK of a folder."""


def _nothing(_folder: Path, _java_home: Path) -> None:
    """No step."""


def cache_folder(jars: Jars) -> Path:
    """Where jars are kept for all projects of this user."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tandem" / f"{jars.name.lower().replace(' ', '-')}-{jars.version}"


def fetched(
    jars: Jars, java_home: Path, say: Callable[[str], None], more: Step = _nothing, finish: Step = _nothing
) -> Path:
    """The folder whose `lib` has the jars, downloaded if they must be. Raises ServerUnavailable.

    `more` puts further pinned jars into `lib`; `finish` makes something of what has been checked.
    """
    from filelock import FileLock

    folder = cache_folder(jars)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # the second of two first starts takes what the first got
        if wrong_jars(jars, folder / "lib"):
            say(f"fetching {jars} ({jars.megabytes} MB, kept in {folder})")
            _fetch(jars, java_home, more, finish)
    return folder


def pinned(jars: Jars) -> dict[str, str]:
    """SHA-256 by file, as committed."""
    text = jars.pins.read_text(encoding="utf-8")
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def wrong_jars(jars: Jars, lib: Path) -> list[str]:
    """Names of files that are missing, altered, or not of these jars."""
    wanted = pinned(jars)
    found = {path.name: _digest(path) for path in lib.glob("*")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(jars: Jars, java_home: Path, more: Step, finish: Step) -> None:
    folder = cache_folder(jars)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        download(jars, made, java_home)
        more(made, java_home)
        wrong = wrong_jars(jars, made / "lib")
        if wrong:
            raise ServerUnavailable(
                f"What Maven fetched for {jars} is not what is pinned: {', '.join(wrong[:5])}.",
                fix="Check which mirror Maven's settings.xml names, remove ~/.m2/repository and start again.",
            )
        finish(made, java_home)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def download(jars: Jars, folder: Path, java_home: Path) -> None:
    """Let Maven put the libraries and all that they depend on into `folder/lib`."""
    dependencies = "\n".join(_DEPENDENCY.format(*item.split(":")) for item in jars.libraries)
    (folder / "pom.xml").write_text(_POM.format(dependencies=dependencies), encoding="utf-8")
    words = (f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime")
    _maven(jars, folder, java_home, f"{_COPY}:copy-dependencies", *words)


def copy_artifact(jars: Jars, coordinates: str, folder: Path, java_home: Path) -> Path:
    """Let Maven put one artefact, without what it depends on, into a folder of its own below `folder`."""
    target = folder / coordinates.split(":")[1]
    _maven(jars, folder, java_home, f"{_COPY}:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={target}")
    return target


def _maven(jars: Jars, folder: Path, java_home: Path, *goal: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailable(
            f"There is no Maven (mvn) on the PATH to fetch {jars.name} with.",
            fix=f"Install it ('apt-get install maven' or 'brew install maven'), or {jars.instead}.",
        )
    environment = os.environ | {"JAVA_HOME": str(java_home)}
    # -C: a download whose checksum is wrong fails instead of being warned about.
    command = [maven, "-q", "-B", "-C", *goal]
    try:
        done = subprocess.run(  # noqa: S603 - the words are ours, the program is the user's own Maven
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ServerUnavailable(f"Maven took over {_DOWNLOAD_SECONDS} s.", fix="Check the network.") from error
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if "ERROR" in line]
        raise ServerUnavailable(
            f"Maven could not fetch {jars.name}: {said[0] if said else 'it gave no reason'}",
            fix=f"Check the network and Maven's mirror (~/.m2/settings.xml), or {jars.instead}.",
        )
