"""The key of envelopes: one per home, whoever makes it first, for its owner's eyes; or the text of a secret."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contracts.errors import ExperimentsUnavailable, StorageFull
from stores.experiments_key import KEY_BYTES, local_key, secret_key


def test_there_is_none_until_it_is_made_and_then_it_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert local_key(home) is None
    assert not home.exists()
    key = local_key(home, make=True)
    assert key is not None
    assert len(key) == KEY_BYTES
    assert key == local_key(home, make=True) == local_key(home)
    assert stat.S_IMODE((home / "experiments" / "key").stat().st_mode) == 0o600
    assert [path.name for path in (home / "experiments").iterdir()] == ["key"]
    assert local_key(tmp_path / "other", make=True) != key


MAKER = """
import sys
from pathlib import Path
from stores.experiments_key import local_key
sys.stdin.readline()
for number in range(30):
    print(local_key(Path(sys.argv[1]) / str(number), make=True).hex())
"""


def test_processes_that_make_it_at_the_same_time_make_one(tmp_path: Path) -> None:
    words = [sys.executable, "-c", MAKER, str(tmp_path)]
    makers = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    first, second = (maker.communicate()[0] for maker in makers)
    assert first == second
    assert len(set(first.split())) == 30


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    local_key(tmp_path, make=True)
    (tmp_path / "experiments" / "key").write_bytes(b"short")
    with pytest.raises(ExperimentsUnavailable, match="key: has 5 bytes, a key has 32") as raised:
        local_key(tmp_path, make=True)
    assert "Remove it" in raised.value.fix


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "experiments").write_text("a file")
    for make in (False, True):
        with pytest.raises(ExperimentsUnavailable, match="no key can be read or made there"):
            local_key(tmp_path, make=make)


def test_a_full_disk_leaves_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            local_key(tmp_path, make=True)
    assert local_key(tmp_path) is None
    assert not list((tmp_path / "experiments").iterdir())


# --- a secret ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets(moto_endpoint: str) -> Iterator[Any]:
    from boto3.session import Session

    client = Session().client("secretsmanager", endpoint_url=moto_endpoint)
    yield client
    client.close()


def test_the_text_of_a_secret_is_the_key(secrets: Any, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"key-{uuid4().hex}"
    secrets.create_secret(Name=name, SecretString="s3cret é")
    assert secret_key(name, secrets) == "s3cret é".encode()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_endpoint)
    assert secret_key(name) == "s3cret é".encode()  # by a client of its own


def test_a_secret_that_is_not_there_or_no_text_is_named(secrets: Any) -> None:
    with pytest.raises(ExperimentsUnavailable, match="the secret 'gone' cannot be read") as raised:
        secret_key("gone", secrets)
    assert "TANDEM_EXPERIMENTS_KEY_SECRET" in raised.value.fix
    name = f"key-{uuid4().hex}"
    secrets.create_secret(Name=name, SecretBinary=b"x")
    with pytest.raises(ExperimentsUnavailable, match="holds no text"):
        secret_key(name, secrets)
