"""Releases and the pointer, in a folder and in a bucket: sealed whole, opened verified, published under If-Match."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import (
    NothingPublished,
    PointerConflict,
    ReleaseCorrupt,
    ReleaseNotFound,
    ReleaseUnreadable,
    TandemError,
)
from contracts.fitted import Bundle, catalogue_from_bundle, to_bundle
from contracts.release import CURRENT_VERSION, Manifest, Publication, read_manifest, release_digest
from stores.releases import Current, Releases
from tests.stores.release_places import (
    BucketPlace,
    FolderPlace,
    ReleasePlace,
    publication,
    sealed_at,
    trained,
)
from tests.toy_world import item_id, toy_model


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> ReleasePlace:
    if request.param == "folder":
        return FolderPlace(tmp_path)
    bucket: BucketPlace = request.getfixturevalue("bucket_place")
    return bucket


@pytest.fixture
def store(place: ReleasePlace) -> Releases:
    return place.store


def test_a_sealed_release_opens_equal_to_what_was_trained(place: ReleasePlace) -> None:
    model = toy_model()
    manifest = place.store.seal(trained(place.home))
    opened = place.begin().open(manifest.id)
    np.testing.assert_array_equal(opened.items.two_tower, model.items.two_tower)
    np.testing.assert_array_equal(opened.items.ids.blob, model.items.ids.blob)
    assert opened.item_encoder == model.item_encoder
    assert opened.golden == model.golden
    assert place.store.ids() == [manifest.id]
    assert place.store.manifest(manifest.id) == manifest


def test_arrays_of_an_opened_release_are_read_only_views_of_the_file(place: ReleasePlace) -> None:
    opened = place.store.open(place.store.seal(trained(place.home)).id)
    assert not opened.items.two_tower.flags.writeable
    assert not opened.items.two_tower.flags.owndata


def test_equal_content_has_an_equal_digest(place: ReleasePlace) -> None:
    first = place.store.seal(trained(place.home, 1))
    second = place.store.seal(trained(place.home, 1))
    assert first.digest == second.digest
    assert first.digest != place.store.seal(trained(place.home, 2)).digest


def test_the_same_content_under_the_same_id_is_one_release(place: ReleasePlace) -> None:
    first, again = sealed_at(place, 1, seed=0), sealed_at(place, 1, seed=0)
    assert again == first == place.begin().manifest(first.id)
    assert place.store.ids() == [first.id]
    assert len(place.store.open(first.id).items) == 200


def test_a_bundle_that_does_not_open_is_not_sealed(place: ReleasePlace) -> None:
    folder = trained(place.home)
    (folder / "items.safetensors").unlink()
    with pytest.raises(ReleaseCorrupt):
        place.store.seal(folder)
    assert place.store.ids() == []


def test_files_without_manifest_are_no_release(place: ReleasePlace) -> None:
    for path in trained(place.home).iterdir():
        place.write(f"releases/half/{path.name}", path.read_bytes())
    assert place.store.ids() == []
    with pytest.raises(ReleaseNotFound):
        place.store.open("half")
    with pytest.raises(ReleaseNotFound):
        place.store.open_catalogue("half")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans(), pick=st.integers(0, 50))
def test_every_flipped_bit_and_every_cut_is_named(
    place: ReleasePlace, position: float, bit: int, cut: bool, pick: int
) -> None:
    release = (place.store.ids() or [place.store.seal(trained(place.home)).id])[0]
    files = place.keys(f"releases/{release}/")
    key = files[pick % len(files)]
    good = place.read(key)
    data, offset = bytearray(good), int(position * len(good))
    data[offset] ^= 1 << bit
    place.write(key, bytes(data[:offset]) if cut else bytes(data))
    try:
        place.begin().open(release)
    except (ReleaseCorrupt, ReleaseUnreadable):
        return
    finally:
        place.write(key, good)
    # Only what the manifest says about itself (a digit of a clock time, a metric) may change unnoticed.
    assert key.endswith("/manifest.json")


def test_a_missing_file_is_named(place: ReleasePlace) -> None:
    manifest = place.store.seal(trained(place.home))
    place.remove(f"releases/{manifest.id}/items.safetensors")
    for open_it in (place.begin().open, place.begin().open_catalogue):
        with pytest.raises(ReleaseCorrupt, match=r"items\.safetensors"):
            open_it(manifest.id)


@pytest.mark.parametrize("version", [0, CURRENT_VERSION + 1, 99])
def test_a_release_of_another_format_version_is_refused_by_name(place: ReleasePlace, version: int) -> None:
    manifest = place.store.seal(trained(place.home))
    change(place, manifest, format_version=version)
    for open_it in (place.store.open, place.store.open_catalogue):
        with pytest.raises(ReleaseUnreadable, match=f"version {version} "):
            open_it(manifest.id)


def change(place: ReleasePlace, manifest: Manifest, **changes: object) -> None:
    """Write another manifest in the place of one."""
    changed = msgspec.structs.replace(manifest, **changes)
    place.write(f"releases/{manifest.id}/manifest.json", msgspec.json.encode(changed))


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
def test_a_release_id_never_leaves_the_place(store: Releases, name: str) -> None:
    for read in (store.open, store.open_catalogue, store.manifest, store.publication):
        with pytest.raises(ReleaseNotFound):
            read(name)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(place: ReleasePlace) -> None:
    manifest = place.store.seal(trained(place.home))
    files = {f"../{name}": entry for name, entry in manifest.files.items()}
    change(place, manifest, files=files, digest=release_digest(files))
    with pytest.raises(ReleaseNotFound):
        place.begin().open(manifest.id)


def test_a_catalogue_is_the_schema_and_the_ids_and_reads_nothing_else(place: ReleasePlace) -> None:
    model = toy_model()
    release = place.store.seal(trained(place.home)).id
    for key in place.keys(f"releases/{release}/"):
        if not key.endswith(("/manifest.json", "/vocabulary.json", "/items.safetensors")):
            place.remove(key)
    catalogue = place.begin().open_catalogue(release)
    assert catalogue.schema == model.schema
    assert catalogue.ids.row(item_id(7)) == 7
    assert catalogue.ids.row("none") == -1
    assert not catalogue.ids.blob.flags.writeable


def test_a_catalogue_with_something_missing_is_named() -> None:
    bundle = to_bundle(toy_model())
    for damaged in (
        Bundle({}, bundle.documents),
        Bundle(bundle.tensors, {}),
        Bundle({"items": {}}, bundle.documents),
        Bundle(bundle.tensors, {"vocabulary.json": b"{}"}),
        Bundle(bundle.tensors, {"vocabulary.json": b'{"schema": "\xff"}'}),
    ):
        with pytest.raises(ReleaseCorrupt):
            catalogue_from_bundle(damaged)


def test_the_head_is_opened_without_the_vectors(place: ReleasePlace) -> None:
    model = toy_model(head_items=50)
    release = place.store.seal(trained(place.home, model=model)).id
    place.remove(f"releases/{release}/vectors.safetensors")
    opened = place.begin().open(release, head_only=True)
    assert opened.items.head_only
    np.testing.assert_array_equal(opened.items.two_tower, model.items.two_tower[model.items.head])
    with pytest.raises(ReleaseCorrupt, match="vectors"):
        place.begin().open(release)


def test_a_head_that_was_opened_first_hides_nothing_later(place: ReleasePlace) -> None:
    release = place.store.seal(trained(place.home, model=toy_model(head_items=50))).id
    assert [place.store.open(release, head_only=head).items.head_only for head in (True, False, True)] == [
        True,
        False,
        True,
    ]


def test_the_pointer_moves_only_under_its_etag(place: ReleasePlace) -> None:
    store = place.store
    release = store.seal(trained(place.home)).id
    assert store.current() is None
    assert store.etag() is None
    first = store.publish(publication(store, release), None)
    assert store.current() == first
    assert store.etag() == first.etag
    with pytest.raises(PointerConflict):
        store.publish(publication(store, release), None)
    second = store.publish(publication(store, release), first.etag)
    with pytest.raises(PointerConflict):
        store.publish(publication(store, release), first.etag)
    assert store.serving() == second
    assert [p.sequence for p in store.publications()] == [1, 2]  # who is refused leaves nothing behind


def test_an_earlier_publication_serves_again_as_it_was(place: ReleasePlace) -> None:
    store = place.store
    release = store.seal(trained(place.home)).id
    first = store.publish(publication(store, release), None)
    second = store.publish(publication(store, release), first.etag)
    back = store.publish(first.publication, second.etag)
    assert place.begin().serving() == back
    assert back.publication == first.publication
    assert [p.id for p in store.publications()] == [first.publication.id, second.publication.id]
    assert store.next_sequence() == 3


def test_of_many_publishers_at_once_one_wins(place: ReleasePlace) -> None:
    store = place.store
    release = store.seal(trained(place.home)).id
    before = store.publish(publication(store, release), None)
    candidates = [publication(store, release) for _ in range(8)]
    won, refused = race(store, candidates, before.etag)
    assert len(won) == 1
    assert refused == 7
    assert store.current() == won[0]


def test_of_many_first_publishers_one_wins(place: ReleasePlace) -> None:
    store = place.store
    release = store.seal(trained(place.home)).id
    won, refused = race(store, [publication(store, release) for _ in range(8)], None)
    assert (len(won), refused) == (1, 7)
    assert place.begin().current() == won[0]


def race(store: Releases, candidates: list[Publication], etag: str | None) -> tuple[list[Current], int]:
    """Publish all of them at once; who won, and how many were told that the pointer has moved."""
    won: list[Current] = []
    refused: list[PointerConflict] = []
    ready = threading.Barrier(len(candidates))

    def attempt(candidate: Publication) -> None:
        ready.wait()
        try:
            won.append(store.publish(candidate, etag))
        except PointerConflict as error:
            refused.append(error)

    threads = [threading.Thread(target=attempt, args=(candidate,)) for candidate in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won, len(refused)


def test_a_pointer_that_does_not_parse_is_named(place: ReleasePlace) -> None:
    place.store.publish(publication(place.store, place.store.seal(trained(place.home)).id), None)
    for damage in (b"{", b'{"publication": "\xff"}', b""):
        place.write("current.json", damage)
        with pytest.raises(ReleaseCorrupt, match="current"):
            place.store.current()


def test_a_pointer_to_a_publication_that_is_gone_is_named(place: ReleasePlace) -> None:
    published = place.store.publish(publication(place.store, place.store.seal(trained(place.home)).id), None)
    place.remove(f"publications/{published.publication.id}.json")
    with pytest.raises(NothingPublished, match=published.publication.id):
        place.begin().current()


def test_a_publication_that_does_not_parse_is_named(place: ReleasePlace) -> None:
    place.write("publications/p1.json", b'{"id": 3}')
    with pytest.raises(ReleaseCorrupt, match="p1"):
        place.store.publication("p1")
    with pytest.raises(ReleaseCorrupt, match="p1"):
        place.store.publications()


def test_nothing_published_is_named(store: Releases) -> None:
    with pytest.raises(NothingPublished):
        store.serving()
    assert store.publications() == []
    assert store.next_sequence() == 1
    assert store.kept() == []
    assert store.sweep() == []


def test_a_store_goes_on_after_its_connections_were_cut(place: ReleasePlace) -> None:
    release = place.store.seal(trained(place.home)).id
    place.store.reconnect()
    assert place.store.ids() == [release]


def test_a_sweep_keeps_what_can_be_rolled_back_to_and_what_is_not_yet_judged(place: ReleasePlace) -> None:
    store = place.store
    published: list[Manifest] = []
    etag = None
    for seed in range(5):
        manifest = sealed_at(place, seed)
        etag = store.publish(publication(store, manifest.id), etag).etag
        published.append(manifest)
    waiting = sealed_at(place, 9)
    mapped = store.open(published[0].id)
    assert [p.release for p in store.kept(2)] == [manifest.id for manifest in reversed(published[2:])]
    assert store.sweep(keep=2) == [manifest.id for manifest in published[:2]]
    assert store.ids() == sorted([manifest.id for manifest in published[2:]] + [waiting.id])
    with contextlib.suppress(FileNotFoundError):
        assert place.keys(f"releases/{published[0].id}/") == []
    assert float(mapped.items.two_tower.sum()) != 0  # who has it mapped keeps its pages
    assert len(store.open(published[2].id).items) == 200
