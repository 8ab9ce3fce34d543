"""Releases and the pointer: sealed whole, opened verified, published under If-Match."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import (
    NothingPublished,
    PointerConflict,
    ReleaseCorrupt,
    ReleaseNotFound,
    ReleaseUnreadable,
    StorageFull,
    TandemError,
)
from contracts.fitted import to_bundle
from contracts.release import Manifest, Publication, read_manifest
from stores import releases as releases_module
from stores.releases import Current, LocalReleases, TrainingFacts, write_atomically, write_bundle
from stores.tensor_files import map_tensors, write_tensors
from tests.toy_world import toy_model

FACTS = TrainingFacts(n_items=200, dim=16, watermark=1)


def trained(home: Path, seed: int = 0) -> Path:
    folder = home / "runs" / f"run-{seed}"
    write_bundle(folder, to_bundle(toy_model(seed=seed)), FACTS)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> LocalReleases:
    return LocalReleases(tmp_path)


def publication(store: LocalReleases, release: str) -> Publication:
    sequence = store.next_sequence()
    current = store.current()
    return Publication(
        id=f"p{sequence:06d}-{release[-8:]}-{os.urandom(4).hex()}",
        sequence=sequence,
        release=release,
        served_model="two_tower",
        gate=None,
        previous=current.publication.id if current else None,
        created_at="2026-01-01T00:00:00+00:00",
    )


def test_a_sealed_release_opens_equal_to_what_was_trained(store: LocalReleases) -> None:
    model = toy_model()
    manifest = store.seal(trained(store.home))
    opened = store.open(manifest.id)
    np.testing.assert_array_equal(opened.items.two_tower, model.items.two_tower)
    np.testing.assert_array_equal(opened.items.ids.blob, model.items.ids.blob)
    assert opened.item_encoder == model.item_encoder
    assert opened.golden == model.golden
    assert store.ids() == [manifest.id]


def test_arrays_of_an_opened_release_are_read_only_views_of_the_file(store: LocalReleases) -> None:
    opened = store.open(store.seal(trained(store.home)).id)
    assert not opened.items.two_tower.flags.writeable
    assert not opened.items.two_tower.flags.owndata


def test_equal_content_has_an_equal_digest(store: LocalReleases) -> None:
    first = store.seal(trained(store.home, 1))
    second = store.seal(trained(store.home, 1))
    assert first.digest == second.digest
    assert first.digest != store.seal(trained(store.home, 2)).digest


def test_a_folder_without_manifest_is_no_release(store: LocalReleases) -> None:
    folder = trained(store.home)
    folder.rename(store.home / "releases-in-the-making")
    (store.home / "releases").mkdir()
    (store.home / "releases-in-the-making").rename(store.home / "releases" / "half")
    assert store.ids() == []
    with pytest.raises(ReleaseNotFound):
        store.open("half")


def test_sealing_after_a_crash_between_manifest_and_move_keeps_the_id(store: LocalReleases) -> None:
    folder = trained(store.home)
    manifest = store.seal(folder)
    (store.home / "releases" / manifest.id).rename(folder)  # as if the move had not happened
    assert store.seal(folder).id == manifest.id


@settings(max_examples=60, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans(), pick=st.integers(0, 50))
def test_every_flipped_bit_and_every_cut_is_named(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int, cut: bool, pick: int
) -> None:
    store = LocalReleases(tmp_path_factory.mktemp("home"))
    folder = store.home / "releases" / store.seal(trained(store.home)).id
    files = sorted(path for path in folder.iterdir() if path.name != releases_module.TRAINING_FACTS)
    path = files[pick % len(files)]
    data = bytearray(path.read_bytes())
    offset = int(position * len(data))
    if cut:
        path.write_bytes(data[:offset])
    else:
        data[offset] ^= 1 << bit
        path.write_bytes(data)
    try:
        store.open(folder.name)
    except (ReleaseCorrupt, ReleaseUnreadable):
        return
    # Only what the manifest says about itself (a digit of a clock time, a metric) may change unnoticed.
    assert path.name == "manifest.json"


def test_a_missing_file_is_named(store: LocalReleases) -> None:
    manifest = store.seal(trained(store.home))
    (store.home / "releases" / manifest.id / "items.safetensors").unlink()
    with pytest.raises(ReleaseCorrupt, match=r"items\.safetensors"):
        store.open(manifest.id)


def test_a_release_of_another_format_version_is_refused_by_name(store: LocalReleases) -> None:
    manifest = store.seal(trained(store.home))
    path = store.home / "releases" / manifest.id / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, format_version=99)))
    with pytest.raises(ReleaseUnreadable, match="99"):
        store.open(manifest.id)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_any_other_json_is_no_manifest(value: object) -> None:
    with pytest.raises(TandemError):
        read_manifest(json.dumps(value).encode(), "here")


@given(st.binary(max_size=400))
def test_any_bytes_are_either_a_manifest_or_a_named_error(data: bytes) -> None:
    with pytest.raises(TandemError):
        read_manifest(data, "here")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../etc", "a\\b", "a\0b"])
def test_a_release_id_never_leaves_the_folder(store: LocalReleases, name: str) -> None:
    with pytest.raises(ReleaseNotFound):
        store.open(name)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(store: LocalReleases) -> None:
    manifest = store.seal(trained(store.home))
    files = {f"../{name}": entry for name, entry in manifest.files.items()}
    moved = msgspec.structs.replace(manifest, files=files, digest=releases_module.release_digest(files))
    (store.home / "releases" / manifest.id / "manifest.json").write_bytes(msgspec.json.encode(moved))
    with pytest.raises(ReleaseNotFound):
        store.open(manifest.id)


def test_the_pointer_moves_only_under_its_etag(store: LocalReleases) -> None:
    release = store.seal(trained(store.home)).id
    assert store.current() is None
    first = store.publish(publication(store, release), None)
    assert store.current() == first
    with pytest.raises(PointerConflict):
        store.publish(publication(store, release), None)
    second = store.publish(publication(store, release), first.etag)
    with pytest.raises(PointerConflict):
        store.publish(publication(store, release), first.etag)
    assert store.serving() == second


def test_of_many_publishers_at_once_one_wins(store: LocalReleases) -> None:
    release = store.seal(trained(store.home)).id
    before = store.publish(publication(store, release), None)
    candidates = [publication(store, release) for _ in range(8)]
    won: list[Current] = []

    def attempt(candidate: Publication) -> None:
        with contextlib.suppress(PointerConflict):
            won.append(store.publish(candidate, before.etag))

    threads = [threading.Thread(target=attempt, args=(candidate,)) for candidate in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.current() == won[0]


def test_a_pointer_that_does_not_parse_is_named(store: LocalReleases) -> None:
    store.publish(publication(store, store.seal(trained(store.home)).id), None)
    for damage in (b"{", b'{"publication": "\xff"}', b""):
        (store.home / "current.json").write_bytes(damage)
        with pytest.raises(ReleaseCorrupt, match="current"):
            store.current()


def test_nothing_published_is_named(store: LocalReleases) -> None:
    with pytest.raises(NothingPublished):
        store.serving()


def test_a_sweep_keeps_what_can_be_rolled_back_to_and_what_is_not_yet_judged(store: LocalReleases) -> None:
    published: list[Manifest] = []
    etag = None
    for seed in range(5):
        manifest = sealed_at(store, seed)
        etag = store.publish(publication(store, manifest.id), etag).etag
        published.append(manifest)
    waiting = sealed_at(store, 9)
    assert store.sweep(keep=2) == [manifest.id for manifest in published[:2]]
    assert set(store.ids()) == {manifest.id for manifest in published[2:]} | {waiting.id}


def sealed_at(store: LocalReleases, second: int) -> Manifest:
    """A release whose id carries its own second, so that ids sort as the clock would sort them."""
    manifest = store.seal(trained(store.home, second))
    renamed = msgspec.structs.replace(manifest, id=f"r20260101T00000{second}-{manifest.digest[:8]}")
    folder = store.home / "releases" / manifest.id
    (folder / "manifest.json").write_bytes(msgspec.json.encode(renamed))
    folder.rename(store.home / "releases" / renamed.id)
    return renamed


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


def test_tensor_files_hold_every_type_and_empty_arrays(tmp_path: Path) -> None:
    tensors = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "e": np.empty((0, 4), np.float64),
        "i": np.array([1, 2], np.int64),
        "b": np.array([True, False]),
        "u": np.array([7], np.uint8),
        "r": np.array([3], np.int32),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    read = map_tensors(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_our_reader_agrees_with_the_library(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write_tensors(tmp_path / "x.safetensors", {"a": np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)})
    np.testing.assert_array_equal(
        map_tensors(tmp_path / "x.safetensors")["a"], load_file(tmp_path / "x.safetensors")["a"]
    )


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}},
        {"a": 3},
        [],
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0\0\0\0")
    with pytest.raises(ReleaseCorrupt):
        map_tensors(path)


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for length in (5, 1 << 19, 1 << 62):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        with pytest.raises(ReleaseCorrupt):
            map_tensors(path)
    path.write_bytes(len(b'{"\xff": 1}').to_bytes(8, "little") + b'{"\xff": 1}')
    with pytest.raises(ReleaseCorrupt):
        map_tensors(path)
    path.write_bytes(b"abc")
    with pytest.raises(ReleaseCorrupt):
        map_tensors(path)
