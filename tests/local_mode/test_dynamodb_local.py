"""Amazon's local engine: started once, on the loopback only, stopped by its own pid, and of the pinned jars."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from contracts.errors import ServerUnavailable
from local_mode import jdk
from local_mode.dynamodb_local import server
from local_mode.jars import pinned
from local_mode.opensearch.record import ask
from tests.stores.profile_worlds import client_of


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A folder whose server, if a test starts one, is stopped."""
    yield tmp_path
    server.stop(tmp_path)


def test_it_is_started_once_forgets_and_is_stopped(own: Path) -> None:
    try:
        url = server.start(own)
    except ServerUnavailable as error:
        if os.environ.get("TANDEM_REQUIRE_DYNAMODB") == "1":
            raise
        pytest.skip(f"no server can be started here: {error}")
    assert server.start(own) == url
    assert server.start(own / ".." / own.name) == url
    with closing(client_of(url)) as client:
        server.create_profiles_table(client, "profiles")
        assert client.list_tables()["TableNames"] == ["profiles"]
    assert server.stop(own)
    assert ask(url) == (0, b"")
    assert not server.stop(own)


def test_it_listens_on_the_loopback_only(dynamodb_local_url: str) -> None:
    if not Path("/proc/net/tcp6").exists():
        pytest.skip("no /proc/net to see who listens where")
    port = f"{int(dynamodb_local_url.rsplit(':', 1)[1]):04X}"
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    listening = [row[1].split(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening
    assert set(listening) <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, as itself and within IPv6


def test_a_pid_that_went_to_another_process_is_left_alone(own: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        record = server.Running("http://127.0.0.1:9", stranger.pid)
        (own / server.RECORD_NAME).write_bytes(msgspec.json.encode(record))
        assert not server.stop(own)
        assert stranger.poll() is None
        stranger.kill()


def test_a_machine_without_java_is_told_what_to_install(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PATH", str(own)), ("HOME", str(own)), ("XDG_CACHE_HOME", str(own))):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(jdk, "_FOLDERS", ())
    with pytest.raises(ServerUnavailable, match="JDK >= 17") as caught:
        server.start(own)
    assert "maven" in caught.value.fix


def test_every_file_of_the_engine_is_pinned() -> None:
    wanted = pinned(server.JARS)
    assert "DynamoDBLocal-2.6.1.jar" in wanted
    assert any(name.endswith(".so") for name in wanted)
    assert all(len(digest) == 64 for digest in wanted.values())
