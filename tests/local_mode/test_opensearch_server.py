"""A search server for this machine: where it comes from, that it is the right one, and that only our own is stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from contracts.errors import ServerUnavailable
from local_mode import jdk
from local_mode.jars import cache_folder, pinned, wrong_jars
from local_mode.opensearch import containers, jars, java, server
from local_mode.opensearch.record import Server, ask, write_record

FAKE_DOCKER = Path(__file__).with_name("fake_docker.py")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home folder whose server, if a test starts one, is stopped; nobody else's server is on offer."""
    monkeypatch.delenv(server.URL_VARIABLE, raising=False)
    yield tmp_path
    server.stop(tmp_path)


@pytest.fixture
def bare(own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same on a machine that has neither Docker nor a Java; programs can be put into its folder `bin`."""
    (own / "bin").mkdir()
    monkeypatch.setenv("PATH", str(own / "bin"))
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.setenv("XDG_CACHE_HOME", str(own / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(jdk, "_FOLDERS", ())
    return own


def program(path: Path, text: str) -> None:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def fake_java(folder: Path, version: str, *, compiler: bool = True) -> Path:
    """A folder that looks like a JDK (or a JRE) of a version."""
    program(folder / "bin" / "java", f"echo 'openjdk version \"{version}\"' >&2")
    if compiler:
        program(folder / "bin" / "javac", "exit 0")
    return folder


def call(url: str, method: str, body: object = None) -> dict[str, object]:
    """One request with a JSON body."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, method=method, headers={"Content-Type": "application/json"})  # noqa: S310 - http
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
        found: dict[str, object] = json.load(answer)
        return found


def test_the_server_of_the_tests_finds_the_nearest_vector(opensearch_url: str) -> None:
    index = f"{opensearch_url}/test-server-{os.getpid()}"
    method = {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}
    fields = {"v": {"type": "knn_vector", "dimension": 4, "method": method}}
    call(index, "PUT", {"settings": {"index": {"knn": True}}, "mappings": {"properties": fields}})
    try:
        for place in range(4):
            vector = [float(place == axis) for axis in range(4)]
            call(f"{index}/_doc/{place}?refresh=true", "PUT", {"v": vector})
        asked = {"query": {"knn": {"v": {"vector": [0.1, 0.2, 0.9, 0.3], "k": 2}}}}
        hits = call(f"{index}/_search", "POST", asked)["hits"]["hits"]  # type: ignore[index]
        assert [hit["_id"] for hit in hits][:2] == ["2", "3"]
    finally:
        call(index, "DELETE")


def test_a_server_is_started_once_keeps_its_data_over_a_kill_and_is_stopped(own: Path) -> None:
    try:
        first = server.start(own)
    except ServerUnavailable as error:
        if os.environ.get("TANDEM_REQUIRE_OPENSEARCH") == "1":
            raise
        pytest.skip(f"no server can be started here: {error}")
    assert server.start(own) == first
    assert server.status(own).url == server.running_url(own) == first.url
    call(f"{first.url}/kept", "PUT")
    call(f"{first.url}/kept/_doc/1?refresh=true", "PUT", {"said": "before"})
    if first.kind == "java":
        os.kill(first.pid, signal.SIGKILL)
    second = server.start(own)
    assert call(f"{second.url}/kept/_doc/1", "GET")["_source"] == {"said": "before"}
    assert server.stop(own)
    assert not server.status(own).running
    assert ask(second.url) == (0, b"")
    assert not server.stop(own)


def test_nobody_else_on_the_network_reaches_it(opensearch_url: str) -> None:
    assert urlsplit(opensearch_url).hostname in ("127.0.0.1", "localhost") or server.URL_VARIABLE in os.environ
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; asks which address would
        except OSError:
            pytest.skip("this machine has no address but the loopback")
        address = probe.getsockname()[0]
    if server.URL_VARIABLE in os.environ or address.startswith("127."):
        pytest.skip("somebody else's server, or no other address")
    assert ask(f"http://{address}:{urlsplit(opensearch_url).port}") == (0, b"")


def test_a_server_that_is_named_is_taken_and_never_stopped(
    bare: Path, opensearch_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(server.URL_VARIABLE, opensearch_url)
    assert server.start(bare).kind == "url"
    assert server.running_url(bare) == opensearch_url
    assert not server.stop(bare)
    assert server.status(bare).running


def test_a_named_server_that_does_not_answer_is_said(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server.URL_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(ServerUnavailable, match="no server answers"):
        server.start(bare)
    assert not server.status(bare).running


def test_a_bare_machine_is_told_what_to_install(bare: Path) -> None:
    with pytest.raises(ServerUnavailable) as caught:
        server.start(bare)
    assert "JDK >= 21" in caught.value.fix
    assert "Docker" in caught.value.fix
    assert server.URL_VARIABLE in caught.value.fix


def test_docker_is_preferred_and_its_port_is_on_the_loopback_only(bare: Path) -> None:
    program(bare / "bin" / "docker", f'exec {sys.executable} {FAKE_DOCKER} {bare} "$@"')
    started = server.start(bare)
    assert started.kind == "docker"
    assert server.start(bare) == started
    words = (bare / "run.txt").read_text().splitlines()
    assert words[-1] == containers.IMAGE
    assert f"127.0.0.1:{urlsplit(started.url).port}:9200" in words
    assert "DISABLE_SECURITY_PLUGIN=true" in words
    assert server.stop(bare)
    assert not server.status(bare).running


def test_a_docker_whose_engine_is_down_or_silent_is_passed_over(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "bin" / "docker", "exit 1")
    assert not containers.engine_answers()
    program(bare / "bin" / "docker", "while :; do :; done")
    monkeypatch.setattr(containers, "_ANSWER_SECONDS", 0.2)
    assert not containers.engine_answers()


@pytest.mark.parametrize(
    ("version", "compiler", "wanted"),
    [
        ("25.0.1", True, "3.5.0"),
        ("21", True, "3.5.0"),
        ("21", False, "2.19.1"),
        ("17.0.15", True, "2.19.1"),
        ("11.0.2", True, None),
        ("1.8.0_392", True, None),
    ],
)
def test_the_build_fits_the_java(
    version: str, compiler: bool, wanted: str | None, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_java(bare / "jdk", version, compiler=compiler)
    monkeypatch.setenv("JAVA_HOME", str(folder))
    chosen = java.choose_build()
    assert (chosen and chosen[0].version) == wanted


def test_a_newer_java_elsewhere_wins_over_the_default_one(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(bare / "old", "17.0.1")))
    newer = fake_java(bare / ".sdkman" / "candidates" / "java" / "25-tem", "25")
    assert java.choose_build() == (jars.CURRENT, newer)


def test_a_java_without_maven_is_told_what_to_install(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(bare / "jdk", "25")))
    with pytest.raises(ServerUnavailable, match="Maven") as caught:
        server.start(bare)
    assert "maven" in caught.value.fix


def test_jars_that_are_not_the_pinned_ones_are_never_kept(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(bare / "jdk", "25")))
    monkeypatch.setenv("PATH", f"{bare / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(containers, "engine_answers", lambda: False)
    program(bare / "bin" / "mvn", "mkdir -p lib knn && echo evil > lib/opensearch-3.5.0.jar")
    with pytest.raises(ServerUnavailable, match="not what is pinned"):
        server.start(bare)
    assert not cache_folder(jars.CURRENT).exists()


def test_a_fetch_that_fails_says_what_maven_said(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(bare / "jdk", "25")))
    program(bare / "bin" / "mvn", "echo '[ERROR] no route to host'; exit 1")
    with pytest.raises(ServerUnavailable, match="no route to host"):
        server.start(bare)
    assert not cache_folder(jars.CURRENT).exists()


@pytest.mark.parametrize("build", jars.BUILDS, ids=lambda build: build.version)
def test_a_missing_an_altered_and_an_added_jar_are_each_seen(build: jars.Build, tmp_path: Path) -> None:
    wanted = pinned(build)
    assert {f"opensearch-{build.version}.jar", f"opensearch-knn-{build.version}.0.jar"} <= wanted.keys()
    assert set(wrong_jars(build, tmp_path)) == wanted.keys()
    (tmp_path / f"opensearch-{build.version}.jar").write_bytes(b"altered")
    (tmp_path / "added.jar").write_bytes(b"")
    assert set(wrong_jars(build, tmp_path)) == {*wanted, "added.jar"}


def test_a_pid_that_went_to_another_process_is_left_alone(own: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        url = "http://127.0.0.1:9"
        write_record(own / server.STATE_NAME, Server(kind="java", url=url, cluster="gone", pid=stranger.pid))
        assert not server.status(own).running
        assert not server.stop(own)
        assert stranger.poll() is None
        stranger.kill()


def test_another_server_at_the_remembered_port_is_not_taken_for_ours(own: Path, opensearch_url: str) -> None:
    write_record(own / server.STATE_NAME, Server(kind="java", url=opensearch_url, cluster="gone", pid=2**22))
    assert ask(opensearch_url)[0] == 200
    assert not server.status(own).running
    assert server.running_url(own) is None


def test_a_server_that_dies_at_its_start_is_said_with_its_reason(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if java.choose_build() is None:
        pytest.skip("no JDK here")
    monkeypatch.setattr(containers, "engine_answers", lambda: False)
    monkeypatch.setenv("TANDEM_OPENSEARCH_HEAP", "1k")
    with pytest.raises(ServerUnavailable, match="Too small") as caught:
        server.start(own)
    assert "TANDEM_OPENSEARCH_HEAP" in caught.value.fix
    assert not server.status(own).running


def test_a_record_that_is_torn_counts_as_none(own: Path) -> None:
    (own / server.STATE_NAME).mkdir()
    (own / server.STATE_NAME / "server.json").write_text('{"kind": "ja')
    assert not server.status(own).running
    assert not server.stop(own)


@pytest.mark.parametrize("size", ["", "0", "1 g", "1g -XX:OnError=true", "lots"])
def test_a_heap_that_is_no_size_is_refused(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_OPENSEARCH_HEAP", size)
    with pytest.raises(ServerUnavailable, match="heap"):
        java.heap()
