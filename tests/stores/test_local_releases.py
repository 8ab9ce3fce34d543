"""What only releases in a folder can suffer: a full disk, an interrupted write, a crash before the move."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from contracts.errors import StorageFull
from stores.release_files import write_atomically
from stores.releases import LocalReleases
from tests.stores.release_places import publication, trained


def test_sealing_after_a_crash_between_manifest_and_move_keeps_the_id(tmp_path: Path) -> None:
    store, folder = LocalReleases(tmp_path), trained(tmp_path)
    manifest = store.seal(folder)
    assert not folder.exists()
    store.folder(manifest.id).rename(folder)  # as if the move had not happened
    assert store.seal(folder).id == manifest.id


def test_a_file_that_no_manifest_names_is_not_opened(tmp_path: Path) -> None:
    store = LocalReleases(tmp_path)
    release = store.seal(trained(tmp_path)).id
    (store.folder(release) / "vectors.json").write_bytes(b"no document at all \xff")
    (store.folder(release) / "extra.safetensors").write_bytes(b"no arrays")
    assert len(store.open(release).items) == 200


def test_a_full_disk_is_named_and_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalReleases(tmp_path)
    first = store.publish(publication(store, store.seal(trained(tmp_path)).id), None)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        store.publish(publication(store, first.publication.release), first.etag)
    with pytest.raises(StorageFull):
        store.seal(trained(tmp_path, 3))
    monkeypatch.undo()
    assert store.current() == first
    assert len(store.ids()) == 1
    assert not list(tmp_path.glob("**/.current.json.*"))


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"
